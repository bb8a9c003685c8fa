"""What machines said and nobody has worked on yet, where only the last word of each machine counts."""

import asyncio

from device_bridge.drivers.mqtt.profiles import Heard, Profile

Said = tuple[Profile, Heard, bytes, float]
"""The broker, the topic taken apart, the payload, and when it came by the loop's clock."""


class Newest:
    """A queue that keeps the last message of each machine only, so its length is that of the fleet."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str, str], Said] = {}
        self._some = asyncio.Event()

    def put(self, said: Said) -> None:
        """Put a message in the place of an older one of the same machine."""
        self._kept[_key(said)] = said
        self._some.set()

    def put_back(self, said: Said) -> None:
        """Put back what could not be worked on, unless something newer has come."""
        self._kept.setdefault(_key(said), said)
        self._some.set()

    async def get(self) -> Said:
        """Wait for a message and take it."""
        while not self._kept:
            self._some.clear()
            await self._some.wait()
        key = next(iter(self._kept))
        return self._kept.pop(key)

    async def get_all(self, limit: int) -> list[Said]:
        """Wait for a message and take everything that is there, at most `limit`."""
        taken = [await self.get()]
        while self._kept and len(taken) < limit:
            taken.append(await self.get())
        return taken


def _key(said: Said) -> tuple[str, str, str]:
    profile, heard, _, _ = said
    return profile.name, heard.machine, heard.heard
