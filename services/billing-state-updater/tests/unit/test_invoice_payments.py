"""Payment reports: money, holds, failures; money that is late, double or of another amount, by each policy (I-09)."""

from typing import Any
from uuid import UUID

import pytest

from billing_state_updater.domain.machines import PAYMENT, PAYMENT_STATUSES
from copeck.contracts import commands
from copeck.kernel.ids import new_id
from tests.support.state import (
    CUSTOMER,
    REVENUE,
    SHOP,
    WALLET,
    Line,
    State,
    issue,
    report,
    said,
    told,
    top_up,
    wallet_open,
    wallet_pay,
)

LATE = "suspense:late"
TRANSIT = "refunds:in_transit"
MONEY: list[Line] = [(SHOP, REVENUE, 19_900, "payment")]


@pytest.fixture
def state() -> State:
    return State()


def issued(state: State, **terms: Any) -> UUID:
    bill = new_id()
    assert said(state.send(issue(bill, **terms))) == "applied"
    return bill


def ended(state: State, status: str, **terms: Any) -> UUID:
    """Make an invoice that ended before its money came."""
    bill = issued(state, **terms)
    if status == "canceled":
        state.send(commands.InvoiceCancel(account=CUSTOMER, invoice_id=bill))
    elif status == "expired":
        now, state.world.now = state.world.now, state.world.now.replace(year=2027)
        state.send(commands.InvoiceExpire(account=CUSTOMER, invoice_id=bill))
        state.world.now = now
    elif status == "voided":
        hold = new_id()
        state.send(report(bill, "authorized", hold))
        state.send(report(bill, "canceled", hold))
    elif status == "paid":
        state.send(report(bill, "succeeded"))
    assert state.invoice(bill).status == status
    return bill


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ({}, MONEY),
        (
            {"beneficiary": "merchant:m1", "commission_minor": 400},
            [(SHOP, "merchant:m1", 19_900, "payment"), ("merchant:m1", "fees:commission", 400, "commission")],
        ),
        (
            {"beneficiary": "receivable:m1", "commission_minor": 400},
            [("receivable:m1", "fees:commission", 400, "commission")],
        ),
        ({"beneficiary": "receivable:m1"}, []),
        (
            {"beneficiary": WALLET, "commission_minor": 398},
            [(SHOP, WALLET, 19_900, "payment"), (WALLET, "fees:commission", 398, "commission")],
        ),
    ],
)
def test_money_is_booked_for_its_purpose(state: State, terms: dict[str, Any], expected: list[Line]) -> None:
    """Each row of the design's table of the books."""
    bill = issued(state, **terms)
    payment = new_id()
    assert told(state.send(report(bill, "succeeded", payment, method="visa 4242"))) == (["paid"], expected)
    invoice = state.invoice(bill)
    assert (invoice.status, invoice.payment_id, invoice.method) == ("paid", payment, "visa 4242")
    assert invoice.payments[payment].status == "succeeded"
    assert not invoice.payments[payment].late
    assert "invoice.paid" in state.events()
    state.check()


def test_the_payer_may_try_again(state: State) -> None:
    """A failed attempt does not end the invoice, and says why; the next one may pay it."""
    bill = issued(state)
    first, second = new_id(), new_id()
    assert told(state.send(report(bill, "pending", first))) == (["attempt_started"], [])
    failed = report(bill, "failed", first, failure_code="5051", failure_reason="insufficient funds")
    assert told(state.send(failed)) == (["attempt_failed"], [])
    assert (state.invoice(bill).status, state.invoice(bill).failure_code) == ("pending", "5051")
    assert told(state.send(report(bill, "succeeded", second))) == (["paid"], MONEY)
    assert state.invoice(bill).failure_code == ""
    assert state.events() == ["invoice.issued", "invoice.pending", "invoice.payment_failed", "invoice.paid"]
    state.check()


