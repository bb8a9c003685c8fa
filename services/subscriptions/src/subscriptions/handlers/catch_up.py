"""Catching up with invoices whose events never came.

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
from subscriptions.handlers.context import Context
from subscriptions.handlers.invoices import DEAD, PAID, RETURNED, on_invoice
from subscriptions.store import state
from subscriptions.store.state import Invoice

log = logging.getLogger(__name__)

BATCH_MAX = 200
LOOK_BACK = timedelta(days=7)

_MISSED = Counter("copeck_subscriptions_missed_events_total", "Invoices found in the State Storage, not on the bus.")
_EVENTS: dict[str, type[events.InvoiceEvent]] = {
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
    """Follow what was missed; returns how many invoices that were."""
    now = context.clock.now()
    before = now - timedelta(seconds=context.settings.catch_up_after_s)
    async with context.database.reading() as tx:
        missed = await state.missed_invoices(
            tx,
            taken=PAID | RETURNED,
            ended=DEAD,
            returned=RETURNED,
            before=before,
            since=now - LOOK_BACK,
            limit=BATCH_MAX,
        )
    for invoice in missed:
        log.warning("invoice %s is %s, and no event said so", invoice.id, invoice.status)
        _MISSED.inc()
        event = _event(invoice)
        # As of the moment of the change: a period begins when it was paid, not when somebody noticed.
        envelope = replace(Envelope.new(event, source=UPDATER, clock=context.clock), time=invoice.updated_at)
        await on_invoice(context, envelope, event)
    return len(missed)


def _event(invoice: Invoice) -> events.InvoiceEvent:
    return _EVENTS[invoice.status].model_validate(
        {
            "invoice_id": invoice.id,
            "version": invoice.version,
            "status": invoice.status,
            "kind": invoice.kind,
            "product": invoice.product,
            "account": invoice.account,
            "payer": invoice.payer,
            "amount_minor": invoice.amount.minor,
            "refunded_minor": invoice.refunded.minor,
            "currency": invoice.amount.currency,
            "description": invoice.description,
            "late_policy": invoice.late_policy,
            "capture": invoice.capture,
            "expires_at": invoice.expires_at,
            "references": invoice.references,
            "reason": invoice.reason,
        }
    )
