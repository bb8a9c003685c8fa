"""Decisions about a subscription: pure functions from a state and a fact, or a wish, to an outcome."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from subscriptions.domain.machine import ENDED, RUNNING, Event, Status, target
from subscriptions.domain.model import (
    Applied,
    CancelOpenInvoice,
    CutAccess,
    Effect,
    GrantAccess,
    Illegal,
    LatePolicy,
    Outcome,
    PaidPeriod,
    RefundInvoice,
    ShiftPeriods,
    Stale,
    Subscription,
)
from subscriptions.domain.periods import Period, period_end, trial_end

EXTENSION_DAYS_MAX = 366

_HINTS: dict[Event, str] = {
    Event.PAUSED: "only an active subscription can be paused",
    Event.RESUMED: "only a paused subscription, or one that ends with its period, can be resumed",
    Event.CANCELED_NOW: "the subscription is over already",
    Event.CANCELLATION_SCHEDULED: "the subscription has no running period to end with",
    Event.CANCELLATION_UNDONE: "no cancellation is scheduled",
    Event.EXTENDED: "only a subscription in its trial, active or past due can be extended",
    Event.PRICE_CHANGED: "the subscription is over; subscribe again instead",
}


def apply(subscription: Subscription, event: Event, effects: tuple[Effect, ...] = (), **changes: Any) -> Outcome:
    """Take one step of the table, with the changes and effects that the decision adds to it."""
    status = target(subscription.status, event)
    if status is None:
        hint = _HINTS.get(event, "this cannot happen now")
        return Illegal("not-allowed-now", f"The subscription is {subscription.status}: {hint}.")
    changed = replace(subscription, status=status, version=subscription.version + 1, **changes)
    return Applied(changed, event, effects)


def start_trial(subscription: Subscription, days: int, now: datetime) -> Outcome:
    """Let the customer in without paying; the first paid period begins where the trial ends."""
    end = trial_end(now, days)
    return apply(
        subscription,
        Event.TRIAL_STARTED,
        (GrantAccess(now, end),),
        period_start=now,
        period_end=end,
        trial_ends_at=end,
        deadline_at=None,
    )


def is_wanted(subscription: Subscription, policy: LatePolicy, *, already_paid: bool, has_another: bool) -> bool:
    """Tell whether a payment buys a period.

    It does not when the same period is paid already, when the customer has another subscription to the product by
    now, or when the subscription was canceled, unless the product accepts money that comes too late.
    """
    if already_paid or (has_another and subscription.status in ENDED):
        return False
    return subscription.status is not Status.CANCELED or policy == "accept"


def pay_period(subscription: Subscription, invoice_id: UUID, number: int, period: Period, paid_at: datetime) -> Outcome:
    """Add the paid period: right after what is paid or tried already, or from the payment if that is over."""
    paused_at = subscription.paused_at
    resumes = subscription.status is Status.PAUSED and paused_at is not None and paid_at > paused_at
    pause = paid_at - paused_at if resumes and paused_at is not None else timedelta(0)
    paid_until = subscription.period_end + pause if subscription.period_end is not None else None
    runs_on = paid_until is not None and paid_until >= paid_at and subscription.status not in ENDED
    start = paid_until if runs_on and paid_until is not None else paid_at
    anchor, count = start, 1
    if runs_on and not pause and subscription.anchor_at is not None and subscription.period_number > 0:
        anchor, count = subscription.anchor_at, subscription.anchor_count + 1
    end = period_end(anchor, period, count)
    effects: list[Effect] = [GrantAccess(start, end, invoice_id)]
    if resumes and paused_at is not None and paid_until is not None:
        effects[:0] = [ShiftPeriods(paused_at, pause), GrantAccess(paid_at, paid_until)]
    return apply(
        subscription,
        Event.PERIOD_PAID,
        tuple(effects),
        period_number=max(subscription.period_number, number),
        anchor_at=anchor,
        anchor_count=count,
        period_start=subscription.period_start if runs_on and subscription.period_start else start,
        period_end=end,
        deadline_at=None,
        paused_at=None,
        ended_at=None,
        reason="",
    )


def refuse_payment(subscription: Subscription, invoice_id: UUID, reason: str) -> Outcome:
    """Give the money back: it paid for something that the customer does not get."""
    return apply(subscription, Event.UNWANTED_PAYMENT, (RefundInvoice(invoice_id, reason),))


def lapse_invoice(subscription: Subscription) -> Outcome:
    """Note that the invoice died unpaid; the customer may ask for another while the subscription waits."""
    return apply(subscription, Event.INVOICE_LAPSED)


def cancel_now(subscription: Subscription, now: datetime, reason: str) -> Outcome:
    """End it at once: access goes, an open invoice is annulled, nothing is refunded by itself."""
    return apply(
        subscription,
        Event.CANCELED_NOW,
        (CutAccess(now, "canceled"), CancelOpenInvoice("the subscription was canceled")),
        **_over(now, reason),
    )


def cancel_at_period_end(subscription: Subscription, now: datetime, reason: str) -> Outcome:
    """End it with what is paid; where nothing is running, that is now."""
    if subscription.status not in RUNNING and subscription.status not in ENDED:
        return cancel_now(subscription, now, reason)
    if subscription.cancel_at_period_end:
        return Stale("the cancellation is scheduled already")
    return apply(
        subscription,
        Event.CANCELLATION_SCHEDULED,
        (CancelOpenInvoice("the subscription ends with its period"),),
        cancel_at_period_end=True,
        reason=reason,
    )


def undo_cancellation(subscription: Subscription) -> Outcome:
    """Let it go on after all."""
    if subscription.status in RUNNING and not subscription.cancel_at_period_end:
        return Illegal("nothing-to-undo", "No cancellation is scheduled, so there is nothing to undo.")
    return apply(subscription, Event.CANCELLATION_UNDONE, cancel_at_period_end=False, reason="")


def pause(subscription: Subscription, now: datetime, reason: str) -> Outcome:
    """Stop the clock: access goes, the rest of what is paid is kept."""
    if subscription.status is Status.ACTIVE and (subscription.period_end is None or subscription.period_end <= now):
        return Illegal("period-over", "The paid period is over; there is nothing left to pause.")
    return apply(
        subscription,
        Event.PAUSED,
        (CutAccess(now, "paused"), CancelOpenInvoice("the subscription was paused")),
        paused_at=now,
        cancel_at_period_end=False,
        reason=reason,
    )


def resume(subscription: Subscription, now: datetime) -> Outcome:
    """Let the clock run again; the rest of what is paid moves by the length of the pause."""
    paused_at, paid_until = subscription.paused_at, subscription.period_end
    if subscription.status is not Status.PAUSED or paused_at is None or paid_until is None:
        return undo_cancellation(subscription)
    by = max(now - paused_at, timedelta(0))
    end = paid_until + by
    return apply(
        subscription,
        Event.RESUMED,
        (ShiftPeriods(paused_at, by), GrantAccess(now, end)),
        period_end=end,
        anchor_at=end,
        anchor_count=0,
        paused_at=None,
        reason="",
    )


def extend(subscription: Subscription, days: int, now: datetime, reason: str) -> Outcome:
    """Give days for nothing, as a manager may; a subscription that is past due runs again from now."""
    if not 1 <= days <= EXTENSION_DAYS_MAX:
        return Illegal("invalid-extension", f"An extension has 1 to {EXTENSION_DAYS_MAX} days.")
    running = subscription.period_end is not None and subscription.period_end > now
    start = subscription.period_end if running and subscription.period_end is not None else now
    end = start + timedelta(days=days)
    trial = subscription.status is Status.TRIALING
    return apply(
        subscription,
        Event.EXTENDED,
        (GrantAccess(start, end),),
        period_end=end,
        anchor_at=end,
        anchor_count=0,
        trial_ends_at=end if trial else subscription.trial_ends_at,
        deadline_at=None,
        reason=reason,
    )


def change_price(subscription: Subscription, plan_id: UUID, price_id: UUID, reason: str) -> Outcome:
    """Sell the next period by another price; the one that runs stays as it was paid."""
    if subscription.price_id == price_id:
        return Stale("the subscription has this price already")
    return apply(
        subscription,
        Event.PRICE_CHANGED,
        (CancelOpenInvoice("the price of the subscription was changed"),),
        plan_id=plan_id,
        price_id=price_id,
        anchor_at=subscription.period_end,
        anchor_count=0,
        reason=reason,
    )


def give_back(
    subscription: Subscription, periods: tuple[PaidPeriod, ...], invoice_id: UUID, why: str, now: datetime
) -> Outcome:
    """Follow a full refund or a chargeback: the running period ends the subscription, a later one shortens it.

    Further periods that are paid and have not begun are refunded with the running one; a period that is over
    changes nothing.
    """
    period = next((one for one in periods if one.invoice_id == invoice_id), None)
    moment = subscription.paused_at or now
    if period is None or subscription.status not in (Status.ACTIVE, Status.PAUSED) or period.ends_at <= moment:
        return apply(subscription, Event.PAST_PERIOD_REFUNDED)
    later = tuple(one for one in periods if one.starts_at >= period.ends_at and one.invoice_id != invoice_id)
    if period.starts_at > moment and subscription.period_end is not None:
        end = subscription.period_end - (period.ends_at - period.starts_at)
        return apply(
            subscription,
            Event.FUTURE_PERIOD_REFUNDED,
            (CutAccess(end, why),),
            period_end=end,
            anchor_at=end,
            anchor_count=0,
        )
    refunds = tuple(RefundInvoice(one.invoice_id, f"the period before it was {why}") for one in later)
    return apply(
        subscription,
        Event.RUNNING_PERIOD_REFUNDED,
        (CutAccess(now, why), CancelOpenInvoice(f"the running period was {why}"), *refunds),
        **_over(now, why),
    )


def tick(subscription: Subscription, now: datetime, grace: timedelta) -> Outcome:
    """Do what time alone does: end a period, carry out a scheduled cancellation, give up on what stays unpaid."""
    if subscription.due_at is None or subscription.due_at > now:
        return Stale("nothing is due")
    if subscription.status not in RUNNING:
        return apply(
            subscription,
            Event.DEADLINE_PASSED,
            (CancelOpenInvoice("the subscription was not paid in time"),),
            **_over(now, "unpaid"),
        )
    if subscription.cancel_at_period_end:
        return apply(
            subscription,
            Event.CANCELLATION_DUE,
            (CancelOpenInvoice("the subscription ended with its period"),),
            **_over(now, subscription.reason),
        )
    return apply(subscription, Event.PERIOD_ENDED, deadline_at=subscription.due_at + grace)


def _over(now: datetime, reason: str) -> dict[str, Any]:
    return {
        "cancel_at_period_end": False,
        "deadline_at": None,
        "paused_at": None,
        "ended_at": now,
        "reason": reason,
    }
