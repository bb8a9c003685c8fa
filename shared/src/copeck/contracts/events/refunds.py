"""What happens to a refund."""

from typing import ClassVar, Literal
from uuid import UUID

from pydantic import Field

from copeck.contracts.base import AccountName, AmountMinor, Currency, Message, Text

RefundStatus = Literal["requested", "pending", "succeeded", "failed", "unknown"]


class RefundEvent(Message):
    """The state of a refund. `transaction` names the payment at the provider that is refunded."""

    refund_id: UUID
    invoice_id: UUID
    version: int = Field(ge=1)
    status: RefundStatus
    origin: Literal["requested", "late_payment", "provider"]
    account: AccountName
    amount_minor: AmountMinor
    currency: Currency
    payment_id: UUID | None = None
    provider: Text = ""
    shop: Text = ""
    transaction: Text = ""
    refund_transaction: Text = ""
    reason: Text = ""
    failure_code: Text = ""
    failure_reason: Text = ""

    def subject(self) -> str:
        """Return the refund's id."""
        return str(self.refund_id)


class RefundRequested(RefundEvent):
    """A refund is to be made at the provider: an instruction to the one who talks to it."""

    TYPE: ClassVar[str] = "refund.requested"


class RefundPending(RefundEvent):
    """The provider accepted the refund and has not finished it."""

    TYPE: ClassVar[str] = "refund.pending"


class RefundSucceeded(RefundEvent):
    """The payer has the money back."""

    TYPE: ClassVar[str] = "refund.succeeded"


class RefundFailed(RefundEvent):
    """The provider refused; the money is back where it came from."""

    TYPE: ClassVar[str] = "refund.failed"


class RefundOutcomeUnknown(RefundEvent):
    """Nobody knows yet whether the refund was made; it is being asked about."""

    TYPE: ClassVar[str] = "refund.outcome_unknown"


REFUND: tuple[type[RefundEvent], ...] = (
    RefundRequested,
    RefundPending,
    RefundSucceeded,
    RefundFailed,
    RefundOutcomeUnknown,
)