def test_an_unknown_outcome_is_not_a_failure(state: State) -> None:
    """I-08: unknown keeps the invoice payable and is ended by news only."""
    bill = issued(state)
    attempt = new_id()
    assert told(state.send(report(bill, "unknown", attempt))) == (["attempt_unknown"], [])
    assert state.invoice(bill).status == "pending"
    assert said(state.send(report(bill, "unknown", attempt))) == "duplicate"
    assert told(state.send(report(bill, "succeeded", attempt))) == (["paid"], MONEY)
    state.check()


@pytest.mark.parametrize("before", [status for status in PAYMENT_STATUSES if status != "created"])
@pytest.mark.parametrize("after", ["pending", "authorized", "succeeded", "failed", "canceled", "unknown"])
def test_reports_in_any_order(state: State, before: str, after: str) -> None:
    """I-06: the same news is a duplicate, older news is stale, and money is booked once whatever comes around it."""
    bill = issued(state)
    attempt = new_id()
    assert said(state.send(report(bill, before, attempt))) == "applied"
    outcome = said(state.send(report(bill, after, attempt)))
    if (before, after) in PAYMENT:
        assert outcome == "applied"
        assert state.invoice(bill).payments[attempt].status == after
    else:
        assert outcome == ("duplicate" if before == after else "stale")
        assert state.invoice(bill).payments[attempt].status == before
    assert state.balance(REVENUE) == (19_900 if "succeeded" in (before, after) else 0)
    state.check()


def test_money_after_the_contrary(state: State) -> None:
    """Failed, then succeeded: the provider's word that money was taken is never ignored."""
    bill = issued(state)
    attempt = new_id()
    state.send(report(bill, "failed", attempt))
    assert told(state.send(report(bill, "succeeded", attempt))) == (["paid"], MONEY)


def test_the_same_transaction_under_another_id(state: State) -> None:
    """A callback that did not know our attempt and a poll that did speak of one transaction: one effect."""
    bill = issued(state)
    assert said(state.send(report(bill, "succeeded", transaction="77"))) == "applied"
    assert said(state.send(report(bill, "succeeded", transaction="77"))) == "duplicate"
    assert said(state.send(report(bill, "failed", transaction="77"))) == "stale"
    assert state.balance(SHOP) == -19_900
    state.check()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"provider": "wallet", "shop": "wallet:anna"}, "no provider speaks for our own wallets"),
        ({"transaction": "another"}, "the attempt belongs to another transaction of the provider"),
    ],
)
def test_reports_that_cannot_be_true_are_set_aside(state: State, changes: dict[str, Any], reason: str) -> None:
    """Nobody forges a payment from a wallet, and a second transaction under one attempt is not swallowed."""
    bill = issued(state)
    attempt = new_id()
    state.send(report(bill, "pending", attempt))
    assert said(state.send(report(bill, "succeeded", attempt, **changes))) == "poison"
    assert [row.reason for row in state.world.quarantined] == [reason]
    assert state.world.postings == []


@pytest.mark.parametrize("make", [lambda bill: report(bill, "succeeded"), wallet_pay])
def test_money_for_an_unknown_invoice_is_set_aside(state: State, make: Any) -> None:
    """I-13: it is kept with its reason, and nothing is booked."""
    assert said(state.send(make(new_id()))) == "poison"
    assert state.world.quarantined[0].reason == "the invoice is not known"
    assert state.world.postings == []


ENDS = ["canceled", "expired", "voided", "paid"]


@pytest.mark.parametrize("status", ENDS)
def test_late_money_is_refunded(state: State, status: str) -> None:
    """I-09, policy `refund`: suspense, and out of it by itself; the invoice stays what it was."""
    bill = ended(state, status)
    attempt = new_id()
    arrived = [(SHOP, LATE, 19_900, "late_payment"), (LATE, TRANSIT, 19_900, "refund")]
    assert told(state.send(report(bill, "succeeded", attempt))) == (["late_payment_received"], arrived)
    invoice = state.invoice(bill)
    (refund,) = invoice.refunds.values()
    assert invoice.status == status
    assert invoice.payments[attempt].late
    assert (refund.origin, refund.source, refund.payment_id, refund.status) == (
        "late_payment",
        LATE,
        attempt,
        "requested",
    )
    assert state.events()[-2:] == ["invoice.late_payment_received", "refund.requested"]
    assert state.balance(LATE) == 0
    assert said(state.send(report(bill, "succeeded", attempt))) == "duplicate"
    state.check()


