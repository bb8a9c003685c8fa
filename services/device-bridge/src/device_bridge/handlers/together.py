"""Paid coffees commanded together: whatever waits while one transaction is under way goes into the next one.

There is no timer: a lone payment is taken at once, and the busier it gets, the more of them share a commit. Only the
plain case is done together, the first payment of an order that we know; everything else, and everything when the common
transaction fails for a reason of the data, goes one by one through `invoices.on_event`.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from copeck.contracts.envelope import Envelope
from copeck.contracts.events import InvoiceEvent, InvoicePaid
from copeck.storage.errors import is_transient
from device_bridge.domain.model import Order
from device_bridge.domain.outcomes import Applied
from device_bridge.handlers import invoices
from device_bridge.handlers.context import SERVICE, Context, Work
from device_bridge.handlers.steps import collect, store
from device_bridge.handlers.writes import Writes
from device_bridge.store import devices, orders

log = logging.getLogger(__name__)

BATCH_MAX = 50


@dataclass(frozen=True, slots=True)
class _Waiting:
    envelope: Envelope
    event: InvoiceEvent
    done: asyncio.Future[None]


@dataclass(frozen=True, slots=True)
class _Payment:
    work: Work
    envelope: Envelope
    order: Order
    applied: Applied


class PaidCoffees:
    """Gathers `invoice.paid` of one process; the caller of `handle` waits until its event is committed."""

    def __init__(self, context: Context, alone_max: int = 8) -> None:
        self._context = context
        self._waiting: list[_Waiting] = []
        self._worker: asyncio.Task[None] | None = None
        self._alone = asyncio.Semaphore(alone_max)

    async def handle(self, envelope: Envelope) -> None:
        """Apply an event: together with others if a coffee was paid, else by itself."""
        event = envelope.data
        if not (isinstance(event, InvoicePaid) and event.kind == "coffee" and event.status == "paid"):
            await self._by_itself(envelope)
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(envelope, event, done))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        await done

    async def _by_itself(self, envelope: Envelope) -> None:
        async with self._alone:
            await invoices.on_event(self._context, envelope)

    async def _work(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:BATCH_MAX], self._waiting[BATCH_MAX:]
            try:
                together = await apply_together(self._context, [(one.envelope, one.event) for one in batch])
            except Exception as error:
                if is_transient(error):
                    for one in batch:
                        _settle(one, error)
                    continue
                log.exception("%d payments go one by one", len(batch))
                together = set()
            for place, one in enumerate(batch):
                if place in together:
                    _settle(one, None)
            await asyncio.gather(*(self._one(one) for place, one in enumerate(batch) if place not in together))

    async def _one(self, one: _Waiting) -> None:
        try:
            await self._by_itself(one.envelope)
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


async def apply_together(context: Context, events: Sequence[tuple[Envelope, InvoiceEvent]]) -> set[int]:
    """Take what is plain among these payments in one transaction; returns the places of those that are settled."""
    writes = Writes()
    async with context.database.transaction() as tx:
        work = Work(context, tx, context.clock.now(), SERVICE)
        payments = await _plain(work, events)
        if payments:
            first = await context.inbox.first_times(tx, [one.envelope for one in payments.values()])
            for one in payments.values():
                if one.envelope.id in first:
                    collect(one.work, writes, one.order, one.applied, new_command=one.applied.command is not None)
            await store(work, writes)
    for order in writes.orders.values():
        invoices.note_paid(order)
    if writes.messages:
        context.poke()
    commanded = {command.order_id for command in writes.new_commands}
    if commanded:
        invoices.note_commanded(context, [one.envelope for one in payments.values() if one.order.id in commanded])
    return set(payments)


async def _plain(work: Work, events: Sequence[tuple[Envelope, InvoiceEvent]]) -> dict[int, _Payment]:
    """Lock the orders, and decide about those that wait for this very payment; by the place of the event."""
    locked = await orders.lock_by_invoices(work.tx, [event.invoice_id for _, event in events])
    machines = await devices.selling(work.tx, list(locked.values()))
    payments: dict[int, _Payment] = {}
    for place, (envelope, event) in enumerate(events):
        order = locked.pop(event.invoice_id, None)
        machine = machines.get(order.id) if order is not None else None
        if order is None or machine is None or order.paid_at is not None or event.version <= order.invoice_version:
            continue
        its_work = Work(work.context, work.tx, work.now, SERVICE, envelope)
        outcome = invoices.payment(its_work, order, event, machine)
        if isinstance(outcome, Applied):
            payments[place] = _Payment(its_work, envelope, order, outcome)
    return payments
