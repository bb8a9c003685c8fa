"""Events: what happened, in the past tense, each with the whole public state of its aggregate and its version.

Dropping an older version of an aggregate's event therefore loses nothing.
"""

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
RefundStatus = Literal["requested", "pending", "succeeded", "failed", "unknown"]
PayoutStatus = Literal["draft", "awaiting_approval", "pending", "processing", "completed", "failed", "canceled"]
SubscriptionStatus = Literal["incomplete", "trialing", "active", "past_due", "paused", "canceled", "expired"]


class InvoiceEvent(Message):
    """The state of an invoice after a step of its chain. `version` counts the steps from 1."""

    invoice_id: UUID
    version: int = Field(ge=1)
    status: InvoiceStatus
    kind: InvoiceKind
    product: Word
    account: AccountName
    payer: Text = ""
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


class CommandRefused(Message):
    """A command that the state of its aggregate did not allow. Nothing changed."""

    TYPE: ClassVar[str] = "command.refused"

    command_id: UUID
    command_type: Word
    aggregate: Word
    status: Text = ""
    code: Word
    detail: Text = ""

    def subject(self) -> str:
        """Return the aggregate's id."""
        return self.aggregate


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


class WalletEvent(Message):
    """The state of a wallet or a merchant's balance."""

    account: AccountName
    currency: Currency
    version: int = Field(ge=1)
    balance_minor: int

    def subject(self) -> str:
        """Return the account."""
        return self.account


class WalletOpened(WalletEvent):
    """The wallet exists."""

    TYPE: ClassVar[str] = "wallet.opened"


class WalletChanged(WalletEvent):
    """The wallet's balance changed."""

    TYPE: ClassVar[str] = "wallet.changed"


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


class UserEvent(Message):
    """The public state of a user."""

    user_id: UUID
    version: int = Field(ge=1)
    roles: tuple[str, ...] = ()

    def subject(self) -> str:
        """Return the user's id."""
        return str(self.user_id)


class UserRegistered(UserEvent):
    """Somebody made an account."""

    TYPE: ClassVar[str] = "user.registered"


class UserRolesChanged(UserEvent):
    """An operator gave or took roles."""

    TYPE: ClassVar[str] = "user.roles_changed"


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
REFUND: tuple[type[RefundEvent], ...] = (
    RefundRequested,
    RefundPending,
    RefundSucceeded,
    RefundFailed,
    RefundOutcomeUnknown,
)
WALLET: tuple[type[WalletEvent], ...] = (WalletOpened, WalletChanged)
PAYOUT: tuple[type[PayoutEvent], ...] = (
    PayoutDrafted,
    PayoutApprovalRequested,
    PayoutPending,
    PayoutProcessing,
    PayoutCompleted,
    PayoutFailed,
    PayoutCanceled,
)
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
USER: tuple[type[UserEvent], ...] = (UserRegistered, UserRolesChanged)
ALL: tuple[type[Message], ...] = (*INVOICE, CommandRefused, *REFUND, *WALLET, *PAYOUT, *SUBSCRIPTION, *USER)
