"""A few seconds of memory for the edge: who a key or a token family belongs to."""

import time
from collections import OrderedDict
from dataclasses import dataclass
from uuid import UUID

_ENTRIES_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Known:
    """Who is behind a credential."""

    user_id: UUID
    roles: frozenset[str]
    client: str


class ShortCache:
    """Keeps entries for a short life; the oldest go when there are too many.

    A revocation works at once in the process that made it, and after at most this life in the others.
    """

    def __init__(self, life_s: float, entries_max: int = _ENTRIES_MAX) -> None:
        self._life_s = life_s
        self._entries_max = entries_max
        self._entries: OrderedDict[bytes, tuple[float, Known]] = OrderedDict()

    def get(self, key: bytes) -> Known | None:
        """Return what is known, if it is fresh."""
        found = self._entries.get(key)
        if found is None:
            return None
        if time.monotonic() - found[0] > self._life_s:
            del self._entries[key]
            return None
        return found[1]

    def put(self, key: bytes, known: Known) -> None:
        """Remember."""
        self._entries[key] = (time.monotonic(), known)
        self._entries.move_to_end(key)
        while len(self._entries) > self._entries_max:
            self._entries.popitem(last=False)

    def drop_user(self, user_id: UUID) -> None:
        """Forget everything of one user."""
        for key in [key for key, (_, known) in self._entries.items() if known.user_id == user_id]:
            del self._entries[key]

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
