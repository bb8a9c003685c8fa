"""The port that every payment provider fills: our words for what providers say, and what we may ask of them.

Nothing here names a vendor. A provider's folder translates: `client.py` calls, `mapping.py` translates words,
`webhook.py` proves that a callback is authentic and reads it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from copeck.kernel.errors import DomainError, InvalidValueError
from copeck.kernel.money import Money
from payments_gateway.domain.failures import Failure
from payments_gateway.domain.identifiers import payout_reference, to_uuid
from payments_gateway.domain.recipients import Recipient, RecipientKind


class NotificationKind(StrEnum):
    """What a callback is about."""

    CHECK = "check"
    PAY = "pay"
    FAIL = "fail"
    CONFIRM = "confirm"
    REFUND = "refund"
    RECURRENT = "recurrent"
    CANCEL = "cancel"
    RECEIPT = "receipt"


class AttemptStatus(StrEnum):
    """A payment attempt as the gateway knows it; the truth about a payment is the updater's."""

    CREATED = "created"
    PENDING = "pending"
    AUTHORIZED = "authorized"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    UNKNOWN = "unknown"


class DeclineClass(StrEnum):
    """What a decline means for another try."""

    HARD = "hard"
    CONDITIONAL = "conditional"
    TEMPORARY = "temporary"
    OTHER = "other"


class Verdict(StrEnum):
    """How a call to a provider ended.

    `not_sent`: it certainly was not executed, so the same call may be made again. `unknown`: it may have been
    executed, so it must be asked about first (I-08). `rejected`: the provider refused it and nothing moved.
    """

    SUCCEEDED = "succeeded"
    PENDING = "pending"
    REJECTED = "rejected"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"


class CheckAnswer(StrEnum):
    """What a provider that asks before it charges is told."""

    OK = "ok"
    BAD_INVOICE = "bad_invoice"
    BAD_ACCOUNT = "bad_account"
    WRONG_AMOUNT = "wrong_amount"
    NOT_ACCEPTED = "not_accepted"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Shop:
    """One contract with one provider; the secret never prints."""

    provider: str
    shop: str
    public_id: str
    api_secret: str = field(repr=False)
    api_url: str = ""
    widget_url: str = ""
    merchant: str = ""
    """Whose own shop it is; nothing when it is one of ours."""


@dataclass(frozen=True, slots=True)
class Notification:
    """One authentic callback in our words.

    The amount stays a Decimal beside an optional currency, because some callbacks name no currency: the handler
    takes the invoice's then.
    """

    kind: NotificationKind
    transaction_id: str | None = None
    original_transaction_id: str | None = None
    invoice_ref: str | None = None
    account_ref: str | None = None
    payment_id: UUID | None = None
    refund_id: UUID | None = None
    amount: Decimal | None = None
    currency: str | None = None
    status: AttemptStatus | None = None
    reason: str | None = None
    reason_code: int | None = None
    decline: DeclineClass | None = None
    failure: Failure | None = None
    method: str | None = None
    card_last_four: str | None = None
    card_type: str | None = None
    is_test: bool = False
    is_payout: bool = False
    """That it tells of money that went out, and of no payment."""

    @property
    def invoice_id(self) -> UUID | None:
        """The invoice named by the callback, when the name can be one of ours."""
        return to_uuid(self.invoice_ref)


@dataclass(frozen=True, slots=True)
class Exchange:
    """What was said and answered, redacted: it goes into the table of requests."""

    method: str
    path: str
    request: Mapping[str, Any]
    status_code: int | None
    response: Mapping[str, Any] | None
    error: str | None
    duration_ms: int


@dataclass(frozen=True, slots=True)
class Transaction:
    """One transaction as the provider shows it when asked."""

    transaction_id: str
    status: AttemptStatus
    amount: Money | None
    invoice_ref: str | None = None
    payment_id: UUID | None = None
    refund_id: UUID | None = None
    original_transaction_id: str | None = None
    is_refund: bool = False
    is_payout: bool = False
    """That it is money that went out, and no payment."""
    refunded: bool = False
    reason: str | None = None
    reason_code: int | None = None
    decline: DeclineClass | None = None
    failure: Failure | None = None
    method: str | None = None
    card_last_four: str | None = None
    card_type: str | None = None

    @property
    def invoice_id(self) -> UUID | None:
        """The invoice named by the transaction, when the name can be one of ours."""
        return to_uuid(self.invoice_ref)


@dataclass(frozen=True, slots=True)
class Answer:
    """The end of one call: a verdict, and what the provider said when it said anything."""

    verdict: Verdict
    exchange: Exchange
    transaction_id: str | None = None
    reason: str | None = None
    reason_code: int | None = None
    code: str = ""
    """A refusal in one word, where the provider uses words and not numbers."""


@dataclass(frozen=True, slots=True)
class Findings:
    """The end of one question. `known` is false when the provider could not be asked, which proves nothing."""

    known: bool
    transactions: tuple[Transaction, ...]
    exchange: Exchange
    more: bool = False


@dataclass(frozen=True, slots=True)
class RawCallback:
    """A callback as it arrived: exact bytes, headers with lower-case names."""

    method: str
    body: bytes
    headers: Mapping[str, str]
    content_type: str = ""


@dataclass(frozen=True, slots=True)
class WidgetOrder:
    """What a checkout widget must know to take a payment."""

    invoice_id: UUID
    payment_id: UUID | None
    amount: Money
    description: str
    account_ref: str
    language: str
    two_stage: bool


