"""Identifiers that came from outside: a provider, a page's address, an event."""

import re
from uuid import UUID

_PAYOUT_REFERENCE = re.compile(r"(?P<payout_id>[0-9a-fA-F-]{36})-(?P<attempt>[0-9]{1,9})", re.ASCII)


def to_uuid(text: object) -> UUID | None:
    """Read an id that came from outside; None when it cannot be one."""
    if not isinstance(text, str) or len(text) != 36:
        return None
    try:
        return UUID(text)
    except ValueError:
        return None


def payout_reference(payout_id: UUID, attempt: int) -> str:
    """Name a try of a payout as the provider knows it."""
    return f"{payout_id}-{attempt}"


def payout_named(reference: str | None) -> tuple[UUID, int] | None:
    """Read a payout and its try out of the name that the provider knows; None when it names none."""
    found = _PAYOUT_REFERENCE.fullmatch(reference or "")
    payout_id = to_uuid(found["payout_id"]) if found else None
    return (payout_id, int(found["attempt"])) if found and payout_id else None
