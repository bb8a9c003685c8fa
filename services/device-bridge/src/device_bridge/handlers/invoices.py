"""What happens to an order when something happens to its invoice or to its refund."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from prometheus_client import Counter, Histogram

from copeck.contracts.envelope import Envelope
from copeck.contracts.events import CommandRefused, InvoiceEvent, InvoiceLatePaymentReceived, RefundEvent
from copeck.kernel.errors import DomainError
from copeck.kernel.ids import new_id
from device_bridge.domain import brews, decisions
from device_bridge.domain.machine import Event, Reason, Status
from device_bridge.domain.model import Order
from device_bridge.domain.outcomes import Applied, Outcome, Stale
from device_bridge.handlers.context import SERVICE, Context, Work
from device_bridge.handlers.steps import carry_out, note_stale
from device_bridge.store import commands, devices, orders

log = logging.getLogger(__name__)

PAID = frozenset({"paid", "partially_refunded", "disputed", "refunded", "charged_back"})
"""Statuses of an invoice that was paid, whatever became of the money afterwards."""

UNPAID = {
    "expired": Event.INVOICE_EXPIRED,
    "canceled": Event.INVOICE_CANCELED,
    "voided": Event.INVOICE_CANCELED,
}
PAYABLE = frozenset({"issued", "pending"})

ORDERS_PAID = Counter("copeck_devices_orders_paid_total", "Orders that were paid.")
MADE_FOR_NOTHING = Counter("copeck_devices_payments_refused_total", "Payments that bought nothing.", ["reason"])
LAG = Histogram(
    "copeck_devices_brew_decision_seconds",
    "From the commit of invoice.paid to the commit of the brew command.",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 5, 30),
)


class UnknownInvoiceError(DomainError):
    """A coffee was paid, and this service never sold it: somebody has to look at it."""

    type = "unknown-invoice"
    title = "The invoice belongs to no order"


async def on_event(context: Context, envelope: Envelope) -> None:
    """Consume one event; those that decide nothing here cost no transaction."""
    data = envelope.data
    if isinstance(data, InvoiceEvent):
        if data.kind == "coffee":
            await on_invoice(context, envelope, data)
    elif isinstance(data, RefundEvent):
        await on_refund(context, envelope, data)
    elif isinstance(data, CommandRefused) and data.command_type in ("invoice.issue", "invoice.refund"):
        await on_refusal(context, envelope, data)


async def on_invoice(context: Context, envelope: Envelope, event: InvoiceEvent) -> None:
    """Follow the state of an invoice. Events carry whole states: an older version than the seen one is dropped."""
    async with context.database.transaction() as tx:
        if not await context.inbox.first_time(tx, envelope):
            return
        order = await orders.lock_by_invoice(tx, event.invoice_id)
        if order is None:
            if event.status in PAID:
                raise UnknownInvoiceError(f"invoice {event.invoice_id} was paid and is not known here")
            return
        if event.version <= order.invoice_version:
            return
        work = Work(context, tx, context.clock.now(), SERVICE, envelope)
        after = await _follow_invoice(work, order, event)
    context.poke()
    if after.status is Status.MAKE_PENDING:
        note_commanded(context, [envelope])


def note_commanded(context: Context, causes: Sequence[Envelope]) -> None:
    """Wake the sender for commands that are committed, with the events that led to them."""
    context.wake_sender()
    for envelope in causes:
        LAG.observe(max(0.0, (context.clock.now() - envelope.time).total_seconds()))


async def _follow_invoice(work: Work, order: Order, event: InvoiceEvent) -> Order:
    if isinstance(event, InvoiceLatePaymentReceived):
        if event.status in PAID:
            # Money came twice. Where the event of the first payment was lost, this one tells of both.
            order = await _paid(work, order, event)
        outcome = decisions.late_money(order, event.version, work.now)
    elif event.status in PAID:
        return await _paid(work, order, event)
    elif event.status in UNPAID:
        outcome = decisions.unpaid(order, UNPAID[event.status], event.version, work.now)
    elif event.status in PAYABLE:
        outcome = decisions.issued(order, event.version, work.now)
    else:
        outcome = Stale(f"{event.status} decides nothing here")
    return await _carry_out(work, order, outcome, event.version)


async def _paid(work: Work, order: Order, event: InvoiceEvent) -> Order:
    """Command the machine, or send the money back, in the commit that notes the payment."""
    if order.paid_at is not None:
        # Paid before: what became of the money since is told by its refund.
        return await _carry_out(work, order, Stale("the order was paid already"), event.version)
    machine = (await devices.selling(work.tx, [order])).get(order.id)
    if machine is None:
        raise RuntimeError(f"order {order.id} is of a machine that does not exist")
    outcome = payment(work, order, event, machine)
    after = await _carry_out(work, order, outcome, event.version, new_command=True)
    note_paid(after)
    return after


def payment(work: Work, order: Order, event: InvoiceEvent, machine: devices.Selling) -> Outcome:
    """Return what the payment of an order comes to."""
    return decisions.paid(
        order,
        event.version,
        paid_at=work.cause.time if work.cause else work.now,
        now=work.now,
        selling=machine.selling,
        status=event.status,
        model=machine.model,
        limits=work.context.limits,
        command_id=new_id(),
        refund_id=new_id(),
    )


def note_paid(after: Order) -> None:
    """Count a payment by what it bought."""
    ORDERS_PAID.inc()
    if after.status is Status.FAILED:
        MADE_FOR_NOTHING.labels(after.reason).inc()


async def _carry_out(
    work: Work, order: Order, outcome: Outcome, version: int | None = None, *, new_command: bool = False
) -> Order:
    """Carry a decision out; news that change nothing are still news that were seen."""
    if isinstance(outcome, Applied):
        return await carry_out(work, order, outcome, new_command=new_command and outcome.command is not None)
    note_stale(order.id, outcome)
    if version is None:
        return order
    seen = replace(order, invoice_version=version)
    await orders.save(work.tx, [seen], [])
    return seen


async def on_refund(context: Context, envelope: Envelope, event: RefundEvent) -> None:
    """Follow a refund of one of our orders."""
    async with context.database.reading() as tx:
        # Refunds of other products come by here too: they cost one look and no row.
        order_id = await orders.id_by_invoice(tx, event.invoice_id)
    if order_id is not None:
        await follow_refund(
            context,
            order_id,
            refund_id=event.refund_id,
            status=event.status,
            origin=event.origin,
            amount_minor=event.amount_minor,
            code=event.failure_code,
            cause=envelope,
        )


async def follow_refund(
    context: Context,
    order_id: UUID,
    *,
    refund_id: UUID,
    status: str,
    origin: str,
    amount_minor: int,
    code: str,
    cause: Envelope | None = None,
) -> None:
    """Follow a refund; one that somebody else asked for takes the command back first, if the cup is not made yet.

    Its own status tells repeats apart, so that no note of the message is needed.
    """
    async with context.database.transaction() as tx:
        order = await orders.lock(tx, order_id)
        if order is None:
            return
        work = Work(context, tx, context.clock.now(), SERVICE, cause)
        outcome = decisions.refund_changed(order, refund_id, status, origin, amount_minor, work.now, code=code)
        after = await _carry_out(work, order, outcome)
        if after.status is Status.MAKE_PENDING and after.money_returns:
            await _take_back(work, after)
    context.poke()
    if after.status is Status.MAKE_PENDING:
        context.wake_sender()
    if after is not order and after.refund_status == "succeeded" and after.receipt_address:
        context.send_receipts([after.id])


async def _take_back(work: Work, order: Order) -> None:
    command = await commands.of_order(work.tx, order.id, lock=True)
    if command is None:
        return
    policy = work.context.policy(command.model)
    outcome = brews.revoke(order, command, Reason.REFUNDED, work.now, policy, work.context.limits, new_id())
    await _carry_out(work, order, outcome)


async def on_refusal(context: Context, envelope: Envelope, refusal: CommandRefused) -> None:
    """Follow the updater's refusal to issue an invoice of ours, or to refund it."""
    async with context.database.transaction() as tx:
        order = await orders.lock_by_invoice(tx, UUID(refusal.aggregate))
        if order is None or not await context.inbox.first_time(tx, envelope):
            return
        work = Work(context, tx, context.clock.now(), SERVICE, envelope)
        await follow_refusal(work, order, refusal.command_id, refusal.command_type, refusal.code)
    context.poke()


async def follow_refusal(work: Work, order: Order, command_id: UUID, command_type: str, code: str) -> None:
    """End an order whose invoice was refused; put a refused refund before a manager."""
    if command_type == "invoice.issue":
        log.error("the invoice of order %s was not issued: %s", order.id, code)
        await _carry_out(work, order, decisions.issue_refused(order, work.now))
    else:
        await _carry_out(work, order, decisions.refund_refused(order, command_id, code, work.now))
