"""What a decision can come to. Decisions return these and change nothing themselves."""

from dataclasses import dataclass, field
from uuid import UUID

from billing_state_updater.domain.aggregates import Changes, Payment, Refund
from copeck.contracts.base import Message


@dataclass(frozen=True, slots=True)
class Transfer:
    """One row of the books: a positive amount from the debited to the credited account."""

    debit: str
    credit: str
    amount_minor: int
    currency: str
    kind: str


@dataclass(frozen=True, slots=True)
class Step:
    """One link of an aggregate's event chain; `announce` is the event that goes out with the state after it."""

    event: str
    changes: Changes = field(default_factory=dict)
    announce: type[Message] | None = None


@dataclass(frozen=True, slots=True)
class Announcement:
    """An event about a part of the aggregate: a refund, or a payment that is not the invoice's own."""

    model: type[Message]
    refund: Refund | None = None
    payment: Payment | None = None


@dataclass(frozen=True, slots=True)
class Applied:
    """The command takes effect: steps of the chain, attempts and refunds to store, transfers to post, in order."""

    steps: tuple[Step, ...] = ()
    transfers: tuple[Transfer, ...] = ()
    payments: tuple[Payment, ...] = ()
    refunds: tuple[Refund, ...] = ()
    announcements: tuple[Announcement, ...] = ()


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The command's effect is there already."""


@dataclass(frozen=True, slots=True)
class Stale:
    """The command tells what was true before something else that is known by now."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Illegal:
    """The state does not allow the command; its sender is told, nothing changes."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Poison:
    """The command cannot be judged, because what it speaks of is not known: it is set aside, with its money."""

    reason: str


Outcome = Applied | Duplicate | Stale | Illegal | Poison
Subject = UUID | str
