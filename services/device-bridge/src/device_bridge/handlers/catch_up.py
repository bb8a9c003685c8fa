"""Catching up with invoices and refunds whose events never came.

An event that reaches one queue and misses another is confirmed all the same: a binding that was lost for a while leaves
no trace with its sender. So the State Storage is asked now and then whether it knows more than this service has seen.
"""

import logging
from dataclasses import replace
from datetime import timedelta

from prometheus_client import Counter

from copeck.contracts import events
from copeck.contracts.envelope import Envelope
from copeck.contracts.registry import UPDATER
from device_bridge.domain import decisions
from device_bridge.domain.machine import Event
from device_bridge.domain.outcomes import Applied
from device_bridge.handlers.context import SERVICE, Context, Work
from device_bridge.handlers.invoices import PAID, follow_refund, follow_refusal, on_invoice
from device_bridge.handlers.steps import carry_out
from device_bridge.store import orders, state
from device_bridge.store.state import MissedInvoice

log = logging.getLogger(__name__)

BATCH_MAX = 200
LOOK_BACK = timedelta(hours=2)
"""How long an order that was given up is still watched; one that waits is watched as long as it does."""
FAILED_LOOK_BACK = timedelta(days=1)
"""How long a refund that its order does not wait for may take to fail, counted from its request."""
NEVER_ISSUED_AFTER = timedelta(minutes=2)

_MISSED = Counter(
    "copeck_devices_missed_events_total", "What was found in the State Storage, not on the bus.", ["what"]
)
_EVENTS: dict[str, type[events.InvoiceEvent]] = {
    "issued": events.InvoiceIssued,
    "pending": events.InvoicePending,
    "authorized": events.InvoicePending,
    "paid": events.InvoicePaid,
    "partially_refunded": events.InvoicePartiallyRefunded,
    "disputed": events.InvoiceDisputed,
    "refunded": events.InvoiceRefunded,
    "charged_back": events.InvoiceChargedBack,
    "canceled": events.InvoiceCanceled,
    "expired": events.InvoiceExpired,
    "voided": events.InvoiceVoided,
}


async def catch_up(context: Context) -> int:
    """Follow what was missed; returns how much that was."""
    now = context.clock.now()
    before, since = now - timedelta(seconds=context.settings.catch_up_after_s), now - LOOK_BACK
    async with context.database.reading() as tx:
        invoices = await state.missed_invoices(tx, before=before, since=since, paid=PAID, limit=BATCH_MAX)
        refunds = await state.missed_refunds(
            tx, before=before, since=since, failed_since=now - FAILED_LOOK_BACK, limit=BATCH_MAX
        )
        refusals = await state.missed_refusals(tx, before=before, limit=BATCH_MAX)
        forgotten = await state.never_issued(tx, expired_before=now - NEVER_ISSUED_AFTER, limit=BATCH_MAX)
    for invoice in invoices:
        log.warning("invoice %s is %s, and no event said so", invoice.id, invoice.status)
        event = _event(invoice)
        # As of the moment of the change: the time to brew is counted from the payment, not from when it was noticed.
        envelope = replace(Envelope.new(event, source=UPDATER, clock=context.clock), time=invoice.updated_at)
        await on_invoice(context, envelope, event)
    for refund in refunds:
        log.warning("refund %s is %s, and no event said so", refund.refund_id, refund.status)
        await follow_refund(
            context,
            refund.order_id,
            refund_id=refund.refund_id,
            status=refund.status,
            origin=refund.origin,
            amount_minor=refund.amount_minor,
            code=refund.failure_code,
        )
    for refusal in refusals:
        async with context.database.transaction() as tx:
            order = await orders.lock(tx, refusal.order_id)
            if order is not None:
                work = Work(context, tx, context.clock.now(), SERVICE)
                await follow_refusal(work, order, refusal.command_id, refusal.command_type, refusal.code)
    for order_id in forgotten:
        async with context.database.transaction() as tx:
            order = await orders.lock(tx, order_id)
            work = Work(context, tx, context.clock.now(), SERVICE)
            outcome = decisions.unpaid(order, Event.INVOICE_EXPIRED, 0, work.now) if order else None
            if order is not None and isinstance(outcome, Applied):
                await carry_out(work, order, outcome)
    found = {"invoice": len(invoices), "refund": len(refunds), "refusal": len(refusals), "issue": len(forgotten)}
    for what, count in found.items():
        _MISSED.labels(what).inc(count)
    if any(found.values()):
        context.poke()
    return sum(found.values())


def _event(invoice: MissedInvoice) -> events.InvoiceEvent:
    kind = _EVENTS[invoice.status]
    data = invoice.data | {"status": "pending"} if invoice.status == "authorized" else invoice.data
    return kind.model_validate(data)
