"""Decisions: what they change and what follows, and a random walk that checks what must always hold."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copeck.kernel.ids import new_id
from subscriptions.domain import decisions
from subscriptions.domain.invoicing import IssueAnother, OpenInvoice, PayThis, choose_invoice
from subscriptions.domain.machine import ENDED, Event, Status
from subscriptions.domain.model import (
    Applied,
    CancelOpenInvoice,
    CutAccess,
    GrantAccess,
    Illegal,
    Outcome,
    PaidPeriod,
    RefundInvoice,
    ShiftPeriods,
    Stale,
    Subscription,
)
from subscriptions.domain.periods import Period, PeriodUnit

pytestmark = pytest.mark.unit

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
MONTH = Period(PeriodUnit.MONTH, 1)
GRACE = timedelta(days=3)
DAY = timedelta(days=1)


def fresh() -> Subscription:
    return Subscription(
        id=new_id(),
        user_id=new_id(),
        plan_id=new_id(),
        price_id=new_id(),
        product="cinema",
        status=Status.INCOMPLETE,
        version=1,
        created_at=NOW,
        deadline_at=NOW + 2 * DAY,
    )


def done(outcome: Outcome) -> Applied:
    assert isinstance(outcome, Applied), outcome
    return outcome


def paid(subscription: Subscription, at: datetime = NOW, invoice: UUID | None = None) -> Subscription:
    number = subscription.period_number + 1
    return done(decisions.pay_period(subscription, invoice or new_id(), number, MONTH, at)).subscription


def test_paying_twice_early_adds_two_periods() -> None:
    one = paid(fresh())
    two = paid(one, NOW + DAY)
    assert two.period_end == datetime(2026, 3, 31, 12, tzinfo=UTC)
    assert (two.period_start, two.period_number) == (NOW, 2)


def test_paying_past_due_begins_at_the_payment() -> None:
    """There was no access in between, so nobody pays for it."""
    one = paid(fresh())
    late = done(decisions.tick(one, datetime(2026, 3, 1, tzinfo=UTC), GRACE)).subscription
    assert late.status is Status.PAST_DUE
    assert late.deadline_at == datetime(2026, 3, 3, 12, tzinfo=UTC)
    at = datetime(2026, 3, 2, tzinfo=UTC)
    again = done(decisions.pay_period(late, new_id(), 2, MONTH, at))
    assert again.subscription.period_end == datetime(2026, 4, 2, tzinfo=UTC)
    assert again.effects == (GrantAccess(at, datetime(2026, 4, 2, tzinfo=UTC), again.effects[0].invoice_id),)  # type: ignore[union-attr]


def test_paid_during_the_trial_loses_nothing_of_it() -> None:
    trial = done(decisions.start_trial(fresh(), 7, NOW)).subscription
    bought = paid(trial, NOW + DAY)
    assert bought.status is Status.ACTIVE
    assert bought.period_end == datetime(2026, 3, 7, 12, tzinfo=UTC)


def test_trial_ends_unpaid() -> None:
    trial = done(decisions.start_trial(fresh(), 7, NOW)).subscription
    assert isinstance(decisions.tick(trial, NOW + 6 * DAY, GRACE), Stale)
    late = done(decisions.tick(trial, NOW + 7 * DAY, GRACE)).subscription
    assert late.status is Status.PAST_DUE
    assert late.entitled_until is None


def test_nothing_is_due_before_its_time() -> None:
    assert isinstance(decisions.tick(fresh(), NOW, GRACE), Stale)
    assert done(decisions.tick(fresh(), NOW + 3 * DAY, GRACE)).subscription.status is Status.EXPIRED


def test_cancel_now_and_at_the_end() -> None:
    one = paid(fresh())
    now = done(decisions.cancel_now(one, NOW + DAY, "bored"))
    assert now.effects == (CutAccess(NOW + DAY, "canceled"), CancelOpenInvoice("the subscription was canceled"))
    assert (now.subscription.status, now.subscription.reason) == (Status.CANCELED, "bored")
    end = done(decisions.cancel_at_period_end(one, NOW + DAY, "bored")).subscription
    assert (end.status, end.cancel_at_period_end, end.entitled_until) == (Status.ACTIVE, True, one.period_end)
    assert isinstance(decisions.cancel_at_period_end(end, NOW, ""), Stale)
    undone = done(decisions.undo_cancellation(end)).subscription
    assert not undone.cancel_at_period_end
    assert isinstance(decisions.undo_cancellation(undone), Illegal)
    over = done(decisions.tick(end, datetime(2026, 3, 1, tzinfo=UTC), GRACE))
    assert over.event is Event.CANCELLATION_DUE


def test_canceling_with_the_period_means_now_where_none_runs() -> None:
    for one in (fresh(), done(decisions.pause(paid(fresh()), NOW + DAY, "")).subscription):
        assert done(decisions.cancel_at_period_end(one, NOW + DAY, "")).subscription.status is Status.CANCELED
    gone = done(decisions.cancel_now(fresh(), NOW, "")).subscription
    assert isinstance(decisions.cancel_at_period_end(gone, NOW, ""), Illegal)
    assert isinstance(decisions.cancel_now(gone, NOW, ""), Illegal)


def test_a_pause_keeps_what_is_left() -> None:
    one = paid(fresh())
    resting = done(decisions.pause(one, NOW + 10 * DAY, "travelling"))
    assert resting.effects[0] == CutAccess(NOW + 10 * DAY, "paused")
    assert resting.subscription.due_at is None
    back = done(decisions.resume(resting.subscription, NOW + 15 * DAY))
    assert one.period_end is not None
    assert back.subscription.period_end == one.period_end + 5 * DAY
    assert back.effects[0] == ShiftPeriods(NOW + 10 * DAY, 5 * DAY)
    assert isinstance(decisions.pause(one, one.period_end, ""), Illegal)


def test_money_that_arrives_in_a_pause_ends_it() -> None:
    one = paid(fresh())
    resting = done(decisions.pause(one, NOW + 10 * DAY, "")).subscription
    back = paid(resting, NOW + 12 * DAY)
    assert one.period_end is not None
    assert (back.status, back.paused_at) == (Status.ACTIVE, None)
    assert back.period_end is not None
    assert back.period_end > one.period_end + 2 * DAY + 27 * DAY


def test_extension_by_a_manager() -> None:
    one = paid(fresh())
    longer = done(decisions.extend(one, 10, NOW + DAY, "outage")).subscription
    assert one.period_end is not None
    assert longer.period_end == one.period_end + 10 * DAY
    late = done(decisions.tick(one, one.period_end, GRACE)).subscription
    again = done(decisions.extend(late, 5, one.period_end + DAY, "kindness")).subscription
    assert (again.status, again.period_end) == (Status.ACTIVE, one.period_end + 6 * DAY)
    assert isinstance(decisions.extend(one, 0, NOW, ""), Illegal)
    assert isinstance(decisions.extend(fresh(), 5, NOW, ""), Illegal)


def test_another_price_counts_from_the_end_of_what_is_paid() -> None:
    one = paid(fresh())
    changed = done(decisions.change_price(one, new_id(), new_id(), "upgrade"))
    assert changed.effects == (CancelOpenInvoice("the price of the subscription was changed"),)
    year = Period(PeriodUnit.YEAR, 1)
    longer = done(decisions.pay_period(changed.subscription, new_id(), 2, year, NOW + DAY)).subscription
    assert longer.period_end == datetime(2027, 2, 28, 12, tzinfo=UTC)
    assert isinstance(decisions.change_price(one, one.plan_id, one.price_id, ""), Stale)


def test_refunds_by_which_period_they_are_of() -> None:
    first, second = new_id(), new_id()
    one = paid(fresh(), invoice=first)
    two = paid(one, NOW + DAY, invoice=second)
    assert one.period_end is not None
    assert two.period_end is not None
    periods = (PaidPeriod(1, first, NOW, one.period_end), PaidPeriod(2, second, one.period_end, two.period_end))
    later = done(decisions.give_back(two, periods, second, "refunded", NOW + 2 * DAY))
    assert (later.event, later.subscription.period_end) == (Event.FUTURE_PERIOD_REFUNDED, one.period_end)
    running = done(decisions.give_back(two, periods, first, "charged back", NOW + 2 * DAY))
    assert running.subscription.status is Status.CANCELED
    assert RefundInvoice(second, "the period before it was charged back") in running.effects
    past = done(decisions.give_back(two, periods, first, "refunded", one.period_end + DAY))
    assert (past.event, past.subscription.status, past.effects) == (Event.PAST_PERIOD_REFUNDED, Status.ACTIVE, ())
    unknown = done(decisions.give_back(two, periods, new_id(), "refunded", NOW))
    assert unknown.event is Event.PAST_PERIOD_REFUNDED


def test_which_payments_are_wanted() -> None:
    waiting, active = fresh(), paid(fresh())
    canceled = done(decisions.cancel_now(active, NOW, "")).subscription
    expired = done(decisions.tick(waiting, NOW + 3 * DAY, GRACE)).subscription

    def wanted(one: Subscription, policy: str = "refund", *, paid_already: bool = False, another: bool = False) -> bool:
        return decisions.is_wanted(one, policy, already_paid=paid_already, has_another=another)  # type: ignore[arg-type]

    assert wanted(waiting)
    assert wanted(active)
    assert wanted(expired)
    assert not wanted(canceled)
    assert not wanted(canceled, "wallet")
    assert wanted(canceled, "accept")
    assert not wanted(canceled, "accept", another=True)
    assert not wanted(expired, another=True)
    assert not wanted(active, paid_already=True)


def test_which_invoice_is_paid_now() -> None:
    least = timedelta(minutes=10)
    one = fresh()
    invoice = OpenInvoice(new_id(), one.price_id, NOW + timedelta(hours=1))
    assert choose_invoice(one, None, NOW, least) == IssueAnother(1)
    assert choose_invoice(one, invoice, NOW, least) == PayThis(invoice.invoice_id)
    dying = replace(invoice, expires_at=NOW + timedelta(minutes=9))
    assert choose_invoice(one, dying, NOW, least) == IssueAnother(1, replaces=dying.invoice_id)
    dearer = replace(invoice, price_id=new_id())
    assert choose_invoice(one, dearer, NOW, least) == IssueAnother(1, replaces=dearer.invoice_id)

    active = paid(one)
    refused = choose_invoice(active, None, NOW, least)
    assert isinstance(refused, Illegal)
    assert refused.code == "paid-already"
    assert choose_invoice(active, None, datetime(2026, 2, 22, tzinfo=UTC), least) == IssueAnother(2)
    trial = done(decisions.start_trial(fresh(), 30, NOW)).subscription
    assert choose_invoice(trial, None, NOW, least) == IssueAnother(1)
    ending = done(decisions.cancel_at_period_end(active, NOW, "")).subscription
    resting = done(decisions.pause(active, NOW, "")).subscription
    over = done(decisions.cancel_now(active, NOW, "")).subscription
    codes = [choose_invoice(one, None, NOW, least) for one in (ending, resting, over)]
    assert [code.code for code in codes if isinstance(code, Illegal)] == [
        "cancellation-scheduled",
        "subscription-paused",
        "subscription-over",
    ]


ACTIONS = ("pay", "tick", "cancel", "schedule", "undo", "pause", "resume", "extend", "refund")


def take(action: str, one: Subscription, periods: tuple[PaidPeriod, ...], invoice: UUID, now: datetime) -> Outcome:
    last = periods[-1].invoice_id if periods else invoice
    possible = {
        "pay": lambda: decisions.pay_period(one, invoice, one.period_number + 1, MONTH, now),
        "tick": lambda: decisions.tick(one, now, GRACE),
        "cancel": lambda: decisions.cancel_now(one, now, ""),
        "schedule": lambda: decisions.cancel_at_period_end(one, now, ""),
        "undo": lambda: decisions.undo_cancellation(one),
        "pause": lambda: decisions.pause(one, now, ""),
        "resume": lambda: decisions.resume(one, now),
        "extend": lambda: decisions.extend(one, 5, now, ""),
        "refund": lambda: decisions.give_back(one, periods, last, "refunded", now),
    }
    return possible[action]()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 40)), max_size=25), st.booleans())
def test_whatever_happens(story: list[tuple[str, int]], trial: bool) -> None:
    """After any story: versions count steps, what is over has ended, what was paid for was given in full."""
    now, one, periods = NOW, fresh(), list[PaidPeriod]()
    if trial:
        one = done(decisions.start_trial(one, 7, now)).subscription
    for action, days in story:
        now += timedelta(days=days)
        invoice = new_id()
        outcome = take(action, one, tuple(periods), invoice, now)
        if not isinstance(outcome, Applied):
            continue
        after = outcome.subscription
        assert after.version == one.version + 1
        assert (after.ended_at is not None) == (after.status in ENDED)
        assert (after.paused_at is not None) == (after.status is Status.PAUSED)
        assert not (after.status in ENDED and after.cancel_at_period_end)
        assert after.status is not Status.ACTIVE or after.period_end is not None
        for effect in outcome.effects:
            if isinstance(effect, GrantAccess):
                assert effect.starts_at < effect.ends_at
                if effect.invoice_id:
                    assert effect.ends_at - effect.starts_at >= timedelta(days=28)
                    periods.append(PaidPeriod(len(periods) + 1, invoice, effect.starts_at, effect.ends_at))
        one = after
