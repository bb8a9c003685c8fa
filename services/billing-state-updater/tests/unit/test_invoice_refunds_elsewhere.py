"""Refunds made at the provider without our asking, and of late money that nobody asked for."""

from typing import Any

import pytest

from copeck.kernel.ids import new_id
from tests.support.state import (
    SHOP,
    Line,
    State,
    asked,
    dispute,
    heard,
    paid,
    refund,
    refund_report,
    report,
    said,
    told,
)

TRANSIT = "refunds:in_transit"
FEES = "fees:commission"


@pytest.fixture
def state() -> State:
    return State()


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
    expected = heard("invoice.partially_refunded", "refund.succeeded")
    assert state.events()[-len(expected) :] == expected
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
