"""What becomes of an order and its money: payments in time, late, twice, crossed by a cancellation; refunds."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from copeck.kernel.ids import new_id
from device_bridge.domain import decisions
from device_bridge.domain.brewing import BrewState
from device_bridge.domain.machine import Event, Reason, Status
from device_bridge.domain.model import Order
from device_bridge.domain.outcomes import (
    Applied,
    CancelInvoice,
    Illegal,
    OpenIncident,
    Outcome,
    RefundInvoice,
    Stale,
    TellBuyer,
    WakeSender,
)
from tests.support.cups import NOW, REFUND_ID, an_order, pay

pytestmark = pytest.mark.unit


def applied(outcome: Outcome) -> Applied:
    assert isinstance(outcome, Applied), outcome
    return outcome


def test_a_payment_commands_the_machine_in_one_decision() -> None:
    done = applied(pay(an_order()))
    assert [(step.event, step.status) for step in done.steps] == [
        (Event.INVOICE_PAID, Status.PAID),
        (Event.BREW_COMMANDED, Status.MAKE_PENDING),
    ]
    assert done.order.version == 4
    assert (done.order.paid_at, done.order.brew_by) == (NOW, NOW + timedelta(seconds=180))
    command = done.command
    assert command is not None
    assert (command.state, command.next_send_at) == (BrewState.QUEUED, NOW)
    assert command.expires_at == command.decide_at == NOW + timedelta(seconds=60)
    assert command.brew_by == NOW + timedelta(seconds=180)
    assert done.effects == (WakeSender(),)


def test_a_machine_may_not_accept_later_than_it_must_have_brewed() -> None:
    done = applied(pay(an_order(brew_timeout_s=20)))
    assert done.command is not None
    assert done.command.expires_at == NOW + timedelta(seconds=20)


@pytest.mark.parametrize("status", ["paid", "make_pending", "successful", "failed"])
def test_a_second_payment_makes_no_second_command(status: str) -> None:
    """Defect of the replaced system: a duplicate `payment.succeeded` made a second drink."""
    assert isinstance(pay(an_order(status, paid_at=NOW)), Stale)


@pytest.mark.parametrize(
    ("changes", "given", "reason"),
    [
        ({}, {"paid_at": NOW + timedelta(minutes=15, seconds=1)}, Reason.PAYMENT_LATE),
        ({"status": "not_paid", "reason": "expired"}, {}, Reason.PAYMENT_LATE),
        ({}, {"selling": False}, Reason.STOPPED),
        ({"reason": "stopped"}, {}, Reason.STOPPED),
        ({"reason": "canceled"}, {}, Reason.CANCELED),
        ({}, {"paid_at": NOW - timedelta(seconds=176)}, Reason.DEADLINE),
    ],
)
def test_a_payment_that_buys_nothing_goes_back_at_once(
    changes: dict[str, str], given: dict[str, object], reason: Reason
) -> None:
    """Defect: an order that was paid after its expiry was answered 400, and the money was kept."""
    done = applied(pay(an_order(**changes), **given))  # type: ignore[arg-type]
    assert done.command is None
    assert [step.event for step in done.steps] == [Event.INVOICE_PAID, Event.BREW_REFUSED]
    assert (done.order.status, done.order.reason) == (Status.FAILED, reason)
    assert done.effects == (RefundInvoice(REFUND_ID, reason),)
    assert (done.order.refund_status, done.order.refund_id) == ("requested", REFUND_ID)


@pytest.mark.parametrize(
    ("status", "refund_status", "effects"),
    [
        ("refunded", "succeeded", ()),
        ("charged_back", "succeeded", ()),
        ("partially_refunded", "requested", (RefundInvoice(REFUND_ID, "refunded"),)),
        ("disputed", "requested", (RefundInvoice(REFUND_ID, "refunded"),)),
    ],
)
def test_money_that_has_gone_back_before_we_heard_of_it(
    status: str, refund_status: str, effects: tuple[object, ...]
) -> None:
    done = applied(pay(an_order(), status=status))
    assert (done.order.status, done.order.reason, done.order.refund_status) == (
        Status.FAILED,
        "refunded",
        refund_status,
    )
    assert done.effects == effects
    assert done.command is None


@pytest.mark.parametrize("refund_status", ["requested", "pending", "succeeded"])
def test_a_refund_that_is_heard_of_before_the_payment(refund_status: str) -> None:
    """Defect: the cup was made, and its money had gone back."""
    done = applied(pay(an_order(refund_status=refund_status, refund_id=REFUND_ID)))
    assert (done.order.status, done.order.reason, done.order.refund_status) == (
        Status.FAILED,
        "refunded",
        refund_status,
    )
    assert (done.command, done.effects) == (None, ())


def test_a_refund_that_failed_returned_nothing() -> None:
    """The cup is made; a brew that fails then is refunded anew, and one that fails again is an incident of its own."""
    failed = an_order(refund_status="failed", refund_id=REFUND_ID)
    paid = applied(pay(failed))
    assert paid.order.status is Status.MAKE_PENDING
    again = UUID(int=77)
    ended = applied(decisions.fail(paid.order, Event.BREW_FAILED, "brew_failed", NOW, again))
    assert ended.effects == (RefundInvoice(again, "brew_failed"),)
    assert (ended.order.refund_status, ended.order.refund_id) == ("requested", again)


@pytest.mark.parametrize(
    ("order", "origin", "amount"),
    [
        (an_order("successful", paid_at=NOW), "late_payment", 15000),
        (an_order("not_paid", refund_status="pending", refund_id=REFUND_ID), "late_payment", 15000),
        (an_order("successful", paid_at=NOW), "requested", 1),
    ],
)
def test_any_failed_refund_is_an_incident(order: Order, origin: str, amount: int) -> None:
    """Also of money that was paid twice, and of a part: a payer waits for it."""
    other = UUID(int=78)
    told = applied(decisions.refund_changed(order, other, "failed", origin, amount, NOW, code="5051"))
    assert told.order is order
    detail = {"refund_id": str(other), "code": "5051", "amount_minor": amount}
    assert told.effects == (OpenIncident("refund_failed", detail),)


def test_paid_in_the_last_moment_is_paid_in_time() -> None:
    done = applied(pay(an_order(), paid_at=NOW + timedelta(minutes=15), now=NOW + timedelta(minutes=15)))
    assert done.order.status is Status.MAKE_PENDING


@pytest.mark.parametrize(
    ("event", "asked", "reason"),
    [
        (Event.INVOICE_EXPIRED, "", "expired"),
        (Event.INVOICE_CANCELED, "", "canceled"),
        (Event.INVOICE_CANCELED, "stopped", "stopped"),
        (Event.INVOICE_EXPIRED, "stopped", "expired"),
    ],
)
def test_unpaid_ends_say_why(event: Event, asked: str, reason: str) -> None:
    done = applied(decisions.unpaid(an_order(reason=asked), event, 5, NOW))
    assert (done.order.status, done.order.reason, done.order.invoice_version) == (Status.NOT_PAID, reason, 5)
    assert done.effects == ()
    assert isinstance(decisions.unpaid(done.order, event, 6, NOW), Stale)


def test_a_buyer_may_think_better_of_it_once() -> None:
    done = applied(decisions.cancel(an_order(), Reason.CANCELED, NOW))
    assert done.order.status is Status.PENDING
    assert done.effects == (CancelInvoice("canceled"),)
    assert isinstance(decisions.cancel(done.order, Reason.CANCELED, NOW), Stale)
    assert isinstance(decisions.cancel(an_order("make_pending", paid_at=NOW), Reason.CANCELED, NOW), Illegal)


def test_an_invoice_lets_a_created_order_be_paid() -> None:
    done = applied(decisions.issued(an_order("created"), 1, NOW))
    assert done.order.status is Status.PENDING
    assert isinstance(decisions.issued(done.order, 2, NOW), Stale)
    refused = applied(decisions.issue_refused(an_order("created"), NOW))
    assert (refused.order.status, refused.order.reason) == (Status.NOT_PAID, "invoice_refused")
    assert isinstance(decisions.issue_refused(done.order, NOW), Stale)


# Refunds.


def changed(order_status: str, *, known: bool = True, now_status: str | None = "requested", **given: object) -> Outcome:
    refund_id = new_id()
    order = an_order(order_status, refund_id=refund_id if known else None, refund_status=now_status if known else None)
    values: dict[str, object] = {"status": "succeeded", "origin": "requested", "amount_minor": 15000}
    return decisions.refund_changed(order, refund_id, now=NOW, **values | given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "said", "after"),
    [
        ("requested", "pending", "pending"),
        ("requested", "unknown", "pending"),
        ("requested", "succeeded", "succeeded"),
        ("requested", "failed", "failed"),
        ("pending", "succeeded", "succeeded"),
        ("pending", "failed", "failed"),
        ("failed", "succeeded", "succeeded"),
        ("requested", "requested", None),
        ("pending", "requested", None),
        ("pending", "unknown", None),
        ("failed", "pending", None),
        ("succeeded", "failed", None),
        ("succeeded", "succeeded", None),
    ],
)
def test_the_way_of_a_refund(before: str, said: str, after: str | None) -> None:
    outcome = changed("failed", now_status=before, status=said)
    if after is None:
        assert isinstance(outcome, Stale)
        return
    done = applied(outcome)
    assert done.order.refund_status == after
    assert done.order.status is Status.FAILED
    kinds = {type(effect) for effect in done.effects}
    assert kinds == ({OpenIncident} if after == "failed" else {TellBuyer} if after == "succeeded" else set())


def test_late_money_is_shown_on_the_way_back() -> None:
    late = applied(decisions.late_money(an_order("not_paid", reason="expired"), 4, NOW))
    assert (late.order.status, late.order.reason) == (Status.NOT_PAID, "payment_late")
    done = applied(changed("not_paid", known=False, status="requested", origin="late_payment"))
    assert done.order.refund_status == "requested"


def test_money_that_came_twice_is_no_refund_of_the_cup() -> None:
    assert isinstance(changed("successful", known=False, origin="late_payment"), Stale)
    twice = applied(decisions.late_money(an_order("successful", paid_at=NOW), 4, NOW))
    assert (twice.order.status, twice.order.reason) == (Status.SUCCESSFUL, "")


def test_a_part_of_the_money_is_no_refund_of_the_cup() -> None:
    assert isinstance(changed("make_pending", known=False, amount_minor=14999), Stale)


def test_another_refund_takes_the_place_of_one_that_failed() -> None:
    order = an_order("failed", refund_status="failed", refund_id=new_id())
    other = new_id()
    done = applied(decisions.refund_changed(order, other, "pending", "requested", 15000, NOW))
    assert (done.order.refund_id, done.order.refund_status) == (other, "pending")
    busy = replace(order, refund_status="pending")
    assert isinstance(decisions.refund_changed(busy, other, "pending", "requested", 15000, NOW), Stale)


def test_a_refused_refund_is_put_before_a_manager() -> None:
    refund = new_id()
    order = an_order("failed", refund_status="requested", refund_id=refund)
    done = applied(decisions.refund_refused(order, refund, "not_refundable", NOW))
    assert done.order.refund_status == "failed"
    assert [type(effect) for effect in done.effects] == [OpenIncident]
    assert isinstance(decisions.refund_refused(done.order, refund, "not_refundable", NOW), Stale)


@pytest.mark.parametrize("status", ["make_pending", "successful", "failed"])
def test_the_refusal_of_somebody_elses_refund_is_not_followed(status: str) -> None:
    order = an_order(status, refund_status="requested", refund_id=new_id())
    assert isinstance(decisions.refund_refused(order, new_id(), "not_refundable", NOW), Stale)
