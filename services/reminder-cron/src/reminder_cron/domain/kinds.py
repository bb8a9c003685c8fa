"""Every kind of due work, as a table: the place where a new one is added.

A kind says where its due rows come from (a view of the State Storage or of another service), how soon after a claim
the same row may be claimed again (never, for what a person would notice), and which message is sent.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from copeck.contracts.commands import InvoiceExpire
from copeck.contracts.envelope import Envelope

SOURCE = "reminders"
ACTOR = "service:reminders"


@dataclass(frozen=True, slots=True)
class Due:
    """One piece of due work."""

    subject: UUID
    due_at: datetime
    account: str


@dataclass(frozen=True, slots=True)
class DueKind:
    """One kind of due work."""

    name: str
    repeat_after: timedelta | None
    """When a claim whose row is still due may be taken again; None: once, whatever happens (I-11)."""
    overlap: timedelta
    """How far back each tick looks again: rows that were committed late, with a time already passed, lie there."""
    recheck_every: timedelta
    """How often a tick looks back much further: for what is still due although it was claimed, or came very late."""
    recheck_span: timedelta
    """How far back that is."""
    message: Callable[[Due], Envelope]


def _expire(due: Due) -> Envelope:
    data = InvoiceExpire(account=due.account, invoice_id=due.subject, actor=ACTOR)
    return Envelope.new(data, source=SOURCE)


INVOICE_EXPIRY = DueKind(
    name="invoice.expiry",
    # Asking twice is harmless: the updater answers a second time with what it knows. So an invoice whose command was
    # refused, because the updater's clock was behind, or set aside, is asked for again until it is closed.
    repeat_after=timedelta(minutes=10),
    overlap=timedelta(minutes=5),
    # An invoice is issued after its own end when its command waited for longer than it may be paid.
    recheck_every=timedelta(minutes=10),
    recheck_span=timedelta(days=7),
    message=_expire,
)

KINDS: dict[str, DueKind] = {kind.name: kind for kind in (INVOICE_EXPIRY,)}
"""What there is. Renewals, reminders before a renewal or a trial's end, and dunning will stand beside it."""

OPEN_INVOICE = ("issued", "pending")
"""An invoice in one of these may still expire."""