@pytest.mark.parametrize("status", ENDS)
def test_late_money_goes_to_the_wallet(state: State, status: str) -> None:
    """I-09, policy `wallet`."""
    bill = ended(state, status, late_policy="wallet", late_wallet=WALLET)
    arrived = [(SHOP, LATE, 19_900, "late_payment"), (LATE, WALLET, 19_900, "late_to_wallet")]
    assert told(state.send(report(bill, "succeeded"))) == (["late_payment_received"], arrived)
    assert state.invoice(bill).status == status
    assert state.world.balance(WALLET, "RUB") == 19_900
    assert state.balance(LATE) == 0
    state.check()


@pytest.mark.parametrize("status", ENDS)
def test_a_late_deposit_is_a_deposit(state: State, status: str) -> None:
    """I-09, policy `wallet`: the wallet that the invoice was to fill is filled, less the commission, if it never was.

    What comes beside it, or is of another amount, belongs to the payer whole.
    """
    bill = ended(state, status, beneficiary=WALLET, commission_minor=398, late_policy="wallet", late_wallet=WALLET)
    arrived = (SHOP, LATE, 19_900, "late_payment")
    whole = (["late_payment_received"], [arrived, (LATE, WALLET, 19_900, "late_to_wallet")])
    if status != "paid":
        other = told(state.send(report(bill, "succeeded", amount_minor=100)))
        assert other == (
            ["late_payment_received"],
            [(SHOP, LATE, 100, "late_payment"), (LATE, WALLET, 100, "late_to_wallet")],
        )
        assert told(state.send(report(bill, "succeeded"))) == (
            ["late_payment_received", "late_accepted"],
            [arrived, (LATE, WALLET, 19_900, "payment"), (WALLET, "fees:commission", 398, "commission")],
        )
        assert state.events()[-1] == "invoice.paid"
    assert state.invoice(bill).status == "paid"
    assert told(state.send(report(bill, "succeeded"))) == whole
    assert state.balance("fees:commission") == 398
    assert state.balance(LATE) == 0
    state.check()


@pytest.mark.parametrize("status", ENDS)
def test_late_money_is_accepted(state: State, status: str) -> None:
    """I-09, policy `accept`: the invoice is paid after all, but only if nothing else paid it."""
    bill = ended(state, status, late_policy="accept")
    attempt = new_id()
    steps, lines = told(state.send(report(bill, "succeeded", attempt)))
    arrived = (SHOP, LATE, 19_900, "late_payment")
    if status == "paid":
        assert (steps, lines) == (["late_payment_received"], [arrived, (LATE, TRANSIT, 19_900, "refund")])
        assert state.invoice(bill).payment_id != attempt
    else:
        assert (steps, lines) == (
            ["late_payment_received", "late_accepted"],
            [arrived, (LATE, REVENUE, 19_900, "payment")],
        )
        assert (state.invoice(bill).status, state.invoice(bill).payment_id) == ("paid", attempt)
        assert state.events()[-1] == "invoice.paid"
        # What comes after that is late again, and goes back.
        state.send(report(bill, "succeeded"))
        assert state.balance(TRANSIT) == 19_900
    assert state.balance(LATE) == 0
    assert state.balance(REVENUE) == 19_900
    state.check()


