"""Carrying out a decision: the new state, its history, its effects and its messages, all in one transaction."""

import logging
from dataclasses import replace
from typing import Any
from uuid import UUID

from prometheus_client import Counter

from copeck.contracts.commands import InvoiceCancel, InvoiceRefund
from copeck.kernel.ids import new_id
from device_bridge.domain import decisions
from device_bridge.domain.errors import NotAllowedNow
from device_bridge.domain.machine import ENDED, Reason
from device_bridge.domain.model import Incident, IncidentKind, Order, Step
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
    order = applied.order
    first = order.version - len(applied.steps) + 1
    steps = [
        Step(order.id, first + n, work.now, taken.event.value, taken.status.value, taken.reason, work.actor.name)
        for n, taken in enumerate(applied.steps)
    ]
    if order is not before:
        await orders.save(work.tx, order, steps)
    if applied.command is not None:
        await (commands.insert if new_command else commands.save)(work.tx, applied.command)
    for effect in applied.effects:
        await _follow(work, order, effect)
    if order.status in ENDED and before.status not in ENDED:
        ORDERS_ENDED.labels(order.status.value, order.reason).inc()
    return order


async def _follow(work: Work, order: Order, effect: Effect) -> None:
    match effect:
        case RefundInvoice():
            await work.send(
                InvoiceRefund(
                    account=order.account,
                    invoice_id=order.invoice_id,
                    actor=work.actor.name,
                    refund_id=effect.refund_id,
                    reason=effect.reason,
                )
            )
        case CancelInvoice():
            await work.send(
                InvoiceCancel(
                    account=order.account, invoice_id=order.invoice_id, actor=work.actor.name, reason=effect.reason
                )
            )
        case CountBrew():
            await count_brew(work, order.device_id, succeeded=effect.succeeded)
        case OpenIncident():
            await open_incident(work, effect.kind, order.device_id, effect.detail, order_id=order.id)
        case TellBuyer():
            await orders.add_receipt(work.tx, order, effect.kind, work.now)
        case _:
            pass  # The sender is woken after the commit.


async def open_incident(
    work: Work,
    kind: IncidentKind,
    device_id: str,
    detail: dict[str, Any],
    *,
    order_id: UUID | None = None,
    incident_id: UUID | None = None,
) -> None:
    """Put something before a manager, once."""
    incident = Incident(incident_id or new_id(), kind, order_id, device_id, detail, work.now)
    if await incidents.insert(work.tx, incident):
        INCIDENTS.labels(kind).inc()
        log.error("incident %s at machine %s, order %s: %s", kind, device_id, order_id, detail)


async def count_brew(work: Work, device_id: str, *, succeeded: bool) -> None:
    """Count failures in a row; as many as the merchant allows stop the machine, with the reason why."""
    device = await devices.find(work.tx, device_id)
    if device is None or (succeeded and device.failures_in_row == 0):
        return
    shown = await devices.shown(work.tx, device_id, with_drinks=False)
    device = await devices.find(work.tx, device_id, lock=True)
    if device is None or shown is None:
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