@dataclass(frozen=True, slots=True)
class PayoutOrder:
    """One try to pay somebody out. Its recipient is unsealed just before the call and never prints."""

    payout_id: UUID
    attempt: int
    amount: Money
    recipient: Recipient
    description: str = ""

    @property
    def reference(self) -> str:
        """The provider's id of the order: at most one transfer is ever made for it."""
        return payout_reference(self.payout_id, self.attempt)


class PayoutClient(Protocol):
    """Calls that send money out.

    A refusal (a status 4xx other than 408, 425 and 429) is REJECTED at once, 425 and 429 are NOT_SENT, 408 and 5xx are
    UNKNOWN.
    """

    @property
    def keys_remembered(self) -> timedelta:
        """For how long the same key certainly has one effect; after it only the reference protects."""
        ...

    def pays(self, kind: RecipientKind) -> bool:
        """Tell whether the provider reaches recipients of a kind."""
        ...

    async def pay_out(self, shop: Shop, *, key: str, order: PayoutOrder) -> Answer:
        """Send money to a recipient."""
        ...

    async def find_payout(self, shop: Shop, *, reference: str) -> Findings:
        """Ask about one payout; known and empty means that there is none."""
        ...

    async def balance(self, shop: Shop, *, currency: str) -> Money | None:
        """Return what payouts can be made from; None where the provider has no such call.

        SilentProviderError where it has the call and did not answer it.
        """
        ...


class ChargeClient(Protocol):
    """Payments without a page: the payer agreed before, or is the sandbox. Answers are judged as those of payouts."""

    async def charge(self, shop: Shop, *, key: str, invoice_id: UUID, payment_id: UUID, amount: Money) -> Answer:
        """Take a payment."""
        ...

    async def find_charge(self, shop: Shop, *, payment_id: UUID) -> Findings:
        """Ask about one payment; known and empty means that there is none."""
        ...


class ProviderClient(Protocol):
    """Calls to one provider; every mutation carries the idempotency key that was fixed before the first try."""

    @property
    def keys_remembered(self) -> timedelta:
        """For how long the same key certainly has one effect."""
        ...

    async def refund(
        self, shop: Shop, *, key: str, transaction_id: str, amount: Money, refund_id: UUID | None
    ) -> Answer:
        """Return money of a payment, whole or in part."""
        ...

    async def find_refund(self, shop: Shop, *, refund_id: UUID) -> Findings | None:
        """Ask about a refund by our id; None where the provider has no such call and its lists must be searched."""
        ...

    async def void(self, shop: Shop, *, key: str, transaction_id: str) -> Answer:
        """Release money that is held."""
        ...

    async def confirm(self, shop: Shop, *, key: str, transaction_id: str, amount: Money) -> Answer:
        """Take money that is held."""
        ...

    async def get(self, shop: Shop, *, transaction_id: str) -> Findings:
        """Ask about one transaction."""
        ...

    async def find(self, shop: Shop, *, invoice_id: UUID) -> Findings:
        """Ask about the last transaction of an invoice."""
        ...

    async def list_between(self, shop: Shop, *, since: datetime, until: datetime, page: int) -> Findings:
        """Ask for the transactions made between two moments, payouts too, one page of them; pages count from 1."""
        ...


class Provider(Protocol):
    """Everything that the gateway needs of one provider; stateless, so that shops live side by side."""

    @property
    def code(self) -> str:
        """The provider's name in routes, settings and tables."""
        ...

    @property
    def client(self) -> ProviderClient:
        """Calls to the provider."""
        ...

    @property
    def payouts(self) -> PayoutClient | None:
        """Calls that send money out; None where it cannot."""
        ...

    @property
    def charges(self) -> ChargeClient | None:
        """Payments without a page; None where it has none."""
        ...

    @property
    def has_widget(self) -> bool:
        """Whether payers can be shown a page of it."""
        ...

    async def close(self) -> None:
        """Close the connections of this event loop."""
        ...

    def verify(self, shop: Shop, callback: RawCallback) -> bool:
        """Tell whether the callback was signed by the provider for this shop; runs before anything is parsed."""
        ...

    def read(self, kind: NotificationKind, callback: RawCallback) -> Notification:
        """Parse an authentic callback; UnreadableCallback when it makes no sense."""
        ...

    def seal(self, shop: Shop, body: bytes) -> tuple[bytes, bytes | None]:
        """Take what may not be stored in the clear out of a body; return the body and the sealed part."""
        ...

    def answer(self, check: CheckAnswer) -> Mapping[str, Any]:
        """Word the answer to a callback."""
        ...

    def widget(self, shop: Shop, order: WidgetOrder) -> Mapping[str, Any]:
        """Return the parameters of the checkout widget; NoWidgetError where there is none."""
        ...

    def widget_origins(self, shop: Shop) -> tuple[str, ...]:
        """Return the origins that a page with the widget must be allowed to load from."""
        ...

    def refunds_slowly(self, method: str) -> bool:
        """Tell whether a refund of this method of payment is accepted at once and finished later."""
        ...


class NoWidgetError(InvalidValueError):
    """A page was asked for that the provider does not have."""

    type = "provider-without-page"
    title = "This provider shows no page"


class SilentProviderError(DomainError):
    """A provider did not answer a question that must be answered first."""

    type = "provider-silent"
    title = "The provider does not answer at this moment"
    status = 503
    retry_after_s = 5


class UnreadableCallback(Exception):
    """An authentic callback that cannot be understood; it is kept with its reason."""
