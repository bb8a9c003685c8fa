"""The port that every payment provider fills: our words for what providers say, and what we may ask of them.

Nothing here names a vendor. A provider's folder translates: `client.py` calls, `mapping.py` translates words,
`webhook.py` proves that a callback is authentic and reads it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from copeck.kernel.money import Money
from payments_gateway.domain.failures import Failure


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


class ProviderClient(Protocol):
    """Calls to one provider; every mutation carries the idempotency key that was fixed before the first try."""

    async def refund(
        self, shop: Shop, *, key: str, transaction_id: str, amount: Money, refund_id: UUID | None
    ) -> Answer:
        """Return money of a payment, whole or in part."""
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
        """Ask for the transactions made between two moments, one page of them; pages count from 1."""
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
        """Return the parameters of the checkout widget."""
        ...

    def widget_origins(self, shop: Shop) -> tuple[str, ...]:
        """Return the origins that a page with the widget must be allowed to load from."""
        ...

    def refunds_slowly(self, method: str) -> bool:
        """Tell whether a refund of this method of payment is accepted at once and finished later."""
        ...


class UnreadableCallback(Exception):
    """An authentic callback that cannot be understood; it is kept with its reason."""


def to_uuid(text: object) -> UUID | None:
    """Read an id that came from outside; None when it cannot be one."""
    if not isinstance(text, str) or len(text) != 36:
        return None
    try:
        return UUID(text)
    except ValueError:
        return None
