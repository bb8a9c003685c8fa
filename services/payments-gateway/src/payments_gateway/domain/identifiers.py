"""Identifiers that came from outside: a provider, a page's address, an event."""

from uuid import UUID


def to_uuid(text: object) -> UUID | None:
    """Read an id that came from outside; None when it cannot be one."""
    if not isinstance(text, str) or len(text) != 36:
        return None
    try:
        return UUID(text)
    except ValueError:
        return None
