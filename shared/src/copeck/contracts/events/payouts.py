"""What happens to a payout."""

from typing import ClassVar, Literal
from uuid import UUID

from pydantic import Field

from copeck.contracts.base import (
    AccountName,
    AmountMinor,
    AmountMinorOrZero,
    Currency,
    Message,
    References,
    Text,
    Word,
)

PayoutStatus = Literal["draft", "awaiting_approval", "pending", "processing", "completed", "failed", "canceled"]


class PayoutEvent(Message):
    """The state of a payout. `attempt` counts the tries that debited the source."""

    payout_id: UUID
    version: int = Field(ge=1)
    status: PayoutStatus
    account: AccountName
    amount_minor: AmountMinor
    commission_minor: AmountMinorOrZero = 0
    currency: Currency
    provider: Word
    shop: Word
    recipient: Text
    description: Text = ""
    attempt: int = Field(ge=0)
    outcome_unknown: bool = False
    transaction: Text = ""
    last_error: Text = ""
    references: References = Field(default_factory=dict)

    def subject(self) -> str:
        """Return the payout's id."""
        return str(self.payout_id)


class PayoutDrafted(PayoutEvent):
    """A draft was saved."""

    TYPE: ClassVar[str] = "payout.drafted"


class PayoutApprovalRequested(PayoutEvent):
    """A second person must approve."""

    TYPE: ClassVar[str] = "payout.approval_requested"


class PayoutPending(PayoutEvent):
    """The source was debited; the payout is to be executed."""

    TYPE: ClassVar[str] = "payout.pending"


class PayoutProcessing(PayoutEvent):
    """The provider is at it."""

    TYPE: ClassVar[str] = "payout.processing"


class PayoutCompleted(PayoutEvent):
    """The recipient has the money."""

    TYPE: ClassVar[str] = "payout.completed"


class PayoutFailed(PayoutEvent):
    """It did not work out; the source has its money back, or never lost it."""

    TYPE: ClassVar[str] = "payout.failed"


class PayoutCanceled(PayoutEvent):
    """It was called off; the source has its money back."""

    TYPE: ClassVar[str] = "payout.canceled"


PAYOUT: tuple[type[PayoutEvent], ...] = (
    PayoutDrafted,
    PayoutApprovalRequested,
    PayoutPending,
    PayoutProcessing,
    PayoutCompleted,
    PayoutFailed,
    PayoutCanceled,
)
