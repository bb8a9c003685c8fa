"""UUID version 7 (RFC 9562): ids that sort by the millisecond in which they were made."""

import os
import threading
import time
from datetime import UTC, date, datetime
from hashlib import blake2b
from uuid import UUID

_RANDOM_BITS = 74
_COUNTER_STEP_MAX = 1 << 32
_lock = threading.Lock()


class _Last:
    """The greatest id that this process made."""

    value = 0


def new_id() -> UUID:
    """Make an id greater than every one that this process made before, also when the clock steps back."""
    stamp = time.time_ns() // 1_000_000
    value = (stamp << _RANDOM_BITS) | (int.from_bytes(os.urandom(10)) >> 6)
    with _lock:
        if value <= _Last.value:
            value = _Last.value + 1 + int.from_bytes(os.urandom(4)) % _COUNTER_STEP_MAX
        _Last.value = value
    return _layout(value)


def id_at(moment: datetime) -> UUID:
    """Make an id that belongs to a given moment; for imports, partitions' bounds and tests."""
    stamp = int(moment.timestamp() * 1000)
    return _layout((stamp << _RANDOM_BITS) | (int.from_bytes(os.urandom(10)) >> 6))


def derived_id(cause: UUID, purpose: str) -> UUID:
    """Return an id with the moment of its cause and bits hashed from cause and purpose.

    Deciding twice names the same thing.
    """
    digest = int.from_bytes(blake2b(cause.bytes + purpose.encode(), digest_size=10).digest())
    return _layout(((cause.int >> 80) << _RANDOM_BITS) | (digest & ((1 << _RANDOM_BITS) - 1)))


def first_id_at(moment: datetime) -> UUID:
    """Return the least id of a moment: the bound of a partition by id."""
    return _layout(int(moment.timestamp() * 1000) << _RANDOM_BITS)


def _layout(value: int) -> UUID:
    stamp = value >> _RANDOM_BITS
    high = (value >> 62) & 0xFFF
    low = value & ((1 << 62) - 1)
    return UUID(int=(stamp << 80) | (0x7 << 76) | (high << 64) | (0b10 << 62) | low)


def is_v7(value: UUID) -> bool:
    """Tell whether the id says itself when it was made."""
    return value.version == 7


def id_time(value: UUID) -> datetime:
    """Return the moment inside an id; ValueError when it is not version 7 or lies beyond year 9999."""
    if value.version != 7:
        raise ValueError(f"{value} is not a UUID version 7")
    try:
        return datetime.fromtimestamp((value.int >> 80) / 1000, UTC)
    except (OverflowError, OSError) as error:
        raise ValueError(f"{value} holds a moment out of range") from error


def id_day(value: UUID) -> date:
    """Return the UTC day inside an id; ValueError as in `id_time`."""
    return id_time(value).date()
