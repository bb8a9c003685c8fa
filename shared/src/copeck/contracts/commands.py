"""Commands: what services ask of the state updater (and of `subscriptions`, for a subscription made by a manager)."""

from datetime import datetime
from typing import ClassVar, Literal
from uuid import UUID

from pydantic import Field

from copeck.contracts.base import (
    AccountName,
    AmountMinor,
    AmountMinorOrZero,
    CaptureMode,
    Command,
    Currency,
    InvoiceKind,
    LatePolicy,
    Message,
    References,
    Text,
    Word,
)


class InvoiceCommand(Command):
    """A command about one invoice. `actor` says who asked: `user:<id>`, `service:<name>`."""

    invoice_id: UUID
    actor: Text = ""

    def subject(self) -> str:
        """Return the invoice's id."""
        return str(self.invoice_id)


class InvoiceIssue(InvoiceCommand):
    """Issue an invoice. The sender chooses the id, so that a repeat is recognised.

    `beneficiary` is credited when it is paid: `revenue:<product>`, `merchant:<id>`, `wallet:<user>`, or
    `receivable:<merchant>` where the money is the merchant's from the start and only the commission is booked.
    `late_wallet` is where late money goes under the policy `wallet`.
    """

    TYPE: ClassVar[str] = "invoice.issue"

    kind: InvoiceKind
    product: Word
    payer: Text = ""
    beneficiary: AccountName
    amount_minor: AmountMinor
    commission_minor: AmountMinorOrZero = 0
    currency: Currency
    description: Text = ""
    late_policy: LatePolicy = "refund"
    late_wallet: AccountName | None = None
    capture: CaptureMode = "automatic"
    expires_at: datetime
    references: References = Field(default_factory=dict)


class InvoiceCancel(InvoiceCommand):
    """Annul an invoice that is not paid; one whose money is only held is voided at the provider first."""

    TYPE: ClassVar[str] = "invoice.cancel"

    reason: Text = ""


class InvoiceExpire(InvoiceCommand):
    """Say that an invoice's time is over; refused while it is not, by the updater's own clock."""

    TYPE: ClassVar[str] = "invoice.expire"


class InvoiceCapture(InvoiceCommand):
    """Take the money that is held for an invoice whose capture is manual."""

    TYPE: ClassVar[str] = "invoice.capture"


class InvoiceRefund(InvoiceCommand):
    """Return the whole of a paid invoice's remaining money, or `amount_minor` of it.

    `retry_of` names a refund that failed: it is tried again, whole. Late money goes back whatever the invoice's status.
    All who retry one refund give the retry the same `refund_id`, so that it is tried again once.
    """

    TYPE: ClassVar[str] = "invoice.refund"

    refund_id: UUID
    amount_minor: AmountMinor | None = None
    reason: Text = ""
    retry_of: UUID | None = None


PaymentStatus = Literal["pending", "authorized", "succeeded", "failed", "canceled", "unknown"]
OperationStatus = Literal["pending", "succeeded", "failed", "unknown"]


class PaymentReport(InvoiceCommand):
    """What a provider said of one payment attempt. `method` is masked already (I-14)."""

    TYPE: ClassVar[str] = "payment.report"

    payment_id: UUID
    provider: Word
    shop: Word
    transaction: Text = ""
    status: PaymentStatus
    amount_minor: AmountMinor
    currency: Currency
    method: Text = ""
    failure_code: Text = ""
    failure_reason: Text = ""


class RefundReport(InvoiceCommand):
    """What a provider said of a refund. Without `refund_id` the refund was made in the provider's own cabinet."""

    TYPE: ClassVar[str] = "refund.report"

    refund_id: UUID | None = None
    provider: Word
    shop: Word
    transaction: Text = ""
    payment_transaction: Text = ""
    status: OperationStatus
    amount_minor: AmountMinor
    currency: Currency
    failure_code: Text = ""
    failure_reason: Text = ""


class DisputeReport(InvoiceCommand):
    """What a provider said of a chargeback. `transaction` is the dispute's own id at the provider."""

    TYPE: ClassVar[str] = "dispute.report"

    provider: Word
    shop: Word
    transaction: Word
    outcome: Literal["opened", "won", "lost"]
    amount_minor: AmountMinor
    currency: Currency