def test_late_money_at_the_merchants_own_shop(state: State) -> None:
    """Accepted, it is the merchant's already: only the commission is booked, and suspense is left empty."""
    bill = ended(state, "expired", beneficiary="receivable:m1", commission_minor=400, late_policy="accept")
    expected = [("receivable:m1", "fees:commission", 400, "commission")]
    assert told(state.send(report(bill, "succeeded"))) == (["late_payment_received", "late_accepted"], expected)
    assert state.balance(LATE) == 0
    state.check()


@pytest.mark.parametrize(
    "changes", [{"amount_minor": 19_899}, {"amount_minor": 19_901}, {"amount_minor": 39_800}, {"currency": "USD"}]
)
@pytest.mark.parametrize("policy", ["refund", "wallet", "accept"])
def test_another_amount_pays_nothing(state: State, changes: dict[str, Any], policy: str) -> None:
    """Money that does not fit is never taken for the invoice's, not even where late money is accepted."""
    bill = issued(state, late_policy=policy, late_wallet=WALLET if policy == "wallet" else None)
    amount, currency = changes.get("amount_minor", 19_900), changes.get("currency", "RUB")
    steps, lines = told(state.send(report(bill, "succeeded", **changes)))
    assert steps == ["late_payment_received"]
    assert lines[0] == (SHOP, LATE, amount, "late_payment")
    assert lines[1][:3] == (LATE, WALLET if policy == "wallet" else TRANSIT, amount)
    assert state.balance(LATE, currency) == 0
    assert state.invoice(bill).status == "issued"
    # The invoice is still open, and the right amount pays it.
    assert told(state.send(report(bill, "succeeded"))) == (["paid"], MONEY)
    state.check()


def test_money_while_other_money_is_held(state: State) -> None:
    """A second card is charged while the first one's money is held: the second goes back, the hold goes on."""
    bill = issued(state)
    held, other = new_id(), new_id()
    state.send(report(bill, "authorized", held))
    assert told(state.send(report(bill, "succeeded", other)))[0] == ["late_payment_received"]
    assert state.invoice(bill).status == "authorized"
    assert told(state.send(report(bill, "succeeded", held))) == (["paid"], MONEY)
    state.check()


def test_a_capture_of_another_amount_ends_the_hold(state: State) -> None:
    """The money goes back and the invoice does not wait for a hold that is gone."""
    bill = issued(state)
    held = new_id()
    state.send(report(bill, "authorized", held))
    steps, lines = told(state.send(report(bill, "succeeded", held, amount_minor=10_000)))
    assert steps == ["late_payment_received", "voided"]
    assert lines == [(SHOP, LATE, 10_000, "late_payment"), (LATE, TRANSIT, 10_000, "refund")]
    assert state.invoice(bill).status == "voided"
    state.check()


@pytest.mark.parametrize("status", ["canceled", "expired", "paid", "authorized"])
def test_a_hold_that_is_not_wanted_is_released(state: State, status: str) -> None:
    """A hold for an invoice that cannot take it is released, and the invoice stays what it was."""
    bill = issued(state) if status == "authorized" else ended(state, status)
    if status == "authorized":
        state.send(report(bill, "authorized"))
    hold = new_id()
    assert told(state.send(report(bill, "authorized", hold))) == (["hold_release_requested"], [])
    assert state.invoice(bill).status == status
    assert state.events()[-1] == "invoice.void_requested"
    # Released, or captured against our wish: then it is late money.
    assert told(state.send(report(bill, "canceled", hold))) == (["attempt_noted"], [])
    assert state.invoice(bill).payments[hold].late
    assert told(state.send(report(bill, "succeeded", hold)))[0] == ["late_payment_received"]
    state.check()


def test_a_hold_in_doubt_is_not_released(state: State) -> None:
    """The outcome of a capture was unknown, and the provider says that the money is still held: it is ours to take."""
    bill = issued(state)
    held = new_id()
    state.send(report(bill, "authorized", held))
    assert told(state.send(report(bill, "unknown", held))) == (["attempt_noted"], [])
    assert told(state.send(report(bill, "authorized", held))) == (["attempt_noted"], [])
    assert "invoice.void_requested" not in state.events()
    assert told(state.send(report(bill, "succeeded", held))) == (["paid"], MONEY)
    state.check()


