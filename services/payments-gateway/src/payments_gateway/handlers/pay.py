"""Starting a payment: what a payer sees of an invoice, and the attempt that is made before the widget opens."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.kernel.errors import DomainError, NotFoundError
from copeck.kernel.ids import id_time, is_v7
from copeck.web.wait import wait_until
from payments_gateway.domain.hearing import new_attempt
from payments_gateway.domain.invoices import ATTEMPTS_MAX, PAYABLE, Invoice, NotPayableError, TooManyAttemptsError
from payments_gateway.domain.models import Attempt
from payments_gateway.domain.provider import AttemptStatus, Shop, WidgetOrder
from payments_gateway.domain.switches import Stopped, payment_switches
from payments_gateway.handlers.context import Context
from payments_gateway.handlers.merchant_shops import find_shop, shop_of_merchant
from payments_gateway.handlers.reports import asked_at, payment_report
from payments_gateway.store import attempts as attempt_store
from payments_gateway.store import invoices as invoice_store
from payments_gateway.store import switches

# How long a page waits for an invoice that was issued no longer ago than this.
_ISSUE_WAIT_S = 5.0
_FRESH = timedelta(minutes=2)


class NoShopError(DomainError):
    """No shop of this installation sells the invoice's product."""

    type = "no-shop"
    title = "There is no shop that takes this payment"
    status = 503


@dataclass(frozen=True, slots=True)
class Seen:
    """An invoice as its payer sees it, with the last attempt to pay it."""

    invoice: Invoice
    status: str
    payable: bool
    attempt: Attempt | None

    @property
    def failure(self) -> tuple[str, str] | None:
        """Why the last attempt failed: a word and the provider's reason."""
        if self.attempt is None or self.attempt.status is not AttemptStatus.FAILED:
            return None
        return self.attempt.failure_code, self.attempt.failure_reason


@dataclass(frozen=True, slots=True)
class Started:
    """A payment that was started (now, or under the same idempotency key before)."""

    invoice_id: UUID
    payment_id: UUID
    provider: str
    shop: str
    script: str
    widget: Mapping[str, Any]


async def see(context: Context, invoice_id: UUID) -> Seen:
    """Return the invoice for its payer; NotFoundError when it is not known (yet)."""
    now = context.clock.now()
    async with context.database.reading() as tx:
        invoice = await _invoice(tx, invoice_id)
        attempts = await attempt_store.of_invoice(tx, invoice_id)
    return Seen(invoice, invoice.status_at(now), invoice.payable_at(now), attempts[-1] if attempts else None)


async def see_soon(context: Context, invoice_id: UUID) -> Seen:
    """Return the invoice, waiting for one that was issued just now: its event may still be on the way to us.

    The id says when it was made, so a guessed or an old one is not waited for.
    """

    async def known() -> Seen | None:
        try:
            return await see(context, invoice_id)
        except NotFoundError:
            # Late is only the bus: the State Storage may have it.
            async with context.database.transaction() as tx:
                adopted = await invoice_store.adopt(tx, [invoice_id], context.clock.now())
            return await see(context, invoice_id) if adopted else None

    seen = await wait_until(known, _ISSUE_WAIT_S if _is_fresh(context, invoice_id) else 0)
    return await refreshed(context, seen or await see(context, invoice_id))


async def refreshed(context: Context, seen: Seen) -> Seen:
    """Return the invoice anew if it looks open and the State Storage knows better: its last event may have got lost."""
    if seen.invoice.status not in PAYABLE:
        return seen
    invoice_id = seen.invoice.invoice_id
    async with context.database.transaction() as tx:
        adopted = await invoice_store.adopt(tx, [invoice_id], context.clock.now())
    return await see(context, invoice_id) if adopted else seen


def _is_fresh(context: Context, invoice_id: UUID) -> bool:
    return is_v7(invoice_id) and abs(context.clock.now() - id_time(invoice_id)) < _FRESH