class WalletOpen(Command):
    """Open a wallet or a merchant's balance; `opening_minor` is booked from `opening:<opening_source>`."""

    TYPE: ClassVar[str] = "wallet.open"

    currency: Currency
    opening_minor: AmountMinorOrZero = 0
    opening_source: Word = "sandbox"
    actor: Text = ""

    def subject(self) -> str:
        """Return the account."""
        return self.account


class WalletPay(InvoiceCommand):
    """Pay an invoice from the wallet `wallet`, whole or not at all."""

    TYPE: ClassVar[str] = "wallet.pay"

    payment_id: UUID
    wallet: AccountName


class LedgerCorrect(Command):
    """Move money between any two accounts by hand: a reason, and two different people."""

    TYPE: ClassVar[str] = "ledger.correct"

    correction_id: UUID
    debit: AccountName
    credit: AccountName
    amount_minor: AmountMinor
    currency: Currency
    reason: Word
    requested_by: Word
    approved_by: Word

    def subject(self) -> str:
        """Return the correction's id."""
        return str(self.correction_id)


class SettlementReport(Command):
    """The acquirer paid out to our bank account: `amount_minor` arrived, `fee_minor` was kept."""

    TYPE: ClassVar[str] = "settlement.report"

    settlement_id: UUID
    provider: Word
    shop: Word
    amount_minor: AmountMinorOrZero
    fee_minor: AmountMinorOrZero
    currency: Currency

    def subject(self) -> str:
        """Return the settlement's id."""
        return str(self.settlement_id)


class PayoutCommand(Command):
    """A command about one payout; `account` is its source."""

    payout_id: UUID
    actor: Text = ""

    def subject(self) -> str:
        """Return the payout's id."""
        return str(self.payout_id)


class PayoutRequest(PayoutCommand):
    """Ask for a payout from `account`. A draft waits for submission, `needs_approval` for a second person."""

    TYPE: ClassVar[str] = "payout.request"

    amount_minor: AmountMinor
    commission_minor: AmountMinorOrZero = 0
    currency: Currency
    provider: Word
    shop: Word
    recipient: Text
    description: Text = ""
    draft: bool = False
    needs_approval: bool = False
    references: References = Field(default_factory=dict)


class PayoutSubmit(PayoutCommand):
    """Send a draft on its way."""

    TYPE: ClassVar[str] = "payout.submit"


class PayoutApprove(PayoutCommand):
    """Approve a payout; refused to the one who asked for it."""

    TYPE: ClassVar[str] = "payout.approve"


class PayoutCancel(PayoutCommand):
    """Call a payout off before it has started."""

    TYPE: ClassVar[str] = "payout.cancel"

    reason: Text = ""


class PayoutRetry(PayoutCommand):
    """Try a failed payout again: the source is debited again, and it is refused when the source is short.

    One that needs approval and failed before anybody gave it waits for the second person instead.
    """

    TYPE: ClassVar[str] = "payout.retry"


class PayoutReport(PayoutCommand):
    """What a provider, or the one who executes, said of a payout. `attempt` is the attempt that it speaks of."""

    TYPE: ClassVar[str] = "payout.report"

    attempt: int = Field(ge=1, le=1000)
    status: Literal["processing", "completed", "failed", "unknown"]
    transaction: Text = ""
    failure_code: Text = ""
    failure_reason: Text = ""


class SubscriptionCreate(Message):
    """Make a subscription for a customer, as a manager may; goes to `subscriptions`."""

    TYPE: ClassVar[str] = "subscription.create"

    subscription_id: UUID
    user_id: UUID
    price_id: UUID
    actor: Text = ""

    def subject(self) -> str:
        """Return the subscription's id."""
        return str(self.subscription_id)


ALL: tuple[type[Message], ...] = (
    InvoiceIssue,
    InvoiceCancel,
    InvoiceExpire,
    InvoiceCapture,
    InvoiceRefund,
    PaymentReport,
    RefundReport,
    DisputeReport,
    WalletOpen,
    WalletPay,
    LedgerCorrect,
    SettlementReport,
    PayoutRequest,
    PayoutSubmit,
    PayoutApprove,
    PayoutCancel,
    PayoutRetry,
    PayoutReport,
    SubscriptionCreate,
)
