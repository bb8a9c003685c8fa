"""Catching up with invoices whose events never came.

An event that reaches one queue and misses another is confirmed all the same: a binding that was lost for a while leaves
no trace with its sender. So the State Storage is asked now and then whether it knows more than this service has seen.

What is payable, or was a week ago, is asked about every time. But a year that was paid may be charged back in its third
month, and money that came too late be accepted after weeks: so each time a piece of all invoices is asked about too,
until every one had its turn, and then from the beginning.
"""

import logging
from dataclasses import replace
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from prometheus_client import Counter

from copeck.contracts import events
from copeck.contracts.envelope import Envelope
from copeck.contracts.registry import UPDATER
from subscriptions.handlers.context import Context
from subscriptions.handlers.invoices import DEAD, PAID, RETURNED, on_invoice
from subscriptions.store import periods, state
from subscriptions.store.state import Invoice

log = logging.getLogger(__name__)

BATCH_MAX = 200
LOOK_BACK = timedelta(days=7)
PIECE = 5_000
"""How many invoices of any age are asked about at once: a million have their turn within two hours."""

BEGINNING = UUID(int=0)

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


class Round(NamedTuple):
    """How many invoices were followed, and after which id the next round goes on."""

    followed: int
    after: UUID


async def catch_up(context: Context, after: UUID = BEGINNING, piece: int = PIECE) -> Round:
    """Follow what was missed among fresh invoices, and among a piece of all of them."""
    now = context.clock.now()
    before = now - timedelta(seconds=context.settings.catch_up_after_s)
    async with context.database.reading() as tx:
        upto = await periods.end_of_piece(tx, after, piece)
        missed = await state.missed_invoices(
            tx,
            taken=PAID | RETURNED,
            ended=DEAD,
            returned=RETURNED,
            before=before,
            since=now - LOOK_BACK,
            after=after,
            upto=upto,
            limit=BATCH_MAX,
        )
    for invoice in missed:
        log.warning("invoice %s is %s, and no event said so", invoice.id, invoice.status)
        _MISSED.inc()
        event = _event(invoice)
        # As of the moment of the change: a period begins when it was paid, not when somebody noticed.
        envelope = replace(Envelope.new(event, source=UPDATER, clock=context.clock), time=invoice.updated_at)
        await on_invoice(context, envelope, event)
    # When there is more than one batch, the same piece is looked at again.
    return Round(len(missed), after if len(missed) == BATCH_MAX else upto or BEGINNING)


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