async def shop_of(context: Context, invoice: Invoice, tx: AsyncConnection | None = None) -> Shop:
    """Return the shop that takes an invoice: the merchant's own, or the one that the routing rules choose."""
    if invoice.own_shop_of:
        return await shop_of_merchant(context, invoice, tx)
    shop = context.shops.route(invoice.product)
    if shop is None:
        raise NoShopError(f"no shop sells {invoice.product!r}")
    return shop


def widget_of(
    context: Context, shop: Shop, invoice: Invoice, payment_id: UUID | None, language: str
) -> Mapping[str, Any]:
    """Return the parameters with which the provider's widget is opened."""
    order = WidgetOrder(
        invoice_id=invoice.invoice_id,
        payment_id=payment_id,
        amount=invoice.amount,
        description=invoice.title(language),
        account_ref=invoice.payer,
        language=language,
        two_stage=invoice.capture == "manual",
    )
    return context.providers[shop.provider].widget(shop, order)


async def start(context: Context, invoice_id: UUID, key: str, request_hash: str, language: str) -> Started:
    """Make an attempt and report it as pending, in one commit; under one key once."""
    now = context.clock.now()
    scope = f"pay:{invoice_id}"
    async with context.database.transaction() as tx:
        known = await context.idempotency.begin(tx, scope, key, request_hash)
        if known is not None:
            attempt = await attempt_store.get(tx, UUID(known.body["payment_id"]))
            if attempt is None:
                raise NotFoundError("the attempt under this key is not there")
            invoice = await _invoice(tx, invoice_id)
        else:
            invoice, attempt = await _start(context, tx, invoice_id, key, now)
            body = {"payment_id": str(attempt.payment_id)}
            await context.idempotency.finish(tx, scope, key, 201, body)
    if known is None:
        context.poke_relay()
    shop = await find_shop(context, attempt.provider, attempt.shop)
    if shop is None:
        raise NoShopError("the shop of this attempt is not configured any more")
    return Started(
        invoice_id=invoice_id,
        payment_id=attempt.payment_id,
        provider=shop.provider,
        shop=shop.shop,
        script=shop.widget_url,
        widget=widget_of(context, shop, invoice, attempt.payment_id, language),
    )


async def _start(
    context: Context, tx: AsyncConnection, invoice_id: UUID, key: str, now: datetime
) -> tuple[Invoice, Attempt]:
    await invoice_store.adopt(tx, [invoice_id], now)
    invoice = await _invoice(tx, invoice_id)
    if not invoice.payable_at(now):
        raise NotPayableError(f"the invoice is {invoice.status_at(now)}")
    known = await attempt_store.of_invoice(tx, invoice_id)
    if len(known) >= ATTEMPTS_MAX:
        raise TooManyAttemptsError(f"{ATTEMPTS_MAX} payments were started")
    if any(item.status in (AttemptStatus.SUCCEEDED, AttemptStatus.AUTHORIZED) for item in known):
        raise NotPayableError("a payment for this invoice has arrived already")
    shop = await shop_of(context, invoice, tx)
    await _check_switches(tx, shop, invoice)
    attempt = replace(new_attempt(shop, invoice, invoice.amount, now), status=AttemptStatus.PENDING)
    await attempt_store.add(tx, attempt, key, asked_at(context, now))
    report = payment_report(attempt, AttemptStatus.PENDING, invoice.amount, correlation_id=invoice.correlation_id)
    await context.outbox.add(tx, report)
    return invoice, attempt


async def _check_switches(tx: AsyncConnection, shop: Shop, invoice: Invoice) -> None:
    """Refuse while a manager has stopped the provider, or deposits if the invoice is one."""
    if (switch := await switches.stopped(tx, *payment_switches(shop.provider, invoice.kind))) is not None:
        raise Stopped(switch)


async def _invoice(tx: AsyncConnection, invoice_id: UUID) -> Invoice:
    invoice = await invoice_store.get(tx, invoice_id)
    if invoice is None:
        raise NotFoundError("there is no such invoice")
    return invoice
