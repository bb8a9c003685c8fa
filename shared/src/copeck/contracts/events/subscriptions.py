"""What happens to a subscription."""

from datetime import datetime
from typing import ClassVar, Literal
from uuid import UUID

from pydantic import Field

from copeck.contracts.base import Message, Text

SubscriptionStatus = Literal["incomplete", "trialing", "active", "past_due", "paused", "canceled", "expired"]


class SubscriptionEvent(Message):
    """The state of a subscription. `entitled_until` is the moment until which the customer has access."""

    subscription_id: UUID
    version: int = Field(ge=1)
    status: SubscriptionStatus
    user_id: UUID
    plan_id: UUID
    price_id: UUID
    period_start: datetime | None = None
    period_end: datetime | None = None
    entitled_until: datetime | None = None
    cancel_at_period_end: bool = False
    invoice_id: UUID | None = None
    reason: Text = ""

    def subject(self) -> str:
        """Return the subscription's id."""
        return str(self.subscription_id)


class SubscriptionCreated(SubscriptionEvent):
    """The subscription waits for its first payment."""

    TYPE: ClassVar[str] = "subscription.created"


class SubscriptionTrialStarted(SubscriptionEvent):
    """The customer has access, for a while without paying."""

    TYPE: ClassVar[str] = "subscription.trial_started"


class SubscriptionActivated(SubscriptionEvent):
    """The customer has access until the end of the period."""

    TYPE: ClassVar[str] = "subscription.activated"


class SubscriptionRenewed(SubscriptionEvent):
    """A further period is paid."""

    TYPE: ClassVar[str] = "subscription.renewed"


class SubscriptionPastDue(SubscriptionEvent):
    """A period was not paid in time."""

    TYPE: ClassVar[str] = "subscription.past_due"


class SubscriptionPaused(SubscriptionEvent):
    """The subscription rests."""

    TYPE: ClassVar[str] = "subscription.paused"


class SubscriptionResumed(SubscriptionEvent):
    """The subscription goes on."""

    TYPE: ClassVar[str] = "subscription.resumed"


class SubscriptionCancellationScheduled(SubscriptionEvent):
    """The subscription ends with its period."""

    TYPE: ClassVar[str] = "subscription.cancellation_scheduled"


class SubscriptionCancellationUndone(SubscriptionEvent):
    """The subscription goes on after all."""

    TYPE: ClassVar[str] = "subscription.cancellation_undone"


class SubscriptionCanceled(SubscriptionEvent):
    """The subscription is over."""

    TYPE: ClassVar[str] = "subscription.canceled"


class SubscriptionExpired(SubscriptionEvent):
    """The subscription ended unpaid."""

    TYPE: ClassVar[str] = "subscription.expired"


class SubscriptionChanged(SubscriptionEvent):
    """Something else about the subscription changed: its price, or its end by a manager or a refund."""

    TYPE: ClassVar[str] = "subscription.changed"


SUBSCRIPTION: tuple[type[SubscriptionEvent], ...] = (
    SubscriptionCreated,
    SubscriptionTrialStarted,
    SubscriptionActivated,
    SubscriptionRenewed,
    SubscriptionPastDue,
    SubscriptionPaused,
    SubscriptionResumed,
    SubscriptionCancellationScheduled,
    SubscriptionCancellationUndone,
    SubscriptionCanceled,
    SubscriptionExpired,
    SubscriptionChanged,
)
