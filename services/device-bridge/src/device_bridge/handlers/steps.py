"""Carrying out a decision: the new state, its history, its effects and its messages, all in one transaction."""

import logging
from dataclasses import replace
from uuid import UUID

from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.contracts.commands import InvoiceCancel, InvoiceRefund
from copeck.kernel.ids import new_id
from copeck.storage.engine import pipelined
from device_bridge.domain import decisions
from device_bridge.domain.errors import NotAllowedNow
from device_bridge.domain.machine import ENDED, Reason
from device_bridge.domain.model import Incident, Order, Step
from device_bridge.domain.outcomes import (
    Applied,
    CancelInvoice,
    CountBrew,
    Effect,
    Illegal,
    OpenIncident,
    Outcome,
    RefundInvoice,
    Stale,
    TellBuyer,
)
from device_bridge.handlers.context import SERVICE, Work
from device_bridge.handlers.writes import Brew, Writes
from device_bridge.store import commands, devices, incidents, orders

log = logging.getLogger(__name__)

ORDERS_ENDED = Counter("copeck_devices_orders_ended_total", "Orders that ended.", ["status", "reason"])
INCIDENTS = Counter("copeck_devices_incidents_total", "What must not happen, and did.", ["kind"])
STOPPED = Counter("copeck_devices_stopped_by_failures_total", "Machines that stopped selling by themselves.")


def require(outcome: Outcome) -> Applied | None:
    """Return what is to be carried out; None when there is nothing to do; the refusal as an error."""
    if isinstance(outcome, Illegal):
        raise NotAllowedNow(outcome.detail)
    return outcome if isinstance(outcome, Applied) else None


def note_stale(order_id: UUID, outcome: Outcome) -> None:
    """Say in the log what changed nothing."""
    if isinstance(outcome, Stale | Illegal):
        log.info("order %s: %s", order_id, outcome.detail)


async def carry_out(work: Work, before: Order, applied: Applied, *, new_command: bool = False) -> Order:
    """Store a step of a locked order, and of its locked command, and do what follows from it."""
    writes = Writes()
    order = collect(work, writes, before, applied, new_command=new_command)
    await store(work, writes)
    return order


def collect(work: Work, writes: Writes, before: Order, applied: Applied, *, new_command: bool = False) -> Order:
    """Note what is to be stored of a step, and what follows from it."""
    order = applied.order
    first = order.version - len(applied.steps) + 1
    if order is not before:
        writes.orders[order.id] = order
        writes.steps += [
            Step(order.id, first + n, work.now, taken.event.value, taken.status.value, taken.reason, work.actor.name)
            for n, taken in enumerate(applied.steps)
        ]
    if applied.command is not None and new_command:
        writes.new_commands.append(applied.command)
    elif applied.command is not None:
        writes.commands[applied.command.id] = applied.command
    for effect in applied.effects:
        _follow(work, writes, order, effect)
    if order.status in ENDED and before.status not in ENDED:
        writes.ended.append(order)
    return order


def _follow(work: Work, writes: Writes, order: Order, effect: Effect) -> None:
    match effect:
        case RefundInvoice():
            refund = InvoiceRefund(
                account=order.account,
                invoice_id=order.invoice_id,
                actor=work.actor.name,
                refund_id=effect.refund_id,
                reason=effect.reason,
            )
            # Under the refund's own id, so that its refusal is told from that of anybody else's refund of the invoice.
            writes.messages.append(work.wrap(refund, effect.refund_id))
        case CancelInvoice():
            cancel = InvoiceCancel(
                account=order.account, invoice_id=order.invoice_id, actor=work.actor.name, reason=effect.reason
            )
            writes.messages.append(work.wrap(cancel))
        case CountBrew():
            writes.brews.append(Brew(work, order.device_id, effect.succeeded))
        case OpenIncident():
            incident = Incident(new_id(), effect.kind, order.id, order.device_id, effect.detail, work.now)
            writes.incidents.append(incident)
        case TellBuyer():
            writes.receipts.append((order, effect.kind))
        case _:
            pass  # The sender is woken after the commit.


async def store(work: Work, writes: Writes) -> None:
    """Store what was collected in the transaction of `work`: most of it in one round trip."""
    tx = work.tx
    async with pipelined(tx):
        await orders.save(tx, list(writes.orders.values()), writes.steps)
        await commands.insert(tx, *writes.new_commands)
        await commands.save(tx, *writes.commands.values())
        await orders.add_receipts(tx, writes.receipts, work.now)
        await work.context.outbox.add(tx, *writes.messages)
    await _open(tx, writes.incidents)
    await _count(tx, writes.brews)
    for order in writes.ended:
        ORDERS_ENDED.labels(order.status.value, order.reason).inc()


async def _open(tx: AsyncConnection, opened: list[Incident]) -> None:
    """Put something before a manager, once."""
    new = await incidents.insert(tx, opened)
    for one in opened:
        if one.id in new:
            INCIDENTS.labels(one.kind).inc()
            log.error("incident %s at machine %s, order %s: %s", one.kind, one.device_id, one.order_id, one.detail)


async def _count(tx: AsyncConnection, brews: list[Brew]) -> None:
    """Count failures in a row, machine by machine; one that did well, as ever, has nothing to be written."""
    if not brews:
        return
    in_row = await devices.failures_in_row(tx, {brew.device_id for brew in brews})
    spoiled = {brew.device_id for brew in brews if not brew.succeeded or in_row.get(brew.device_id)}
    # Machines are locked in the order of their codes, so that two batches do not wait for each other.
    for brew in sorted((one for one in brews if one.device_id in spoiled), key=lambda one: one.device_id):
        await _count_one(brew.work, brew.device_id, succeeded=brew.succeeded)


async def _count_one(work: Work, device_id: str, *, succeeded: bool) -> None:
    """Count one brew; as many failures in a row as the merchant allows stop the machine, with the reason why."""
    shown = await devices.shown(work.tx, device_id, with_drinks=False)
    device = await devices.find(work.tx, device_id, lock=True)
    if device is None or shown is None or (succeeded and device.failures_in_row == 0):
        return
    failures = 0 if succeeded else device.failures_in_row + 1
    changed = replace(device, failures_in_row=failures, updated_at=work.now)
    if device.selling and failures >= shown.merchant.failures_max:
        reason = f"{failures} brews in a row failed"
        changed = replace(
            changed,
            selling=False,
            stopped_reason=reason,
            # By itself: the machine only said what happened.
            stopped_by=SERVICE.name,
            stopped_at=work.now,
            version=device.version + 1,
        )
        STOPPED.inc()
        log.error("machine %s stops selling: %s", device_id, reason)
        await work.note("device.stop", "device", device_id, reason=reason)
    await devices.update(work.tx, changed)
    if device.selling and not changed.selling:
        await cancel_unpaid_of(work, device_id)


UNPAID_MAX = 500
"""How many waiting orders of one machine are taken back at a stop; what is paid after it is refunded anyway."""


async def cancel_unpaid_of(work: Work, device_id: str, *, drink_id: str | None = None, size: str | None = None) -> int:
    """Take back the orders of a stopped machine, or drink, that wait for money; returns how many."""

    taken_back = 0
    for order in await orders.lock_unpaid(work.tx, device_id, drink_id=drink_id, size=size, limit=UNPAID_MAX):
        applied = decisions.cancel(order, Reason.STOPPED, work.now)
        if isinstance(applied, Applied):
            await carry_out(work, order, applied)
            taken_back += 1
    return taken_back
