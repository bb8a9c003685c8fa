"""What happens to a subscription when something happens to its invoice."""

import logging
from uuid import UUID

from prometheus_client import Counter, Histogram

from copeck.contracts.envelope import Envelope
from copeck.contracts.events import CommandRefused, InvoiceEvent, RefundFailed
from copeck.kernel.errors import DomainError
from subscriptions.domain import decisions
from subscriptions.domain.machine import ENDED
from subscriptions.domain.model import Applied, Outcome, Subscription
from subscriptions.handlers.context import SERVICE, Context, Work
from subscriptions.handlers.steps import annul_invoice, carry_out, require
from subscriptions.store import periods
from subscriptions.store import subscriptions as store
from subscriptions.store.periods import PeriodInvoice

log = logging.getLogger(__name__)

PAID = frozenset({"paid", "partially_refunded", "disputed"})
"""Statuses of an invoice whose money is ours: a part that went back, or a dispute under way, ends no access."""

RETURNED = frozenset({"refunded", "charged_back"})
DEAD = frozenset({"canceled", "expired", "voided"})
DECIDING = PAID | RETURNED | DEAD

ACTIVATIONS = Counter("copeck_subscriptions_periods_paid_total", "Periods that were paid.", ["product"])
_UNWANTED = Counter("copeck_subscriptions_unwanted_payments_total", "Payments sent back by subscriptions.", ["product"])
_REFUNDS_FAILED = Counter(
    "copeck_subscriptions_refunds_failed_total", "Refunds that failed: a payer waits for money.", ["origin"]
)
LAG = Histogram(
    "copeck_subscriptions_activation_seconds",
    "From the commit of invoice.paid to the commit of the activation.",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 5, 30),
)


class UnknownInvoiceError(DomainError):
    """A subscription's invoice was paid, and this service never issued it: somebody has to look at it."""

    type = "unknown-invoice"
    title = "The invoice belongs to no subscription"


async def on_event(context: Context, envelope: Envelope) -> None:
    """Consume one event; those that decide nothing here cost no transaction."""
    data = envelope.data
    if isinstance(data, InvoiceEvent):
        if data.kind == "subscription" and data.status in DECIDING:
            await on_invoice(context, envelope, data)
    elif isinstance(data, CommandRefused) and data.command_type == "invoice.issue":
        await on_refusal(context, envelope, data)
    elif isinstance(data, RefundFailed):
        _REFUNDS_FAILED.labels(data.origin).inc()
        log.error("refund %s of invoice %s failed: %s", data.refund_id, data.invoice_id, data.failure_code)


async def on_invoice(context: Context, envelope: Envelope, event: InvoiceEvent) -> None:
    """Follow the state of an invoice. Events carry whole states: an older version than the seen one is dropped."""
    async with context.database.transaction() as tx:
        if not await context.inbox.first_time(tx, envelope):
            return
        work = Work(context, tx, context.clock.now(), SERVICE, envelope)
        subscription = await store.lock_by_invoice(tx, event.invoice_id)
        if subscription is None:
            if event.status in PAID:
                raise UnknownInvoiceError(f"invoice {event.invoice_id} was paid and is not known here")
            return
        invoices = await periods.same_period(tx, subscription.id, event.invoice_id)
        mine = next(one for one in invoices if one.invoice_id == event.invoice_id)
        if event.version <= mine.seen_version:
            return
        if event.status in PAID:
            await _paid(work, subscription, mine, invoices, event)
        elif event.status in RETURNED:
            await _returned(work, subscription, mine, event)
        else:
            await _dead(work, subscription, mine, event)
    context.poke()
    if event.status == "paid":
        note_lag(context, envelope)


def note_lag(context: Context, envelope: Envelope) -> None:
    """Measure how long after the payment the customer got what it bought."""
    LAG.observe(max(0.0, (context.clock.now() - envelope.time).total_seconds()))


