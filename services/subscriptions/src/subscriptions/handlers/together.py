"""Paid invoices applied together: whatever waits while one transaction is under way goes into the next one.

There is no timer: a lone event is applied at once, and the busier it gets, the more events share a commit. Only the
plain case is done together, a waiting invoice of a subscription that is not over; everything else, and everything when
the common transaction fails for a reason of the data, goes one by one through `invoices.on_invoice`.
"""

import asyncio
import logging
from dataclasses import dataclass

from copeck.contracts.envelope import Envelope
from copeck.contracts.events import InvoiceEvent
from copeck.storage.errors import is_transient
from subscriptions.domain import decisions
from subscriptions.domain.machine import ENDED, Status
from subscriptions.domain.model import Applied, Subscription
from subscriptions.handlers import invoices
from subscriptions.handlers.context import SERVICE, Context, Work
from subscriptions.handlers.steps import bought_by, message_kind, state_message, step_of
from subscriptions.store import periods
from subscriptions.store import subscriptions as store
from subscriptions.store.periods import PeriodInvoice

log = logging.getLogger(__name__)

BATCH_MAX = 50


@dataclass(frozen=True, slots=True)
class _Waiting:
    envelope: Envelope
    event: InvoiceEvent
    done: asyncio.Future[None]


@dataclass(frozen=True, slots=True)
class _Step:
    work: Work
    before: Subscription
    applied: Applied
    event: InvoiceEvent


class PaidInvoices:
    """Gathers `invoice.paid` of one process; the caller of `handle` waits until its event is committed."""

    def __init__(self, context: Context, alone_max: int = 8) -> None:
        self._context = context
        self._waiting: list[_Waiting] = []
        self._worker: asyncio.Task[None] | None = None
        self._alone = asyncio.Semaphore(alone_max)

    async def handle(self, envelope: Envelope) -> None:
        """Apply an event: together with others if it is a payment, else by itself."""
        event = envelope.data
        if not (isinstance(event, InvoiceEvent) and event.kind == "subscription" and event.status == "paid"):
            async with self._alone:
                await invoices.on_event(self._context, envelope)
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(envelope, event, done))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        await done

    async def _work(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:BATCH_MAX], self._waiting[BATCH_MAX:]
            try:
                together = await apply_together(self._context, [(one.envelope, one.event) for one in batch])
            except Exception as error:
                if is_transient(error):
                    _fail(batch, error)
                    continue
                log.exception("%d payments go one by one", len(batch))
                together = set()
            for place, one in enumerate(batch):
                if place in together:
                    _settle(one, None)
            await asyncio.gather(*(self._one(one) for place, one in enumerate(batch) if place not in together))

    async def _one(self, one: _Waiting) -> None:
        try:
            async with self._alone:
                await invoices.on_invoice(self._context, one.envelope, one.event)
        except Exception as error:  # noqa: BLE001 - it is the consumer who decides what becomes of the message
            _settle(one, error)
        else:
            _settle(one, None)


def _settle(one: _Waiting, error: BaseException | None) -> None:
    """Tell the waiting handler; one that was cancelled meanwhile has its message again later."""
    if one.done.done():
        return
    if error is None:
        one.done.set_result(None)
    else:
        one.done.set_exception(error)


def _fail(batch: list[_Waiting], error: BaseException) -> None:
    for one in batch:
        _settle(one, error)


async def apply_together(context: Context, events: list[tuple[Envelope, InvoiceEvent]]) -> set[int]:
    """Apply what is plain among these payments in one transaction; returns the places of those that are settled."""
    async with context.database.transaction() as tx:
        ids = [event.invoice_id for _, event in events]
        locked = await store.lock_by_invoices(tx, ids)
        invoices_of = await periods.same_periods(tx, ids)
        by_invoice = {one.invoice_id: (one, group) for group in invoices_of.values() for one in group}
        now = context.clock.now()
        steps: dict[int, _Step] = {}
        taken = set()
        for place, (envelope, event) in enumerate(events):
            subscription = locked.get(event.invoice_id)
            if subscription is None or subscription.id in taken:
                continue
            mine, group = by_invoice[event.invoice_id]
            if not _is_plain(subscription, mine, group):
                continue
            outcome = decisions.pay_period(
                subscription, mine.invoice_id, mine.period_number, mine.period, envelope.time
            )
            if isinstance(outcome, Applied):
                taken.add(subscription.id)
                steps[place] = _Step(Work(context, tx, now, SERVICE, envelope), subscription, outcome, event)
        if steps:
            first = await context.inbox.first_times(tx, [events[place][0] for place in steps])
            await _store(context, [step for place, step in steps.items() if events[place][0].id in first])
    if steps:
        context.poke()
    for step in steps.values():
        if step.work.cause is not None:
            invoices.note_lag(context, step.work.cause)
    return set(steps)


def _is_plain(subscription: Subscription, mine: PeriodInvoice, group: list[PeriodInvoice]) -> bool:
    """Tell whether a payment simply buys the period: its invoice waited, and there is nothing else to weigh."""
    return (
        mine.state == "open"
        and subscription.status not in ENDED
        and subscription.status is not Status.PAUSED
        and not any(one.state in ("open", "paid") for one in group if one.invoice_id != mine.invoice_id)
    )


async def _store(context: Context, steps: list[_Step]) -> None:
    if not steps:
        return
    saved, messages = [], []
    for step in steps:
        bought = bought_by(step.applied, step.event.version)
        kind = message_kind(step.before, step.applied.event)
        if bought is None or kind is None:
            raise RuntimeError(f"a paid period bought nothing: {step.event.invoice_id}")
        after = step.applied.subscription
        saved.append((after, step_of(step.work, step.before, step.applied, step.event.invoice_id), bought))
        messages.append(step.work.wrap(state_message(kind, after, step.event.invoice_id)))
        invoices.ACTIVATIONS.labels(after.product).inc()
    tx = steps[0].work.tx
    await store.save_bought(tx, saved)
    await context.outbox.add(tx, *messages)
