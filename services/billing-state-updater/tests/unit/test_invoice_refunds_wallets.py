"""Refunds whose money comes from a wallet, goes to one, or lies with a merchant."""

from uuid import UUID

import pytest

from copeck.kernel.ids import new_id
from tests.support.state import (
    REVENUE,
    SHOP,
    WALLET,
    State,
    asked,
    filled,
    heard,
    issue,
    paid,
    payout,
    refund,
    refund_report,
    said,
    told,
    wallet_open,
    wallet_pay,
)

TRANSIT = "refunds:in_transit"
FEES = "fees:commission"


@pytest.fixture
def state() -> State:
    return State()


def test_a_top_up_is_refunded_whole(state: State) -> None:
    """The commission is back before the money leaves, so the wallet has it."""
    bill = filled(state)
    back = asked(state, bill)
    assert state.world.balance(WALLET, "RUB") == 0
    state.send(refund_report(bill, back, "succeeded", 10_000))
    assert state.balance(SHOP) == state.balance(FEES) == 0
    state.check()


def test_a_top_up_that_was_spent_is_not_refunded(state: State) -> None:
    """I-04: the wallet has less than the refund takes."""
    bill = filled(state)
    state.send(payout(new_id(), 100))
    assert said(state.send(refund(bill, new_id()))) == "illegal insufficient_funds"
    asked(state, bill, 9_000)
    state.check()


@pytest.mark.parametrize("failed_first", [False, True])
def test_a_spent_top_up_refunded_at_the_provider(state: State, failed_first: bool) -> None:
    """The money is gone: the wallet gives what it has, its commission included, and the rest is our loss."""
    bill = filled(state)
    if failed_first:
        back: UUID | None = asked(state, bill)
        state.send(refund_report(bill, back, "failed", 10_000))
    else:
        back = None
    state.send(payout(new_id(), 5_000))
    assert state.world.balance(WALLET, "RUB") == 4_700
    _, lines = told(state.send(refund_report(bill, back, "succeeded", 10_000, transaction="r1")))
    assert lines == [
        (FEES, WALLET, 200, "commission_return"),
        (WALLET, TRANSIT, 4_900, "refund"),
        ("losses:chargeback", TRANSIT, 5_100, "refund"),
        (TRANSIT, SHOP, 10_000, "refund_settlement"),
    ]
    assert state.world.balance(WALLET, "RUB") == 0
    state.check()


def test_a_merchant_may_go_below_zero(state: State) -> None:
    """The payer has a right to the money, whatever the merchant was paid out meanwhile; its payouts then stop."""
    bill = paid(state, beneficiary="merchant:m1")
    out = payout(new_id(), 19_800, account="merchant:m1")
    assert said(state.send(out)) == "applied"
    asked(state, bill)
    assert state.world.balance("merchant:m1", "RUB") == -19_900
    state.send(payout(other := new_id(), 1, account="merchant:m1", commission_minor=0))
    assert state.payout(other).status == "failed"
    state.check()


def test_at_the_merchants_own_shop(state: State) -> None:
    """Only the commission was booked, and only the commission comes back."""
    bill = paid(state, beneficiary="receivable:m1", commission_minor=400)
    back = new_id()
    assert told(state.send(refund(bill, back)))[1] == [(FEES, "receivable:m1", 400, "commission_return")]
    assert told(state.send(refund_report(bill, back, "succeeded"))) == (["refunded"], [])
    assert state.balance("receivable:m1") == state.balance(SHOP) == 0
    state.check()


def test_paid_from_a_wallet(state: State) -> None:
    """Nobody has to be asked: the money is back in the wallet in the same commit."""
    state.send(wallet_open(opening_minor=19_900))
    bill = new_id()
    state.send(issue(bill))
    state.send(wallet_pay(bill))
    expected = [(REVENUE, TRANSIT, 9_900, "refund"), (TRANSIT, WALLET, 9_900, "refund_settlement")]
    steps = ["refund_requested", "partially_refunded"]
    assert told(state.send(refund(bill, new_id(), 9_900))) == (steps, expected)
    expected = heard("invoice.partially_refunded", "refund.succeeded")
    assert state.events()[-len(expected) :] == expected
    assert told(state.send(refund(bill, new_id())))[0] == ["refund_requested", "refunded"]
    assert state.world.balance(WALLET, "RUB") == 19_900
    there = refund_report(bill, None, "succeeded", 1, provider="wallet", shop=WALLET, transaction="r1")
    assert said(state.send(there)) == "poison"
    state.check()
