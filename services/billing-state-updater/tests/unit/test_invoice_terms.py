"""Issue, cancel, expire, capture: what each comes to in every status of an invoice."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from copeck.contracts import commands
from copeck.kernel.ids import new_id
from tests.support.state import CUSTOMER, NOW, State, dispute, issue, refund, refund_report, report, said, told

STATUSES = (
    "issued",
    "pending",
    "authorized",
    "paid",
    "partially_refunded",
    "refunded",
    "canceled",
    "expired",
    "voided",
    "disputed",
    "charged_back",
)


@pytest.fixture
def state() -> State:
    return State()


def cancel(bill: UUID) -> commands.InvoiceCancel:
    return commands.InvoiceCancel(account=CUSTOMER, invoice_id=bill, reason="not wanted")


def expire(bill: UUID) -> commands.InvoiceExpire:
    return commands.InvoiceExpire(account=CUSTOMER, invoice_id=bill)


def capture(bill: UUID) -> commands.InvoiceCapture:
    return commands.InvoiceCapture(account=CUSTOMER, invoice_id=bill)


def invoice_in(state: State, status: str, **terms: Any) -> UUID:
    """Bring an invoice into a status by the commands that lead there."""
    bill = new_id()
    state.send(issue(bill, **terms))
    payment, back = new_id(), new_id()
    if status == "expired":
        state.world.now = NOW + timedelta(hours=2)
    paths: dict[str, list[Any]] = {
        "issued": [],
        "pending": [report(bill, "pending")],
        "authorized": [report(bill, "authorized")],
        "paid": [report(bill, "succeeded")],
        "partially_refunded": [
            report(bill, "succeeded"),
            refund(bill, back, 100),
            refund_report(bill, back, "succeeded", 100),
        ],
        "refunded": [report(bill, "succeeded"), refund(bill, back), refund_report(bill, back, "succeeded")],
        "canceled": [cancel(bill)],
        "expired": [expire(bill)],
        "voided": [report(bill, "authorized", payment), report(bill, "canceled", payment)],
        "disputed": [report(bill, "succeeded"), dispute(bill, "opened")],
        "charged_back": [report(bill, "succeeded"), dispute(bill, "lost")],
    }
    for command in paths[status]:
        assert said(state.send(command)) == "applied"
    assert state.invoice(bill).status == status
    return bill


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ({}, "applied"),
        ({"beneficiary": "merchant:m1", "commission_minor": 19_899}, "applied"),
        ({"beneficiary": "receivable:m1", "commission_minor": 100}, "applied"),
        ({"beneficiary": "wallet:anna", "late_policy": "wallet", "late_wallet": "wallet:anna"}, "applied"),
        ({"late_policy": "accept"}, "applied"),
        ({"beneficiary": "pocket:anna"}, "illegal unknown_account"),
        ({"beneficiary": "suspense:late"}, "illegal unknown_account"),
        ({"beneficiary": "payouts:in_transit"}, "illegal unknown_account"),
        ({"beneficiary": "provider:cloudpayments:main"}, "illegal unknown_account"),
        ({"commission_minor": 19_900}, "illegal commission_too_high"),
        ({"late_policy": "wallet"}, "illegal late_wallet_missing"),
        ({"late_policy": "wallet", "late_wallet": "merchant:m1"}, "illegal late_wallet_missing"),
        ({"kind": "coffee", "late_policy": "accept"}, "illegal late_policy_not_allowed"),
        ({"kind": "coffee", "late_policy": "wallet", "late_wallet": "wallet:anna"}, "illegal late_policy_not_allowed"),
        (
            {"beneficiary": "receivable:m1", "late_policy": "wallet", "late_wallet": "wallet:anna"},
            "illegal late_policy_not_allowed",
        ),
    ],
)
def test_issue(state: State, terms: dict[str, Any], expected: str) -> None:
    """Terms that could not be kept are refused; coffee's late money always goes back (I-09)."""
    bill = new_id()
    assert said(state.send(issue(bill, **terms))) == expected
    assert state.invoice(bill).version == (1 if expected == "applied" else 0)
    assert state.events() == (["invoice.issued"] if expected == "applied" else ["command.refused"])
    state.check()


