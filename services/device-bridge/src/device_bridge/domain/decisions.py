"""Decisions about an order and its money: pure functions from a state and a fact to an outcome.

What is said to and by the machine is decided in `brews.py`; both take their steps from the tables alone.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from device_bridge.domain.brewing import BrewState
from device_bridge.domain.machine import UNPAID, Event, Reason, Status, target
from device_bridge.domain.model import BrewCommand, Order
from device_bridge.domain.outcomes import (
    Applied,
    CancelInvoice,
    Effect,
    Illegal,
    Limits,
    OpenIncident,
    Outcome,
    RefundInvoice,
    Stale,
    Taken,
    TellBuyer,
    WakeSender,
)

RETURNED = frozenset({"refunded", "charged_back"})
"""Statuses of an invoice whose money is with the payer again."""

BREWING_LEAST = timedelta(seconds=5)
"""A command that would have less time than this is not given: the money goes back at once."""


def step(order: Order, event: Event, now: datetime, **changes: Any) -> tuple[Order, Taken] | Illegal:
    """Take one step of the table, with the changes that the decision adds to it."""
    status = target(order.status, event)
    if status is None:
        return Illegal(f"{event.value} cannot happen to an order that is {order.status.value}")
    changed = replace(order, status=status, version=order.version + 1, updated_at=now, **changes)
    return changed, Taken(event, status, changed.reason)


def apply(order: Order, event: Event, now: datetime, effects: tuple[Effect, ...] = (), **changes: Any) -> Outcome:
    """Take one step that stands alone."""
    taken = step(order, event, now, **changes)
    if isinstance(taken, Illegal):
        return taken
    return Applied(taken[0], (taken[1],), None, effects)


def fail(
    order: Order, event: Event, reason: str, now: datetime, refund_id: UUID, more: tuple[Effect, ...] = ()
) -> Outcome:
    """End an order that was paid: the money goes back in the same commit, unless it is on its way already."""
    if order.money_returns:
        return apply(order, event, now, more, reason=reason)
    effects: tuple[Effect, ...] = (RefundInvoice(refund_id, reason), *more)
    return apply(order, event, now, effects, reason=reason, refund_status="requested", refund_id=refund_id)


def issued(order: Order, version: int, now: datetime) -> Outcome:
    """Let the buyer pay."""
    if order.status is not Status.CREATED:
        return Stale(f"the order is {order.status.value}")
    return apply(order, Event.INVOICE_ISSUED, now, invoice_version=version)


def issue_refused(order: Order, now: datetime) -> Outcome:
    """End an order that the updater made no invoice for."""
    if order.status is not Status.CREATED:
        return Stale(f"the order is {order.status.value}")
    return apply(order, Event.INVOICE_REFUSED, now, reason=Reason.INVOICE_REFUSED.value)


def unpaid(order: Order, event: Event, version: int, now: datetime) -> Outcome:
    """End an order that nobody paid; who asked for the cancellation has said why."""
    if order.status not in UNPAID:
        return Stale(f"the order is {order.status.value}")
    reason = Reason.EXPIRED.value if event is Event.INVOICE_EXPIRED else order.reason or Reason.CANCELED.value
    return apply(order, event, now, reason=reason, invoice_version=version)


def cancel(order: Order, reason: Reason, now: datetime) -> Outcome:
    """Ask for the invoice to be annulled; the answer ends the order. Money that crosses this is returned."""
    if order.status is Status.NOT_PAID or (order.status in UNPAID and order.reason):
        return Stale("it is being canceled already")
    if order.status not in UNPAID:
        return Illegal("The order is paid. If the machine does not make it, the money comes back by itself.")
    return apply(order, Event.CANCELLATION_ASKED, now, (CancelInvoice(reason.value),), reason=reason.value)


def why_not_brewed(
    order: Order, paid_at: datetime, now: datetime, *, selling: bool, status: str = "paid"
) -> Reason | None:
    """Return why a payment buys no coffee any more; None when it does. `status` is the invoice's.

    A refund may be heard of before the payment: the money is on its way back already then.
    """
    if status != "paid" or order.money_returns:
        return Reason.REFUNDED
    if order.reason == Reason.STOPPED.value or not selling:
        return Reason.STOPPED
    if order.status in UNPAID and order.reason:
        return Reason.CANCELED
    if order.status is Status.NOT_PAID or paid_at > order.expires_at:
        return Reason.PAYMENT_LATE
    if now + BREWING_LEAST > paid_at + timedelta(seconds=order.brew_timeout_s):
        return Reason.DEADLINE
    return None


def paid(
    order: Order,
    version: int,
    *,
    paid_at: datetime,
    now: datetime,
    selling: bool,
    model: str,
    limits: Limits,
    command_id: UUID,
    refund_id: UUID,
    status: str = "paid",
) -> Outcome:
    """Take the payment: the machine is commanded in the same commit, or the money goes back in it.

    An invoice that is heard of only when its money has gone back again buys nothing, and is not refunded twice.
    """
    why_not = why_not_brewed(order, paid_at, now, selling=selling, status=status)
    brew_by = paid_at + timedelta(seconds=order.brew_timeout_s)
    first = step(order, Event.INVOICE_PAID, now, reason="", invoice_version=version, paid_at=paid_at, brew_by=brew_by)
    if isinstance(first, Illegal):
        return Stale(first.detail)
    taken, payment = first
    if status in RETURNED:
        taken = replace(taken, refund_status="succeeded")
    if why_not is not None:
        refused = fail(taken, Event.BREW_REFUSED, why_not.value, now, refund_id)
        return replace(refused, steps=(payment, *refused.steps)) if isinstance(refused, Applied) else refused
    second = step(taken, Event.BREW_COMMANDED, now)
    if isinstance(second, Illegal):
        return second
    commanded, brewing = second
    expires_at = min(brew_by, now + timedelta(seconds=limits.accept_timeout_s))
    command = BrewCommand(
        id=command_id,
        order_id=order.id,
        device_id=order.device_id,
        model=model,
        state=BrewState.QUEUED,
        issued_at=now,
        expires_at=expires_at,
        brew_by=brew_by,
        sent_count=0,
        next_send_at=now,
        decide_at=expires_at,
        accepted_at=None,
        revoke_by=None,
        finished_at=None,
        last_code="",
        will_be="",
    )
    return Applied(commanded, (payment, brewing), command, (WakeSender(),))


def late_money(order: Order, version: int, now: datetime) -> Outcome:
    """Note money that came too late or twice: the updater sends it back by itself (I-09)."""
    reason = Reason.PAYMENT_LATE.value if order.status is Status.NOT_PAID else order.reason
    return apply(order, Event.PAYMENT_CAME_LATE, now, reason=reason, invoice_version=version)


def is_of_all(order: Order, amount_minor: int) -> bool:
    """Tell whether a refund returns everything that the cup cost."""
    return amount_minor >= order.price_minor


def refund_changed(
    order: Order, refund_id: UUID, status: str, origin: str, amount_minor: int, now: datetime, *, code: str = ""
) -> Outcome:
    """Follow a refund of the order's money: ours, the one of late money, or one that somebody else asked for.

    `unknown` is still `pending` for the buyer. A refund that failed is an incident, whatever it was of: a payer waits
    for money. Another refund takes its place in the order as soon as somebody asks for it.
    """
    known = order.refund_id == refund_id
    detail = {"refund_id": str(refund_id), "code": code, "amount_minor": amount_minor}
    failed = OpenIncident("refund_failed", detail)
    if not known:
        # A part of the money, or money that was paid twice: what the order itself cost is not concerned.
        other = not is_of_all(order, amount_minor) or (origin == "late_payment" and order.status is not Status.NOT_PAID)
        if other or order.money_returns:
            if status == "failed":
                return Applied(order, effects=(failed,))
            return Stale("the refund is not of this cup's money" if other else "another refund is under way")
    shown = "pending" if status == "unknown" else status
    if known and (shown == order.refund_status or order.refund_status == "succeeded"):
        return Stale("the refund stands there already")
    if known and shown == "requested":
        return Stale("the refund went on from there")
    if known and order.refund_status == "failed" and shown == "pending":
        return Stale("the refund has failed already")
    effects: tuple[Effect, ...] = ()
    if shown == "failed":
        effects = (failed,)
    elif shown == "succeeded":
        effects = (TellBuyer("refund"),)
    return apply(order, Event.REFUND_CHANGED, now, effects, refund_status=shown, refund_id=refund_id)


def refund_refused(order: Order, command_id: UUID, code: str, now: datetime) -> Outcome:
    """Note that the updater refused to refund; a manager has to look.

    Our command has the id of its refund. Managers ask for refunds of the same invoice, and again for those that failed:
    when they are refused, the order's own refund goes on.
    """
    if order.refund_status != "requested" or order.refund_id != command_id:
        return Stale("no refund of ours waits for this answer")
    effects = (OpenIncident("refund_failed", {"refund_id": str(order.refund_id), "code": code}),)
    return apply(order, Event.REFUND_CHANGED, now, effects, refund_status="failed")
