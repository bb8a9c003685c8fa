"""What happens to an invoice."""

from datetime import datetime
from typing import ClassVar, Literal
from uuid import UUID

from pydantic import Field

from copeck.contracts.base import (
    AccountName,
    AmountMinor,
    AmountMinorOrZero,
    CaptureMode,
    Currency,
    InvoiceKind,
    LatePolicy,
    Message,
    References,
    Text,
    Word,
)

InvoiceStatus = Literal[
    "issued",
    "pending",
    "authorized",
    "paid",
    "partially_refunded",
    "refunded",
    "canceled",
    "expired",
    "voided",
    "disputed",
    "charged_back",
]


class InvoiceEvent(Message):
    """The state of an invoice after a step of its chain. `version` counts the steps from 1.

    `beneficiary` is the account that is credited when it is paid; senders before the release of coffee left it out.
    """

    invoice_id: UUID
    version: int = Field(ge=1)
    status: InvoiceStatus
    kind: InvoiceKind
    product: Word
    account: AccountName
    payer: Text = ""
    beneficiary: Text = ""
    amount_minor: AmountMinor
    refunded_minor: AmountMinorOrZero = 0
    currency: Currency
    description: Text = ""
    late_policy: LatePolicy = "refund"
    capture: CaptureMode = "automatic"
    expires_at: datetime
    references: References = Field(default_factory=dict)
    payment_id: UUID | None = None
    provider: Text = ""
    shop: Text = ""
    transaction: Text = ""
    method: Text = ""
    failure_code: Text = ""
    failure_reason: Text = ""
    reason: Text = ""

    def subject(self) -> str:
        """Return the invoice's id."""
        return str(self.invoice_id)


class InvoiceIssued(InvoiceEvent):
    """The invoice can be paid."""

    TYPE: ClassVar[str] = "invoice.issued"


class InvoicePending(InvoiceEvent):
    """The payer has begun to pay."""

    TYPE: ClassVar[str] = "invoice.pending"


class InvoicePaymentFailed(InvoiceEvent):
    """An attempt failed; the invoice stays payable until it expires."""

    TYPE: ClassVar[str] = "invoice.payment_failed"


class InvoiceAuthorized(InvoiceEvent):
    """The money is held at the provider."""

    TYPE: ClassVar[str] = "invoice.authorized"


class InvoiceCaptureRequested(InvoiceEvent):
    """The held money is to be taken: an instruction to the one who talks to the provider."""

    TYPE: ClassVar[str] = "invoice.capture_requested"


class InvoiceVoidRequested(InvoiceEvent):
    """The held money is to be released: an instruction to the one who talks to the provider."""

    TYPE: ClassVar[str] = "invoice.void_requested"


class InvoicePaid(InvoiceEvent):
    """The money is ours, or the merchant's."""

    TYPE: ClassVar[str] = "invoice.paid"


class InvoiceCanceled(InvoiceEvent):
    """The invoice was annulled before anything was paid."""

    TYPE: ClassVar[str] = "invoice.canceled"


class InvoiceExpired(InvoiceEvent):
    """Nobody paid in time."""

    TYPE: ClassVar[str] = "invoice.expired"


class InvoiceVoided(InvoiceEvent):
    """The held money was released."""

    TYPE: ClassVar[str] = "invoice.voided"


class InvoicePartiallyRefunded(InvoiceEvent):
    """A part of the money went back."""

    TYPE: ClassVar[str] = "invoice.partially_refunded"


class InvoiceRefunded(InvoiceEvent):
    """All of the money went back."""

    TYPE: ClassVar[str] = "invoice.refunded"


class InvoiceDisputed(InvoiceEvent):
    """The payer's bank disputes the payment."""

    TYPE: ClassVar[str] = "invoice.disputed"


class InvoiceDisputeWon(InvoiceEvent):
    """The dispute ended in our favour; the invoice is paid again."""

    TYPE: ClassVar[str] = "invoice.dispute_won"


class InvoiceChargedBack(InvoiceEvent):
    """The payer's bank took the money back."""

    TYPE: ClassVar[str] = "invoice.charged_back"


class InvoiceLatePaymentReceived(InvoiceEvent):
    """Money came for an invoice that could not take it; it was booked to `suspense:late` and leaves by the policy."""

    TYPE: ClassVar[str] = "invoice.late_payment_received"


INVOICE: tuple[type[InvoiceEvent], ...] = (
    InvoiceIssued,
    InvoicePending,
    InvoicePaymentFailed,
    InvoiceAuthorized,
    InvoiceCaptureRequested,
    InvoiceVoidRequested,
    InvoicePaid,
    InvoiceCanceled,
    InvoiceExpired,
    InvoiceVoided,
    InvoicePartiallyRefunded,
    InvoiceRefunded,
    InvoiceDisputed,
    InvoiceDisputeWon,
    InvoiceChargedBack,
    InvoiceLatePaymentReceived,
)