def test_issue_again(state: State) -> None:
    """The id is the sender's: the same terms are a repeat, other terms a mistake, whatever became of the invoice."""
    for status in STATUSES:
        bill = invoice_in(state, status)
        version = state.invoice(bill).version
        assert said(state.send(issue(bill))) == "duplicate"
        assert said(state.send(issue(bill, amount_minor=1))) == "illegal already_issued"
        assert state.invoice(bill).version == version


CANCEL = {
    "issued": (["canceled"], "canceled"),
    "pending": (["canceled"], "canceled"),
    "canceled": "duplicate",
    "voided": "duplicate",
    "authorized": "illegal capture_in_progress",
}
EXPIRE = {"issued": (["expired"], "expired"), "pending": (["expired"], "expired"), "expired": "duplicate"}


@pytest.mark.parametrize("status", STATUSES)
def test_cancel(state: State, status: str) -> None:
    """Only what nobody paid is annulled; money that is being taken is refunded instead."""
    bill = invoice_in(state, status)
    outcome = state.send(cancel(bill))
    expected = CANCEL.get(status, "illegal not_cancelable")
    if isinstance(expected, str):
        assert said(outcome) == expected
        assert state.invoice(bill).status == status
    else:
        assert told(outcome) == (expected[0], [])
        assert (state.invoice(bill).status, state.invoice(bill).reason) == (expected[1], "not wanted")
        assert state.events()[-1] == "invoice.canceled"
    state.check()


@pytest.mark.parametrize("status", STATUSES)
def test_expire(state: State, status: str) -> None:
    """What is open ends when its time is over; anything else makes the tick old news."""
    bill = invoice_in(state, status)
    state.world.now = NOW + timedelta(hours=1)
    outcome = state.send(expire(bill))
    expected = EXPIRE.get(status, "stale")
    if isinstance(expected, str):
        assert said(outcome) == expected
        assert state.invoice(bill).status == status
    else:
        assert told(outcome) == (expected[0], [])
        assert state.invoice(bill).status == expected[1]
    state.check()


@pytest.mark.parametrize(("seconds", "expected"), [(-1, "illegal not_due"), (0, "applied"), (1, "applied")])
def test_expiry_is_judged_by_the_updater(state: State, seconds: int, expected: str) -> None:
    """An early tick of a clock that runs fast ends nothing."""
    bill = invoice_in(state, "issued")
    state.world.now = NOW + timedelta(hours=1, seconds=seconds)
    assert said(state.send(expire(bill))) == expected


@pytest.mark.parametrize("status", STATUSES)
def test_capture(state: State, status: str) -> None:
    """Held money is taken on request where its capture is manual; nothing else can be captured."""
    bill = invoice_in(state, status, capture="manual")
    outcome = state.send(capture(bill))
    if status == "authorized":
        assert told(outcome) == (["capture_requested"], [])
        assert state.events()[-1] == "invoice.capture_requested"
    else:
        assert said(outcome) == "illegal not_authorized"
    state.check()


def test_a_manual_hold_is_released(state: State) -> None:
    """Cancel asks the provider first; only its word ends the hold."""
    bill = invoice_in(state, "authorized", capture="manual")
    held = state.invoice(bill).payment_id
    assert told(state.send(cancel(bill))) == (["void_requested"], [])
    assert state.invoice(bill).status == "authorized"
    assert told(state.send(report(bill, "canceled", held))) == (["voided"], [])
    assert state.invoice(bill).status == "voided"
    state.check()


def test_an_automatic_hold_is_captured_at_once(state: State) -> None:
    """The capture follows the hold in the same commit; a provider may refuse it, so it can be asked for again."""
    bill = invoice_in(state, "authorized")
    assert [event for event, _ in state.chain(bill)] == ["issued", "authorized", "capture_requested"]
    assert state.events() == ["invoice.issued", "invoice.authorized", "invoice.capture_requested"]
    assert told(state.send(capture(bill))) == (["capture_requested"], [])


@pytest.mark.parametrize("make", [cancel, expire, capture, lambda bill: refund(bill, new_id())])
def test_commands_about_nothing_are_refused(state: State, make: Any) -> None:
    """A command about an invoice that does not exist is answered, and leaves no invoice behind."""
    assert said(state.send(make(new_id()))) == "illegal unknown_aggregate"
    assert state.world.transitions == []
    assert state.world.touched_invoices == {}
