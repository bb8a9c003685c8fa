"""What machines said and nobody has worked on yet, where only the last word of each machine counts."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from device_bridge.drivers.mqtt.profiles import Heard, Profile

What = TypeVar("What")
Kept = tuple[Profile, Heard, What, float]
"""The broker, the topic taken apart, what was said, and when it came by the loop's clock."""
Said = Kept[bytes]
"""The same with the payload as it came."""
Prices = dict[tuple[str, str], int]
"""What drinks cost in a machine, in minor units, by drink and size: all of them, or as many as a message holds."""
PRICES_MAX = 500
"""A machine's menu has no more lines."""


class Newest(Generic[What]):
    """A queue that keeps one message of each machine, so its length is that of the fleet.

    A newer message takes the place of an older one, or is merged with it where each says only a part.
    """

    def __init__(self, merge: Callable[[What, What], What] | None = None) -> None:
        self._kept: dict[tuple[str, str, str], Kept[What]] = {}
        self._merge = merge
        self._some = asyncio.Event()

    def put(self, said: Kept[What]) -> None:
        """Put a message in the place of an older one of the same machine."""
        key = _key(said)
        older = self._kept.get(key)
        self._kept[key] = said if older is None else self._both(older, said)
        self._some.set()

    def put_back(self, said: Kept[What]) -> None:
        """Put back what could not be worked on; what is newer and has come meanwhile counts more."""
        key = _key(said)
        newer = self._kept.get(key)
        self._kept[key] = said if newer is None else self._both(said, newer)
        self._some.set()

    def _both(self, older: Kept[What], newer: Kept[What]) -> Kept[What]:
        if self._merge is None:
            return newer
        profile, heard, what, arrived = newer
        return profile, heard, self._merge(older[2], what), min(older[3], arrived)

    async def get(self) -> Kept[What]:
        """Wait for a message and take it."""
        while not self._kept:
            self._some.clear()
            await self._some.wait()
        key = next(iter(self._kept))
        return self._kept.pop(key)

    async def get_all(self, limit: int) -> list[Kept[What]]:
        """Wait for a message and take everything that is there, at most `limit`."""
        taken = [await self.get()]
        while self._kept and len(taken) < limit:
            taken.append(await self.get())
        return taken


def merge_prices(older: Prices, newer: Prices) -> Prices:
    """Return the last word on each drink and size; of more than a menu can have, those that were said last."""
    both = {line: price for line, price in older.items() if line not in newer} | newer
    return dict(list(both.items())[-PRICES_MAX:])


def _key(said: Kept[What]) -> tuple[str, str, str]:
    profile, heard, _, _ = said
    return profile.name, heard.machine, heard.heard
