"""What a deposit, a withdrawal or a payment from the balance becomes: rows, a command and an answer, or a refusal.

Everything that it depends on is read before, for a whole batch; here nothing is asked of anybody.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from copeck.contracts import commands
from copeck.contracts.base import Message
from copeck.contracts.envelope import Envelope
from copeck.kernel.errors import DomainError, NotFoundError
from copeck.kernel.ids import new_id
from copeck.kernel.money import Money
from copeck.observability.trace import current_correlation_id, current_traceparent
from copeck.storage.idempotency import Claim
from payments_gateway.domain import recipients
from payments_gateway.domain.commissions import CommissionChanged, CommissionKind, Rule, commission_minor, rule_for
from payments_gateway.domain.invoices import Invoice, NotPayableError
from payments_gateway.domain.payouts import needs_approval
from payments_gateway.domain.provider import Shop
from payments_gateway.domain.recipients import Recipient
from payments_gateway.domain.switches import DEPOSITS, PAYOUTS, Stopped, Switch, provider_switch
from payments_gateway.domain.wallets import PaymentKind, Status, wallet_of
from payments_gateway.handlers.context import SOURCE
from payments_gateway.settings import GatewaySettings
from payments_gateway.store.payout_requests import PayoutRequestRow
from payments_gateway.store.wallet_payments import WalletPaymentRow

T = TypeVar("T")

URL = "/payments/api/v1/payments"
PRODUCT = "wallet"
_TITLES = {"title_ru": "Пополнение кошелька", "title_en": "Wallet top-up"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the owner of a wallet asks for, checked as far as that needs no database.

    `agreed` is the commission that the owner was shown. `shop` is where the money comes from or goes through, `charged`
    says that the shop takes a deposit by itself, without a page. `on_behalf` is who asks in the owner's stead: it is
    them whom a second person has to agree with, and the chain names.
    """

    kind: PaymentKind
    user_id: UUID
    scope: str
    key: str
    request_hash: str
    amount: Money | None = None
    agreed: Money | None = None
    description: str = ""
    shop: Shop | None = None
    charged: bool = False
    recipient: Recipient | None = None
    invoice_id: UUID | None = None
    on_behalf: str = ""
    payment_id: UUID = field(default_factory=new_id)
    traceparent: str | None = field(default_factory=current_traceparent)
    correlation_id: str | None = field(default_factory=current_correlation_id)

    @property
    def actor(self) -> str:
        """Who asks, as commands and the audit name them."""
        return self.on_behalf or f"user:{self.user_id}"

    @property
    def switches(self) -> tuple[str, ...]:
        """The switches that stop this."""
        if self.shop is None:
            return ()
        own = DEPOSITS if self.kind is PaymentKind.DEPOSIT else PAYOUTS
        return own, provider_switch(self.shop.provider)


