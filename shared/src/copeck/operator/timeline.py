"""One line of an invoice's or a payout's story; services contribute theirs, the command puts them in order."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from copeck.operator.output import money, plain

# What happens at one moment is told in the order in which one thing leads to the next.
_ORDER = (
    "intent",
    "deed",
    "command",
    "attempt",
    "callback",
    "operation",
    "request",
    "transition",
    "payment",
    "transfer",
    "refund",
    "refusal",
    "quarantine",
    "subscription",
    "order",
    "brew command",
    "brew report",
    "incident",
)


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that happened: when, where it is recorded, what, by whose doing and by which message."""

    at: datetime
    source: str
    kind: str
    what: str
    status: str = ""
    actor: str = ""
    cause_id: UUID | None = None
    cause: str = ""
    amount: dict[str, str] | None = None
    step: int = 0
    detail: dict[str, Any] = field(default_factory=dict)

    def place(self) -> tuple[datetime, int, int]:
        """Return what entries are sorted by."""
        return self.at, _ORDER.index(self.kind) if self.kind in _ORDER else len(_ORDER), self.step

    def document(self) -> dict[str, Any]:
        """Return the entry for JSON."""
        document: dict[str, Any] = plain(
            {
                "at": self.at,
                "source": self.source,
                "kind": self.kind,
                "what": self.what,
                "status": self.status,
                "amount": self.amount,
                "actor": self.actor,
                "cause": self.cause,
                "cause_id": self.cause_id,
                "detail": self.detail,
            }
        )
        return document


def amount_of(minor: int | None, currency: str) -> dict[str, str] | None:
    """Return an amount, or nothing where there is none."""
    return None if minor is None else money(minor, currency)