@pytest.mark.parametrize("status", ["issued", "expired"])
def test_a_hold_after_a_failure(state: State, status: str) -> None:
    """Failed, then held after all: the money is taken for an open invoice, and released where nobody wants it."""
    bill, attempt = issued(state), new_id()
    state.send(report(bill, "failed", attempt))
    if status == "expired":
        state.world.now = state.world.now.replace(year=2027)
        state.send(commands.InvoiceExpire(account=CUSTOMER, invoice_id=bill))
    steps = ["authorized", "capture_requested"] if status == "issued" else ["hold_release_requested"]
    assert told(state.send(report(bill, "authorized", attempt))) == (steps, [])
    assert state.invoice(bill).status == ("authorized" if status == "issued" else "expired")
    event = "invoice.capture_requested" if status == "issued" else "invoice.void_requested"
    assert state.events()[-1] == event
    state.check()


@pytest.mark.parametrize("status", ["failed", "canceled"])
def test_a_hold_that_fell_away_voids(state: State, status: str) -> None:
    """The provider gave the money back: the invoice is over."""
    bill = issued(state)
    held = new_id()
    state.send(report(bill, "authorized", held))
    assert told(state.send(report(bill, status, held))) == (["voided"], [])
    assert (state.invoice(bill).status, state.events()[-1]) == ("voided", "invoice.voided")


def test_paid_from_the_wallet(state: State) -> None:
    """Whole, at once, and once."""
    state.send(wallet_open(opening_minor=20_000))
    bill = issued(state)
    payment = new_id()
    expected = (["paid"], [(WALLET, REVENUE, 19_900, "payment")])
    assert told(state.send(wallet_pay(bill, payment))) == expected
    assert (state.invoice(bill).provider, state.invoice(bill).shop) == ("wallet", WALLET)
    assert said(state.send(wallet_pay(bill, payment))) == "duplicate"
    assert said(state.send(wallet_pay(bill))) == "illegal not_payable"
    assert state.world.balance(WALLET, "RUB") == 100
    state.check()


@pytest.mark.parametrize(
    ("terms", "wallet", "opening", "expected"),
    [
        ({}, WALLET, 19_899, "illegal insufficient_funds"),
        ({"currency": "USD"}, WALLET, 19_900, "illegal insufficient_funds"),
        ({}, "merchant:m1", 0, "illegal not_a_wallet"),
        ({"beneficiary": WALLET}, WALLET, 19_900, "illegal not_a_wallet"),
        ({"beneficiary": "receivable:m1", "commission_minor": 1}, WALLET, 19_900, "illegal not_payable_from_wallet"),
    ],
)
def test_refused_wallet_payments(state: State, terms: dict[str, Any], wallet: str, opening: int, expected: str) -> None:
    """What a wallet lacks, or what is not its to pay, changes nothing (I-04)."""
    state.send(wallet_open(opening_minor=opening))
    bill = issued(state, **terms)
    before = len(state.world.postings)
    assert said(state.send(wallet_pay(bill, wallet=wallet))) == expected
    assert len(state.world.postings) == before
    assert state.invoice(bill).status == "issued"
    state.check()


def test_a_wallet_pays_its_neighbours_top_up(state: State) -> None:
    """Money moves from wallet to wallet, the commission from the one that gets it."""
    state.send(wallet_open(opening_minor=10_000))
    bill = new_id()
    state.send(top_up(bill, beneficiary="wallet:boris"))
    lines = [(WALLET, "wallet:boris", 10_000, "payment"), ("wallet:boris", "fees:commission", 200, "commission")]
    assert told(state.send(wallet_pay(bill))) == (["paid"], lines)
    assert state.world.balance("wallet:boris", "RUB") == 9_800
    state.check()
