"""Refunds: whole, partial, with commission, failed, reported twice, made after all."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from billing_state_updater.domain import books
from billing_state_updater.domain.machines import REFUND, REFUND_STATUSES
from copeck.kernel.ids import new_id
from tests.support.state import (
    REVENUE,
    SHOP,
    Line,
    State,
    asked,
    heard,
    issue,
    paid,
    refund,
    refund_report,
    said,
    told,
)

TRANSIT = "refunds:in_transit"
FEES = "fees:commission"


@pytest.fixture
def state() -> State:
    return State()


def test_whole(state: State) -> None:
    """Asked for, then done: the money waits in transit in between."""
    bill = paid(state)
    back = new_id()
    expected: list[Line] = [(REVENUE, TRANSIT, 19_900, "refund")]
    assert told(state.send(refund(bill, back, reason="by request"))) == (["refund_requested"], expected)
    invoice = state.invoice(bill)
    assert (invoice.status, invoice.refunding_minor, invoice.refunded_minor) == ("paid", 19_900, 0)
    assert state.events()[-1] == "refund.requested"
    done = [(TRANSIT, SHOP, 19_900, "refund_settlement")]
    assert told(state.send(refund_report(bill, back, "succeeded", transaction="r1"))) == (["refunded"], done)
    assert (invoice.status, invoice.refunding_minor, invoice.refunded_minor) == ("refunded", 0, 19_900)
    expected = heard("invoice.refunded", "refund.succeeded")
    assert state.events()[-len(expected) :] == expected
    assert state.balance(SHOP) == state.balance(REVENUE) == state.balance(TRANSIT) == 0
    state.check()


def test_in_parts(state: State) -> None:
    """Parts add up to the whole, and no further."""
    bill = paid(state)
    first, second = asked(state, bill, 9_900), asked(state, bill, 5_000)
    assert said(state.send(refund(bill, new_id(), 5_001))) == "illegal exceeds_remaining"
    assert told(state.send(refund_report(bill, first, "succeeded", 9_900)))[0] == ["partially_refunded"]
    assert told(state.send(refund_report(bill, second, "succeeded", 5_000)))[0] == ["partially_refunded"]
    rest = asked(state, bill)
    assert state.invoice(bill).refunds[rest].amount_minor == 5_000
    assert said(state.send(refund(bill, new_id()))) == "illegal exceeds_remaining"
    assert told(state.send(refund_report(bill, rest, "succeeded", 5_000)))[0] == ["refunded"]
    assert said(state.send(refund(bill, new_id()))) == "illegal not_refundable"
    state.check()


@pytest.mark.parametrize(
    ("amounts", "returned"),
    [([19_900], [399]), ([9_950, 9_950], [200, 199]), ([1, 1, 19_898], [0, 0, 399]), ([19_899, 1], [399, 0])],
)
def test_commission_goes_back_in_proportion(state: State, amounts: list[int], returned: list[int]) -> None:
    """The commission comes back in the same commit, before the money leaves, and in the end whole."""
    bill = paid(state, beneficiary="merchant:m1", commission_minor=399)
    for amount, share in zip(amounts, returned, strict=True):
        back = new_id()
        _, lines = told(state.send(refund(bill, back, amount)))
        commission = [(FEES, "merchant:m1", share, "commission_return")] if share else []
        assert lines == [*commission, ("merchant:m1", TRANSIT, amount, "refund")]
        state.send(refund_report(bill, back, "succeeded", amount))
    assert state.balance("merchant:m1") == state.balance(FEES) == 0
    assert state.invoice(bill).status == "refunded"
    state.check()


@given(
    commission=some.integers(0, 10**6),
    extra=some.integers(1, 10**6),
    parts=some.lists(some.integers(1, 10**5), min_size=1, max_size=8),
)
def test_shares_add_up(commission: int, extra: int, parts: list[int]) -> None:
    """No rounding loses or makes a kopeck, and no share is negative."""
    amount = max(commission + extra, sum(parts))
    gone = returned = 0
    for part in [*parts, amount - sum(parts)]:
        gone += part
        share = books.commission_share(commission, amount, gone, returned)
        assert share >= 0
        returned += share
    assert returned == commission


def test_a_share_is_never_negative(state: State) -> None:
    """A part that failed gave its rounding back to a smaller rest: the rest takes nothing, instead of paying."""
    bill = paid(state, beneficiary="merchant:m1", amount_minor=100, commission_minor=3)
    first, second = asked(state, bill, 10), asked(state, bill, 10)
    assert [state.invoice(bill).refunds[one].commission_minor for one in (first, second)] == [0, 1]
    state.send(refund_report(bill, first, "failed", 10))
    third = asked(state, bill, 5)
    assert state.invoice(bill).refunds[third].commission_minor == 0
    state.check()


def test_failed(state: State) -> None:
    """Both entries are reversed, and the money can be refunded again."""
    bill = paid(state, beneficiary="merchant:m1", commission_minor=400)
    back = asked(state, bill)
    expected: list[Line] = [
        (TRANSIT, "merchant:m1", 19_900, "refund_reversal"),
        ("merchant:m1", FEES, 400, "commission_return_reversal"),
    ]
    failed = refund_report(bill, back, "failed", failure_code="6013")
    assert told(state.send(failed)) == (["refund_noted"], expected)
    invoice = state.invoice(bill)
    assert (invoice.status, invoice.refunding_minor, invoice.commission_returned_minor) == ("paid", 0, 0)
    assert state.events()[-1:] == ["refund.failed"]
    again = asked(state, bill)
    assert told(state.send(refund_report(bill, again, "succeeded")))[0] == ["refunded"]
    state.check()


def test_one_that_failed_is_asked_for_again_once(state: State) -> None:
    """R-23: a part that failed is tried again whole, under an id of its own, however often somebody asks."""
    bill = paid(state, beneficiary="merchant:m1", commission_minor=400)
    back = asked(state, bill, 5_000)
    again = refund(bill, new_id()).model_copy(update={"retry_of": back})
    assert said(state.send(again)) == "illegal nothing_to_retry"
    state.send(refund_report(bill, back, "failed", 5_000))
    taken = [(FEES, "merchant:m1", 101, "commission_return"), ("merchant:m1", TRANSIT, 5_000, "refund")]
    assert told(state.send(again)) == (["refund_requested"], taken)
    assert state.events()[-1] == "refund.requested"
    assert said(state.send(again)) == "illegal already_retried"
    invoice = state.invoice(bill)
    assert (invoice.refunding_minor, len(invoice.refunds)) == (5_000, 2)
    assert told(state.send(refund_report(bill, again.refund_id, "succeeded", 5_000)))[0] == ["partially_refunded"]
    assert said(state.send(again)) == "illegal already_retried"
    assert state.balance(TRANSIT) == 0
    state.check()


def test_one_that_failed_is_not_asked_for_again_when_its_money_went_another_way(state: State) -> None:
    bill = paid(state)
    back = asked(state, bill, 5_000)
    state.send(refund_report(bill, back, "failed", 5_000))
    again = refund(bill, new_id()).model_copy(update={"retry_of": back})
    rest = asked(state, bill, 15_000)
    assert said(state.send(again)) == "illegal exceeds_remaining"
    state.send(refund_report(bill, rest, "succeeded", 15_000))
    asked(state, bill)
    assert said(state.send(again)) == "illegal exceeds_remaining"
    state.check()


@pytest.mark.parametrize("before", REFUND_STATUSES)
@pytest.mark.parametrize("after", ["pending", "succeeded", "failed", "unknown"])
def test_reports_in_any_order(state: State, before: str, after: str) -> None:
    """I-06 for refunds: the same news is a duplicate, older news is stale, the money leaves once."""
    bill = paid(state)
    back = asked(state, bill)
    if before != "requested":
        state.send(refund_report(bill, back, before))
    outcome = said(state.send(refund_report(bill, back, after)))
    if (before, after) in REFUND:
        assert outcome == "applied"
    else:
        assert outcome == ("duplicate" if before == after else "stale")
    settled = "succeeded" in (before, after)
    assert state.balance(SHOP) == (0 if settled else -19_900)
    assert state.balance(TRANSIT) == (0 if settled or state.invoice(bill).refunding_minor == 0 else 19_900)
    state.check()


def test_made_after_all(state: State) -> None:
    """A refund that was taken for failed was made: it is booked, its commission with it."""
    bill = paid(state, beneficiary="merchant:m1", commission_minor=400)
    back = asked(state, bill)
    state.send(refund_report(bill, back, "failed"))
    expected: list[Line] = [
        (FEES, "merchant:m1", 400, "commission_return"),
        ("merchant:m1", TRANSIT, 19_900, "refund"),
        (TRANSIT, SHOP, 19_900, "refund_settlement"),
    ]
    assert told(state.send(refund_report(bill, back, "succeeded"))) == (["refunded"], expected)
    assert state.invoice(bill).commission_returned_minor == 400
    state.check()


def test_made_after_all_beside_another(state: State) -> None:
    """The refund that replaced it was made as well: more went back than came, and a person has to look."""
    bill = paid(state)
    back = asked(state, bill)
    state.send(refund_report(bill, back, "failed"))
    other = asked(state, bill)
    assert said(state.send(refund_report(bill, back, "succeeded"))) == "poison"
    state.send(refund_report(bill, other, "succeeded"))
    assert said(state.send(refund_report(bill, back, "succeeded"))) == "poison"
    state.check()


def test_made_after_all_returns_no_more_commission_than_was_taken(state: State) -> None:
    """Two halves of an odd commission, each rounded up: the second half takes what is left."""
    bill = paid(state, beneficiary="merchant:m1", amount_minor=200, commission_minor=3)
    first = asked(state, bill, 100)
    state.send(refund_report(bill, first, "failed", 100))
    asked(state, bill, 100)
    assert state.invoice(bill).commission_returned_minor == 2
    assert said(state.send(refund_report(bill, first, "succeeded", 100))) == "applied"
    assert state.invoice(bill).commission_returned_minor == 3
    assert state.balance(FEES) == 0
    state.check()


def test_another_amount_than_was_asked_is_set_aside(state: State) -> None:
    """The books never guess which of two amounts left."""
    bill = paid(state)
    back = asked(state, bill)
    assert said(state.send(refund_report(bill, back, "succeeded", 19_800))) == "poison"
    assert state.invoice(bill).refunds[back].status == "requested"


def test_asked_twice(state: State) -> None:
    """The refund's id is the sender's: the same id again is a repeat."""
    bill = paid(state)
    back = asked(state, bill, 100)
    assert said(state.send(refund(bill, back, 100))) == "duplicate"
    assert state.invoice(bill).refunding_minor == 100


def test_what_was_not_paid_is_not_refunded(state: State) -> None:
    bill = new_id()
    state.send(issue(bill))
    assert said(state.send(refund(bill, new_id()))) == "illegal not_refundable"
    assert state.events()[-1] == "command.refused"
