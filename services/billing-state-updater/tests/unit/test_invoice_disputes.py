"""Disputes: opened, won, lost; what the bank took, and who bears it."""

from typing import Any

import pytest

from copeck.kernel.ids import new_id
from tests.support.state import (
    CUSTOMER,
    REVENUE,
    SHOP,
    WALLET,
    Line,
    State,
    asked,
    dispute,
    filled,
    paid,
    payout,
    refund,
    refund_report,
    said,
    told,
)


@pytest.fixture
def state() -> State:
    return State()


def test_won(state: State) -> None:
    """Opened and won: the invoice is paid again, the books never moved; late news of it opens nothing."""
    bill = paid(state)
    assert told(state.send(dispute(bill, "opened"))) == (["dispute_opened"], [])
    assert said(state.send(dispute(bill, "opened"))) == "duplicate"
    assert said(state.send(refund(bill, new_id()))) == "illegal not_refundable"
    assert told(state.send(dispute(bill, "won"))) == (["dispute_won"], [])
    assert state.invoice(bill).status == "paid"
    for outcome in ("opened", "won", "opened"):
        assert said(state.send(dispute(bill, outcome))) == "duplicate"
    assert told(state.send(dispute(bill, "opened", transaction="d2")))[0] == ["dispute_opened"]
    state.check()


@pytest.mark.parametrize("opened", [True, False])
def test_lost(state: State, opened: bool) -> None:
    """The bank took the money; a loss that nobody announced opens and ends the dispute at once."""
    bill = paid(state)
    if opened:
        state.send(dispute(bill, "opened"))
    steps = ["charged_back"] if opened else ["dispute_opened", "charged_back"]
    assert told(state.send(dispute(bill, "lost"))) == (steps, [(REVENUE, SHOP, 19_900, "chargeback")])
    assert state.events()[-1] == "invoice.charged_back"
    assert said(state.send(dispute(bill, "lost"))) == "duplicate"
    assert said(state.send(dispute(bill, "opened"))) == "stale"
    state.check()


@pytest.mark.parametrize(
    ("amount", "lines"),
    [
        (9_900, [(REVENUE, SHOP, 9_900, "chargeback")]),
        (19_900, [(REVENUE, SHOP, 14_900, "chargeback"), ("losses:chargeback", SHOP, 5_000, "chargeback")]),
    ],
)
def test_what_the_bank_took_is_what_is_booked(state: State, amount: int, lines: list[Line]) -> None:
    """After a refund of 50 roubles: a part of the rest, or more than the rest, which is our loss."""
    bill = paid(state)
    state.send(refund_report(bill, asked(state, bill, 5_000), "succeeded", 5_000))
    assert told(state.send(dispute(bill, "lost", amount)))[1] == lines
    state.check()


def test_a_wallet_gives_what_it_has(state: State) -> None:
    """A top-up was spent and then charged back: what the wallet lacks is our loss (I-04)."""
    bill = filled(state)
    state.send(payout(new_id(), 5_000))
    lines = [(WALLET, SHOP, 4_700, "chargeback"), ("losses:chargeback", SHOP, 5_300, "chargeback")]
    assert told(state.send(dispute(bill, "lost", 10_000)))[1] == lines
    assert state.world.balance(WALLET, "RUB") == 0
    state.check()


@pytest.mark.parametrize(("part", "status"), [(0, "paid"), (5_000, "partially_refunded"), (19_900, "refunded")])
def test_a_refund_ends_during_a_dispute(state: State, part: int, status: str) -> None:
    """Won, the invoice is where its refunds left it, those included that were made meanwhile."""
    bill = paid(state)
    back = asked(state, bill, part) if part else None
    state.send(dispute(bill, "opened"))
    if back:
        assert told(state.send(refund_report(bill, back, "succeeded", part)))[0] == ["refund_noted"]
    state.send(dispute(bill, "won"))
    assert state.invoice(bill).status == status
    state.check()


@pytest.mark.parametrize("changes", [{"shop": "other"}, {"provider": "wallet"}, {"currency": "USD"}])
@pytest.mark.parametrize("outcome", ["opened", "won", "lost"])
def test_disputes_that_fit_nothing_are_set_aside(state: State, changes: dict[str, Any], outcome: str) -> None:
    bill = paid(state)
    assert said(state.send(dispute(bill, outcome, **changes))) == "poison"
    assert state.invoice(bill).status == "paid"


def test_a_chargeback_of_what_is_refunded_is_set_aside(state: State) -> None:
    """The payer got the money twice: the books cannot say from whom, a person has to."""
    bill = paid(state)
    state.send(refund_report(bill, asked(state, bill), "succeeded"))
    assert said(state.send(dispute(bill, "opened"))) == "stale"
    assert said(state.send(dispute(bill, "lost"))) == "poison"


def test_at_the_merchants_own_shop_the_dispute_is_its_own(state: State) -> None:
    bill = paid(state, beneficiary="receivable:m1", commission_minor=400)
    assert told(state.send(dispute(bill, "lost"))) == (["dispute_opened", "charged_back"], [])
    assert state.invoice(bill).account == CUSTOMER
    state.check()