@dataclass(frozen=True, slots=True)
class Known:
    """What a batch is judged by, read in its own commit."""

    stopped: Mapping[str, Switch]
    rules: Mapping[tuple[str, CommissionKind], Rule]
    invoices: Mapping[UUID, Invoice]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that is good: its claim with the answer, and what is written when the claim is the first."""

    asked: Asked
    claim: Claim
    row: WalletPaymentRow
    command: Envelope
    payout: PayoutRequestRow | None = None


def judge(asked: Asked, known: Known, settings: GatewaySettings, now: datetime) -> Prepared | DomainError:
    """Prepare a request, or say why it is refused."""
    try:
        for name in asked.switches:
            if name in known.stopped:
                return Stopped(known.stopped[name])
        return _PREPARE[asked.kind](asked, known, settings, now)
    except DomainError as refusal:
        return refusal


def _commission(asked: Asked, amount: Money, known: Known, settings: GatewaySettings, kind: CommissionKind) -> Money:
    rule = rule_for(known.rules, amount.currency, kind, settings.transaction_fee_basis_points)
    commission = Money(commission_minor(rule, amount.minor), amount.currency)
    if asked.agreed is not None and asked.agreed != commission:
        raise CommissionChanged(f"it is {commission} now, not {asked.agreed}; look at the preview again", "commission")
    return commission


def _deposit(asked: Asked, known: Known, settings: GatewaySettings, now: datetime) -> Prepared:
    amount = _needed(asked.amount)
    commission = _commission(asked, amount, known, settings, CommissionKind.DEPOSIT)
    wallet = wallet_of(asked.user_id)
    command = commands.InvoiceIssue(
        account=wallet,
        invoice_id=asked.payment_id,
        actor=asked.actor,
        kind="topup",
        product=PRODUCT,
        payer=str(asked.user_id),
        beneficiary=wallet,
        amount_minor=amount.minor,
        commission_minor=commission.minor,
        currency=amount.currency,
        description=asked.description or _TITLES["title_ru"],
        late_policy="wallet",
        late_wallet=wallet,
        expires_at=now + timedelta(seconds=settings.deposit_expires_s),
        references={} if asked.description else _TITLES,
    )
    pay_url = None if asked.charged else f"{settings.public_url.rstrip('/')}/pay/{asked.payment_id}"
    body = _answer(asked, amount, commission, amount - commission, pay_url)
    return Prepared(asked, _claim(asked, body), _row(asked, amount, commission, now), _envelope(asked, command))


def _withdrawal(asked: Asked, known: Known, settings: GatewaySettings, now: datetime) -> Prepared:
    amount, recipient, shop = _needed(asked.amount), _needed(asked.recipient), _needed(asked.shop)
    commission = _commission(asked, amount, known, settings, CommissionKind.WITHDRAWAL)
    payout = PayoutRequestRow(
        payout_id=asked.payment_id,
        origin="withdrawal",
        account=wallet_of(asked.user_id),
        user_id=asked.user_id,
        requested_by=asked.actor,
        amount_minor=amount.minor,
        commission_minor=commission.minor,
        currency=amount.currency,
        provider=shop.provider,
        shop=shop.shop,
        recipient_kind=recipient.kind.value,
        recipient_masked=recipient.masked,
        recipient_sealed=recipients.seal(shop.api_secret, recipient, str(asked.payment_id)),
        description=asked.description,
        needs_approval=needs_approval(amount, settings.payout_approval_above),
        requested_at=now,
    )
    command = commands.PayoutRequest(
        account=payout.account,
        payout_id=payout.payout_id,
        actor=payout.requested_by,
        amount_minor=amount.minor,
        commission_minor=commission.minor,
        currency=amount.currency,
        provider=shop.provider,
        shop=shop.shop,
        recipient=payout.recipient_masked,
        description=payout.description,
        needs_approval=payout.needs_approval,
    )
    claim = _claim(asked, _answer(asked, amount, commission, amount + commission, None))
    return Prepared(asked, claim, _row(asked, amount, commission, now), _envelope(asked, command), payout)


def _payment(asked: Asked, known: Known, _: GatewaySettings, now: datetime) -> Prepared:
    invoice = known.invoices.get(_needed(asked.invoice_id))
    if invoice is None:
        raise NotFoundError("there is no such invoice", "invoice_id")
    wallet = wallet_of(asked.user_id)
    if not invoice.payable_at(now):
        raise NotPayableError(f"the invoice is {invoice.status_at(now)}", "invoice_id")
    if invoice.kind == "topup" and invoice.account == wallet:
        raise NotPayableError("a deposit cannot be paid from the wallet that it is for", "invoice_id")
    if invoice.own_shop_of:
        raise NotPayableError("the invoice is paid at the seller's own shop, and not from a wallet", "invoice_id")
    nothing = Money(0, invoice.amount.currency)
    command = commands.WalletPay(
        # The invoice's own account, and not the wallet: its shard orders what happens to the invoice.
        account=invoice.account,
        invoice_id=invoice.invoice_id,
        actor=asked.actor,
        payment_id=asked.payment_id,
        wallet=wallet,
    )
    claim = _claim(asked, _answer(asked, invoice.amount, nothing, invoice.amount, None))
    row = _row(asked, invoice.amount, nothing, now, invoice.description)
    return Prepared(asked, claim, row, _envelope(asked, command))


_PREPARE: dict[PaymentKind, Callable[[Asked, Known, GatewaySettings, datetime], Prepared]] = {
    PaymentKind.DEPOSIT: _deposit,
    PaymentKind.WITHDRAWAL: _withdrawal,
    PaymentKind.PAYMENT: _payment,
}


def bare_claim(asked: Asked) -> Claim:
    """Return the claim of a request that is refused: an answer that was given before is given again all the same."""
    return _claim(asked, None)


def _claim(asked: Asked, body: Any) -> Claim:
    return Claim(asked.scope, asked.key, asked.request_hash, 202, body)


def _answer(asked: Asked, amount: Money, commission: Money, total: Money, pay_url: str | None) -> dict[str, Any]:
    return {
        "id": str(asked.payment_id),
        "kind": asked.kind.value,
        "status": Status.REQUESTED.value,
        "amount": _money(amount),
        "commission": _money(commission),
        "total": _money(total),
        "last_error": None,
        "pay_url": pay_url,
        "url": f"{URL}/{asked.payment_id}",
    }


def _money(money: Money) -> dict[str, str]:
    return {"value": money.value, "currency": money.currency}


def _row(asked: Asked, amount: Money, commission: Money, now: datetime, description: str = "") -> WalletPaymentRow:
    return WalletPaymentRow(
        payment_id=asked.payment_id,
        kind=asked.kind.value,
        user_id=asked.user_id,
        account=wallet_of(asked.user_id),
        invoice_id=asked.payment_id if asked.kind is PaymentKind.DEPOSIT else asked.invoice_id,
        amount_minor=amount.minor,
        commission_minor=commission.minor,
        currency=amount.currency,
        description=asked.description or description,
        requested_at=now,
    )


def _envelope(asked: Asked, command: Message) -> Envelope:
    """Wrap the command: its id is the payment's, so that a refusal is found by it, and the trace is the request's."""
    return Envelope.new(
        command,
        source=SOURCE,
        id=asked.payment_id,
        traceparent=asked.traceparent,
        correlation_id=asked.correlation_id,
    )


def _needed(value: T | None) -> T:
    if value is None:
        raise TypeError("the request lacks what its kind needs")
    return value
