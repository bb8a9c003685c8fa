"""What machines said and nobody has worked on yet, where every word counts, and none of them fills the queue alone."""

import asyncio
from collections import Counter
from enum import StrEnum

from device_bridge.drivers.mqtt.newest import Said


class Put(StrEnum):
    """What became of a message; the values are those of the metric."""

    KEPT = "kept"
    DROPPED = "dropped"
    """The queue is full."""
    OVER_SHARE = "over_share"
    """As many messages of this machine wait as may."""


class SharedQueue:
    """A queue with a bound for all machines and one for each: one that floods it takes no place from the others."""

    def __init__(self, most: int, most_of_one: int) -> None:
        self._queue: asyncio.Queue[Said] = asyncio.Queue(most)
        self._most_of_one = most_of_one
        self._waiting: Counter[tuple[str, str]] = Counter()

    def put(self, said: Said) -> Put:
        """Put a message at the end, if there is a place for it."""
        key = _key(said)
        if self._waiting[key] >= self._most_of_one:
            return Put.OVER_SHARE
        if self._queue.full():
            return Put.DROPPED
        self._queue.put_nowait(said)
        self._waiting[key] += 1
        return Put.KEPT

    async def get_all(self, limit: int) -> list[Said]:
        """Wait for a message and take everything that is there, at most `limit`, in the order of arrival."""
        taken = [await self._queue.get()]
        while len(taken) < limit and not self._queue.empty():
            taken.append(self._queue.get_nowait())
        for said in taken:
            key = _key(said)
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]
        return taken


def _key(said: Said) -> tuple[str, str]:
    profile, heard, _, _ = said
    return profile.name, heard.machine