async def _paid(
    work: Work,
    subscription: Subscription,
    mine: PeriodInvoice,
    invoices: list[PeriodInvoice],
    event: InvoiceEvent,
) -> None:
    if mine.state in ("paid", "returned", "refused"):
        await periods.mark(work.tx, mine.invoice_id, state=mine.state, seen_version=event.version)
        return
    others = [one for one in invoices if one.invoice_id != mine.invoice_id]
    has_another = False
    if subscription.status in ENDED:
        await store.lock_customer(work.tx, subscription.user_id, subscription.product)
        has_another = await store.live_one(work.tx, subscription.user_id, subscription.product) is not None
    already_paid = any(one.state == "paid" for one in others)
    paid_at = work.cause.time if work.cause else work.now
    if not decisions.is_wanted(subscription, mine.late_policy, already_paid=already_paid, has_another=has_another):
        await periods.mark(work.tx, mine.invoice_id, state="refused", seen_version=event.version)
        why = "the period is paid already" if already_paid else f"the subscription is {subscription.status}"
        await _carry_out(work, subscription, decisions.refuse_payment(subscription, mine.invoice_id, why), event)
        _UNWANTED.labels(subscription.product).inc()
        return
    for other in others:
        if other.state == "open":
            await annul_invoice(work, subscription, other.invoice_id, "the period is paid by another invoice")
    outcome = decisions.pay_period(subscription, mine.invoice_id, mine.period_number, mine.period, paid_at)
    applied = require(outcome)
    if applied is None:
        return
    await carry_out(work, subscription, applied, event.invoice_id, paid_version=event.version)
    ACTIVATIONS.labels(subscription.product).inc()


async def _returned(work: Work, subscription: Subscription, mine: PeriodInvoice, event: InvoiceEvent) -> None:
    """A full refund, or a chargeback, of the running period ends the subscription; a partial one never does."""
    if mine.state == "paid":
        paid = await periods.paid_periods(work.tx, subscription.id)
        why = "charged back" if event.status == "charged_back" else "refunded"
        outcome = decisions.give_back(subscription, paid, mine.invoice_id, why, work.now)
        await _carry_out(work, subscription, outcome, event)
    await periods.mark(work.tx, mine.invoice_id, state="returned", seen_version=event.version)


async def _dead(work: Work, subscription: Subscription, mine: PeriodInvoice, event: InvoiceEvent) -> None:
    if mine.state == "open":
        await _carry_out(work, subscription, decisions.lapse_invoice(subscription), event)
    state = "dead" if mine.state in ("open", "annulled") else mine.state
    await periods.mark(work.tx, mine.invoice_id, state=state, seen_version=event.version)


async def _carry_out(work: Work, subscription: Subscription, outcome: Outcome, event: InvoiceEvent) -> None:
    applied = require(outcome)
    if isinstance(applied, Applied):
        await carry_out(work, subscription, applied, event.invoice_id)


async def on_refusal(context: Context, envelope: Envelope, refusal: CommandRefused) -> None:
    """Let an invoice that the updater refused to issue be issued anew; other refusals are read where they are kept."""
    async with context.database.transaction() as tx:
        if not await context.inbox.first_time(tx, envelope):
            return
        invoice_id = UUID(refusal.aggregate)
        subscription = await store.lock_by_invoice(tx, invoice_id)
        if subscription is None:
            return
        invoices = await periods.same_period(tx, subscription.id, invoice_id)
        mine = next(one for one in invoices if one.invoice_id == invoice_id)
        if mine.state == "open" and mine.seen_version == 0:
            log.error("invoice %s was not issued: %s %s", invoice_id, refusal.code, refusal.detail)
            await periods.mark(tx, invoice_id, state="dead")
            work = Work(context, tx, context.clock.now(), SERVICE, envelope)
            applied = require(decisions.lapse_invoice(subscription))
            if applied is not None:
                await carry_out(work, subscription, applied, invoice_id)
    context.poke()
