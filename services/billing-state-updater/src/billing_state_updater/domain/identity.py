"""Ids that follow from their cause, so that deciding twice names the same thing."""

from hashlib import blake2b
from uuid import UUID

_STAMP_SHIFT = 80
_RANDOM_MASK = (1 << 62) - 1


def derived_id(cause: UUID, purpose: str) -> UUID:
    """Return a UUIDv7 with the moment of its cause and bits hashed from cause and purpose."""
    digest = int.from_bytes(blake2b(cause.bytes + purpose.encode(), digest_size=10).digest())
    stamp = cause.int >> _STAMP_SHIFT
    return UUID(
        int=(stamp << 80) | (0x7 << 76) | (((digest >> 62) & 0xFFF) << 64) | (0b10 << 62) | digest & _RANDOM_MASK
    )
