"""The values that decisions are made of: a subscription, its paid periods, outcomes and effects."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from subscriptions.domain.machine import Event, Status

LatePolicy = Literal["refund", "wallet", "accept"]


@dataclass(frozen=True, slots=True)
class Subscription:
    """One customer's subscription.

    `period_end` is the end of what was paid (or of the trial). `anchor_at` and `anchor_count` say how it was computed:
    `anchor_count` whole periods after the anchor. `period_number` counts paid periods; 0 means none yet.
    `deadline_at` is when an unpaid subscription gives up. While paused, `period_end - paused_at` is what is left.
    """

    id: UUID
    user_id: UUID
    plan_id: UUID
    price_id: UUID
    product: str
    status: Status
    version: int
    created_at: datetime
    period_number: int = 0
    anchor_at: datetime | None = None
    anchor_count: int = 0
    period_start: datetime | None = None
    period_end: datetime | None = None
    trial_ends_at: datetime | None = None
    cancel_at_period_end: bool = False
    deadline_at: datetime | None = None
    paused_at: datetime | None = None
    ended_at: datetime | None = None
    reason: str = ""

    @property
    def due_at(self) -> datetime | None:
        """The moment at which time alone changes this subscription."""
        if self.status in (Status.TRIALING, Status.ACTIVE):
            return self.period_end
        return self.deadline_at

    @property
    def entitled_until(self) -> datetime | None:
        """The moment until which the customer has access; None when there is no access."""
        return self.period_end if self.status in (Status.TRIALING, Status.ACTIVE) else None


@dataclass(frozen=True, slots=True)
class PaidPeriod:
    """A period that was paid by an invoice and not given back."""

    number: int
    invoice_id: UUID
    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class GrantAccess:
    """The customer may use the product from one moment to another."""

    starts_at: datetime
    ends_at: datetime
    invoice_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class CutAccess:
    """All access of the subscription beyond a moment is taken back."""

    at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class CancelOpenInvoice:
    """The invoice that waits for payment, if there is one, is annulled."""

    reason: str


@dataclass(frozen=True, slots=True)
class RefundInvoice:
    """The money of an invoice goes back in full."""

    invoice_id: UUID
    reason: str


@dataclass(frozen=True, slots=True)
class ShiftPeriods:
    """Paid periods that end after a moment move later by the length of a pause."""

    after: datetime
    by: timedelta


Effect = GrantAccess | CutAccess | CancelOpenInvoice | RefundInvoice | ShiftPeriods


@dataclass(frozen=True, slots=True)
class Applied:
    """The event took place: the new state, and what follows from it."""

    subscription: Subscription
    event: Event
    effects: tuple[Effect, ...] = ()


@dataclass(frozen=True, slots=True)
class Stale:
    """The event is about a moment or a period that is over; nothing changes, and nothing is wrong."""

    detail: str


@dataclass(frozen=True, slots=True)
class Illegal:
    """The event is forbidden now. `code` is for programs, `detail` tells a person what to do instead."""

    code: str
    detail: str


Outcome = Applied | Stale | Illegal
