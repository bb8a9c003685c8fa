"""Refunds: whole, partial, with commission, failed, reported twice, made at the provider."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as some

from billing_state_updater.domain import books
from billing_state_updater.domain.machines import REFUND, REFUND_STATUSES
from copeck.kernel.ids import new_id
from tests.support.state import (
    REVENUE,
    SHOP,
    WALLET,
    Line,
    State,
    asked,
    dispute,
    filled,
    issue,
    paid,
    payout,
    refund,
    refund_report,
    report,
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
    assert state.events()[-2:] == ["invoice.refunded", "refund.succeeded"]
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
    assert state.events()[-2:] == ["refund.failed", "wallet.changed"]
    again = asked(state, bill)
    assert told(state.send(refund_report(bill, again, "succeeded")))[0] == ["refunded"]
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


# Made at the provider.


def test_made_at_the_provider(state: State) -> None:
    """Money that left without our asking is booked whole in one commit, and its repeat is known by its id there."""
    bill = paid(state, beneficiary="merchant:m1", commission_minor=400)
    there = refund_report(bill, None, "succeeded", 9_950, transaction="r1", payment_transaction="p1")
    expected: list[Line] = [
        (FEES, "merchant:m1", 200, "commission_return"),
        ("merchant:m1", TRANSIT, 9_950, "refund"),
        (TRANSIT, SHOP, 9_950, "refund_settlement"),
    ]
    assert told(state.send(there)) == (["partially_refunded"], expected)
    (made,) = state.invoice(bill).refunds.values()
    assert (made.origin, made.status, made.refund_transaction) == ("provider", "succeeded", "r1")
    assert said(state.send(there)) == "duplicate"
    assert state.events()[-3:] == ["invoice.partially_refunded", "refund.succeeded", "wallet.changed"]
    state.check()


def test_our_own_refund_told_before_its_answer(state: State) -> None:
    """The notification overtakes the answer to our request: by payment and amount it is ours, and booked once."""
    bill = paid(state)
    back = asked(state, bill)
    there = refund_report(bill, None, "succeeded", transaction="r1", payment_transaction="p1")
    assert told(state.send(there))[0] == ["refunded"]
    assert said(state.send(refund_report(bill, back, "succeeded", transaction="r1"))) == "duplicate"
    assert len(state.invoice(bill).refunds) == 1
    state.check()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"status": "failed"}, "the refund is not known"),
        ({"refund_id": new_id()}, "the refund is not known"),
        ({"transaction": ""}, "a refund made at the provider has no id by which its repeat could be told"),
        ({"payment_transaction": "p2"}, "a refund made at the provider fits no payment of the invoice"),
        ({"shop": "other"}, "a refund made at the provider fits no payment of the invoice"),
        ({"provider": "wallet"}, "a refund made at the provider fits no payment of the invoice"),
        ({"amount_minor": 19_901}, "a refund made at the provider exceeds what was paid"),
        ({"currency": "USD"}, "a refund made at the provider exceeds what was paid"),
    ],
)
def test_refunds_that_fit_nothing_are_set_aside(state: State, changes: dict[str, Any], reason: str) -> None:
    """I-13: with their money and their reason."""
    bill = paid(state)
    terms: dict[str, Any] = {
        "refund_id": None,
        "status": "succeeded",
        "amount_minor": 19_900,
        "transaction": "r1",
        "payment_transaction": "p1",
    }
    assert said(state.send(refund_report(bill, **(terms | changes)))) == "poison"
    assert state.world.quarantined[0].reason == reason
    assert state.invoice(bill).refunds == {}


def test_of_an_unknown_invoice(state: State) -> None:
    assert said(state.send(refund_report(new_id(), new_id(), "succeeded"))) == "poison"
    assert said(state.send(dispute(new_id(), "lost"))) == "poison"


# From wallets and to them.


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
    assert state.events()[-3:] == ["invoice.partially_refunded", "refund.succeeded", "wallet.changed"]
    assert told(state.send(refund(bill, new_id())))[0] == ["refund_requested", "refunded"]
    assert state.world.balance(WALLET, "RUB") == 19_900
    there = refund_report(bill, None, "succeeded", 1, provider="wallet", shop=WALLET, transaction="r1")
    assert said(state.send(there)) == "poison"
    state.check()


def test_late_money_refunds(state: State) -> None:
    """A late payment's refund moves nothing of the invoice's; one that failed is made again by nobody silently."""
    bill = paid(state)
    state.send(report(bill, "succeeded", transaction="p2"))
    (back,) = state.invoice(bill).refunds
    failed = refund_report(bill, back, "failed")
    reversal = [(TRANSIT, "suspense:late", 19_900, "refund_reversal")]
    assert told(state.send(failed)) == (["refund_noted"], reversal)
    assert state.balance("suspense:late") == 19_900
    done = refund_report(bill, back, "succeeded", transaction="r2")
    expected = [("suspense:late", TRANSIT, 19_900, "refund"), (TRANSIT, SHOP, 19_900, "refund_settlement")]
    assert told(state.send(done)) == (["refund_noted"], expected)
    invoice = state.invoice(bill)
    assert (invoice.status, invoice.refunded_minor, invoice.refunding_minor) == ("paid", 0, 0)
    state.check()


def test_late_money_that_a_person_returns_in_the_providers_cabinet(state: State) -> None:
    """I-09: the refund failed with us; made by hand at the provider, it takes the money out of suspense, once."""
    bill = paid(state)
    state.send(report(bill, "succeeded", transaction="p2"))
    (back,) = state.invoice(bill).refunds
    state.send(refund_report(bill, back, "failed"))
    by_hand = refund_report(bill, None, "succeeded", transaction="r9", payment_transaction="p2")
    assert said(state.send(by_hand.model_copy(update={"amount_minor": 1}))) != "applied"
    expected = [("suspense:late", TRANSIT, 19_900, "refund"), (TRANSIT, SHOP, 19_900, "refund_settlement")]
    assert told(state.send(by_hand)) == (["refund_noted"], expected)
    assert said(state.send(by_hand)) == "duplicate"
    assert state.balance("suspense:late") == 0
    assert state.invoice(bill).refunds[back].status == "succeeded"
    assert state.invoice(bill).status == "paid"
    state.check()


def test_late_money_whose_refund_failed_is_sent_again(state: State) -> None:
    """I-09: a failed refund of late money is tried again under an id of its own, one at a time, until it is gone."""
    bill = paid(state)
    state.send(report(bill, "succeeded", transaction="p2"))
    (back,) = state.invoice(bill).refunds
    again = refund(bill, new_id()).model_copy(update={"retry_of": back})
    assert said(state.send(again)) == "illegal nothing_to_retry"
    state.send(refund_report(bill, back, "failed"))
    assert told(state.send(again)) == (["refund_noted"], [("suspense:late", TRANSIT, 19_900, "refund")])
    assert state.events()[-1] == "refund.requested"
    other = refund(bill, new_id()).model_copy(update={"retry_of": back})
    assert said(state.send(other)) == "illegal refund_under_way"
    assert told(state.send(refund_report(bill, again.refund_id, "succeeded", transaction="r3")))[0] == ["refund_noted"]
    assert state.balance("suspense:late") == 0
    assert said(state.send(other)) == "illegal refund_under_way"
    assert state.invoice(bill).status == "paid"
    state.check()
