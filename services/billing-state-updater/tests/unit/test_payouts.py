"""Payouts: every path, what its source pays and gets back, and every report in any order."""

from typing import Any
from uuid import UUID

import pytest

from billing_state_updater.domain.machines import PAYOUT_STATUSES
from copeck.contracts import commands
from copeck.kernel.ids import new_id
from tests.support.state import WALLET, Line, State, heard, payout, payout_report, said, told, wallet_open

TRANSIT = "payouts:in_transit"
FEES = "fees:commission"
SHOP = "provider:cloudpayments:main"
DEBIT: list[Line] = [(WALLET, TRANSIT, 5_000, "payout"), (WALLET, FEES, 100, "commission")]
CREDIT: list[Line] = [
    (FEES, WALLET, 100, "commission_reversal"),
    (TRANSIT, WALLET, 5_000, "payout_reversal"),
]
LACKING = ["approval_requested", "funds_lacking"]
PAID: list[Line] = [(TRANSIT, SHOP, 5_000, "payout_settlement")]


@pytest.fixture
def state() -> State:
    """Give Anna 200 roubles."""
    state = State()
    state.send(wallet_open(opening_minor=20_000))
    return state


def submit(key: UUID) -> commands.PayoutSubmit:
    return commands.PayoutSubmit(account=WALLET, payout_id=key)


def approve(key: UUID, actor: str = "user:boss") -> commands.PayoutApprove:
    return commands.PayoutApprove(account=WALLET, payout_id=key, actor=actor)


def cancel(key: UUID) -> commands.PayoutCancel:
    return commands.PayoutCancel(account=WALLET, payout_id=key, reason="changed my mind")


def retry(key: UUID) -> commands.PayoutRetry:
    return commands.PayoutRetry(account=WALLET, payout_id=key)


def payout_in(state: State, status: str) -> UUID:
    key = new_id()
    paths: dict[str, list[Any]] = {
        "draft": [payout(key, draft=True)],
        "awaiting_approval": [payout(key, needs_approval=True)],
        "pending": [payout(key)],
        "processing": [payout(key), payout_report(key, "processing")],
        "completed": [payout(key), payout_report(key, "completed")],
        "failed": [payout(key), payout_report(key, "failed")],
        "canceled": [payout(key), cancel(key)],
    }
    for command in paths[status]:
        assert said(state.send(command)) == "applied"
    assert state.payout(key).status == status
    return key


@pytest.mark.parametrize(
    ("terms", "steps", "lines", "event"),
    [
        ({}, ["requested"], DEBIT, "payout.pending"),
        ({"commission_minor": 0}, ["requested"], DEBIT[:1], "payout.pending"),
        ({"needs_approval": True}, ["approval_requested"], [], "payout.approval_requested"),
        ({"needs_approval": True, "amount_minor": 19_900}, ["approval_requested"], [], "payout.approval_requested"),
        ({"needs_approval": True, "amount_minor": 19_901}, LACKING, [], "payout.failed"),
        ({"needs_approval": True, "currency": "USD"}, LACKING, [], "payout.failed"),
        ({"needs_approval": True, "account": "merchant:m1"}, LACKING, [], "payout.failed"),
        (
            {"needs_approval": True, "account": "house:payouts", "amount_minor": 10**6},
            ["approval_requested"],
            [],
            "payout.approval_requested",
        ),
        ({"draft": True}, ["drafted"], [], "payout.drafted"),
        ({"amount_minor": 19_900}, ["requested"], [(WALLET, TRANSIT, 19_900, "payout"), DEBIT[1]], "payout.pending"),
        ({"amount_minor": 19_901}, ["requested", "funds_lacking"], [], "payout.failed"),
        ({"currency": "USD"}, ["requested", "funds_lacking"], [], "payout.failed"),
        (
            {"account": "house:payouts", "commission_minor": 0, "amount_minor": 10**6},
            ["requested"],
            [("house:payouts", TRANSIT, 10**6, "payout")],
            "payout.pending",
        ),
        ({"account": "merchant:m1"}, ["requested", "funds_lacking"], [], "payout.failed"),
    ],
)
def test_request(state: State, terms: dict[str, Any], steps: list[str], lines: list[Line], event: str) -> None:
    """The source is debited, commission and all, or nothing is (I-04); nobody is told to execute what is short."""
    key = new_id()
    seen = len(state.events())
    assert told(state.send(payout(key, **terms))) == (steps, lines)
    announced = [name for name in state.events()[seen:] if name.startswith("payout.")]
    assert announced == heard(event)
    assert state.payout(key).attempt == (1 if event == "payout.pending" else 0)
    assert state.payout(key).last_error == ("insufficient_funds" if event == "payout.failed" else "")
    state.check()


@pytest.mark.parametrize("account", ["revenue:subscription", "provider:cloudpayments:main", "customer:anna"])
def test_not_every_account_pays_out(state: State, account: str) -> None:
    assert said(state.send(payout(new_id(), account=account))) == "illegal unknown_source"


@pytest.mark.parametrize("status", PAYOUT_STATUSES)
def test_asked_twice(state: State, status: str) -> None:
    """The id is the sender's: the same terms are a repeat in every status, other terms are refused."""
    key = payout_in(state, status)
    before = len(state.world.postings)
    assert said(state.send(payout(key))) == "duplicate"
    assert said(state.send(payout(key, 1))) == "illegal already_requested"
    assert len(state.world.postings) == before


SUBMIT = {"draft": (["submitted"], DEBIT)}
APPROVE = {"awaiting_approval": (["approved"], DEBIT)}
RETRY = {"failed": (["retried"], DEBIT)}
CANCEL: dict[str, Any] = {
    "draft": (["canceled"], []),
    "awaiting_approval": (["canceled"], []),
    "pending": (["canceled"], CREDIT),
    "canceled": "duplicate",
}


@pytest.mark.parametrize("status", PAYOUT_STATUSES)
@pytest.mark.parametrize(
    ("make", "table", "refused"),
    [
        (submit, SUBMIT, "illegal not_a_draft"),
        (approve, APPROVE, "illegal not_awaiting_approval"),
        (retry, RETRY, "illegal not_failed"),
        (cancel, CANCEL, "illegal not_cancelable"),
    ],
)
def test_commands(state: State, status: str, make: Any, table: dict[str, Any], refused: str) -> None:
    """Each command in each status."""
    key = payout_in(state, status)
    outcome = state.send(make(key))
    expected = table.get(status, refused)
    if isinstance(expected, str):
        assert said(outcome) == expected
        assert state.payout(key).status == status
    else:
        assert told(outcome) == expected
    state.check()


@pytest.mark.parametrize("make", [submit, approve, retry, cancel])
def test_commands_about_nothing_are_refused(state: State, make: Any) -> None:
    assert said(state.send(make(new_id()))) == "illegal unknown_aggregate"


def test_approval_is_by_somebody_else(state: State) -> None:
    """Not by the one who asked, and not by nobody."""
    key = payout_in(state, "awaiting_approval")
    assert said(state.send(approve(key, "user:anna"))) == "illegal own_payout"
    assert said(state.send(approve(key, ""))) == "illegal own_payout"
    assert told(state.send(approve(key))) == (["approved"], DEBIT)
    assert state.payout(key).approved_by == "user:boss"


def test_a_draft_does_not_slip_past_its_approval(state: State) -> None:
    """A draft that needs a second person still needs one when it is submitted."""
    key = new_id()
    state.send(payout(key, draft=True, needs_approval=True))
    assert told(state.send(submit(key))) == (["approval_requested"], [])
    assert "payout.pending" not in state.events(), "nobody is told to execute it"
    assert said(state.send(submit(key))) == "illegal not_a_draft"
    assert told(state.send(approve(key))) == (["approved"], DEBIT)
    state.check()


@pytest.mark.parametrize("make", [submit, approve])
def test_the_source_may_be_short_by_then(state: State, make: Any) -> None:
    """The balance that counts is the one at the moment of the debit."""
    key = payout_in(state, "draft" if make is submit else "awaiting_approval")
    state.send(payout(new_id(), 19_000))
    assert told(state.send(make(key)))[0][-1] == "funds_lacking"
    assert state.payout(key).status == "failed"
    assert said(state.send(retry(key))) == "illegal insufficient_funds"
    state.check()


def test_a_draft_that_is_short_asks_nobody(state: State) -> None:
    """It fails as it is submitted, and is announced as the failure only."""
    key = new_id()
    state.send(payout(key, 19_901, draft=True, needs_approval=True))
    seen = len(state.events())
    assert told(state.send(submit(key))) == (LACKING, [])
    assert state.events()[seen:] == heard("payout.failed")
    assert said(state.send(approve(key))) == "illegal not_awaiting_approval"
    state.check()


def test_a_retry_does_not_skip_the_second_person(state: State) -> None:
    """What failed before anybody approved it waits for approval, and is debited by that alone."""
    key, other = new_id(), new_id()
    state.send(payout(other, 19_000))
    state.send(payout(key, needs_approval=True))
    assert said(state.send(retry(key))) == "illegal insufficient_funds"
    state.send(cancel(other))
    assert told(state.send(retry(key))) == (["approval_requested"], [])
    assert state.events().count("payout.pending") == 1, "of the other: nobody is told to execute this one"
    found = state.payout(key)
    assert (found.status, found.attempt, found.last_error, found.approved_by) == ("awaiting_approval", 0, "", "")
    assert said(state.send(approve(key, "user:anna"))) == "illegal own_payout"
    assert told(state.send(approve(key))) == (["approved"], DEBIT)
    assert (state.payout(key).status, state.payout(key).attempt) == ("pending", 1)
    state.check()


@pytest.mark.parametrize("short", [False, True])
def test_what_was_approved_is_retried_without_asking_again(state: State, short: bool) -> None:
    """The second person agreed to the payout, not to one try of it, and also where it was short by then."""
    key, other = payout_in(state, "awaiting_approval"), new_id()
    if short:
        state.send(payout(other, 19_000))
    state.send(approve(key))
    state.send(cancel(other) if short else payout_report(key, "failed"))
    assert state.payout(key).status == "failed"
    assert told(state.send(retry(key))) == (["retried"], DEBIT)
    assert state.payout(key).attempt == (1 if short else 2)
    state.check()


REPORTS: dict[tuple[str, str], Any] = {
    ("pending", "processing"): (["started"], []),
    ("pending", "unknown"): (["outcome_unknown"], []),
    ("pending", "completed"): (["completed"], PAID),
    ("pending", "failed"): (["failed"], CREDIT),
    ("processing", "processing"): "duplicate",
    ("processing", "unknown"): (["outcome_unknown"], []),
    ("processing", "completed"): (["completed"], PAID),
    ("processing", "failed"): (["failed"], CREDIT),
    ("completed", "completed"): "duplicate",
    ("failed", "failed"): "duplicate",
    # It was given back, and was paid out after all.
    ("failed", "completed"): (["completed"], [*DEBIT, *PAID]),
    ("canceled", "completed"): (["completed"], [*DEBIT, *PAID]),
}


@pytest.mark.parametrize("status", ["pending", "processing", "completed", "failed", "canceled"])
@pytest.mark.parametrize("report", ["processing", "completed", "failed", "unknown"])
def test_reports(state: State, status: str, report: str) -> None:
    """I-06 for payouts: the same news once, older news never, money that left always."""
    key = payout_in(state, status)
    outcome = state.send(payout_report(key, report, transaction="x1"))
    expected = REPORTS.get((status, report), "stale")
    if isinstance(expected, str):
        assert said(outcome) == expected
        assert state.payout(key).status == status
    else:
        assert told(outcome) == expected
    underway = state.payout(key).status in ("pending", "processing")
    assert state.balance(TRANSIT) == (5_000 if underway else 0)
    state.check()


def test_an_unknown_outcome_is_neither_retried_nor_canceled(state: State) -> None:
    """I-08: nothing is debited again meanwhile, and news ends it."""
    key = payout_in(state, "pending")
    state.send(payout_report(key, "unknown"))
    assert said(state.send(payout_report(key, "unknown"))) == "duplicate"
    assert said(state.send(retry(key))) == "illegal outcome_unknown"
    assert said(state.send(cancel(key))) == "illegal not_cancelable"
    assert told(state.send(payout_report(key, "completed", transaction="x1"))) == (["completed"], PAID)
    assert (state.payout(key).outcome_unknown, state.payout(key).transaction) == (False, "x1")
    state.check()


def test_a_retry_is_a_new_attempt(state: State) -> None:
    """The source is debited again; late news of the first attempt is old, but money that it moved is not lost."""
    key = payout_in(state, "failed")
    assert told(state.send(retry(key))) == (["retried"], DEBIT)
    assert state.payout(key).attempt == 2
    assert said(state.send(payout_report(key, "failed", 1))) == "stale"
    assert said(state.send(payout_report(key, "completed", 1))) == "poison"
    assert said(state.send(payout_report(key, "processing", 3))) == "stale"
    assert told(state.send(payout_report(key, "completed", 2))) == (["completed"], PAID)
    state.check()


def test_a_retry_is_refused_while_the_source_is_short(state: State) -> None:
    key = payout_in(state, "failed")
    state.send(payout(new_id(), 15_000))
    assert said(state.send(retry(key))) == "illegal insufficient_funds"
    assert state.payout(key).attempt == 1


def test_paid_out_after_the_wallet_was_spent(state: State) -> None:
    """The wallet gives what it has, without a commission; the rest is our loss, and the books say so."""
    key = payout_in(state, "canceled")
    state.send(payout(new_id(), 16_000))
    lines = [(WALLET, TRANSIT, 3_900, "payout"), ("losses:chargeback", TRANSIT, 1_100, "payout"), *PAID]
    assert told(state.send(payout_report(key, "completed"))) == (["completed"], lines)
    assert state.world.balance(WALLET, "RUB") == 0
    state.check()


def test_the_transaction_is_kept(state: State) -> None:
    """News without the provider's id does not erase the one that is known."""
    key = payout_in(state, "pending")
    state.send(payout_report(key, "processing", transaction="x1"))
    state.send(payout_report(key, "failed", failure_code="closed"))
    assert (state.payout(key).transaction, state.payout(key).last_error) == ("x1", "closed")


def test_of_an_unknown_payout(state: State) -> None:
    assert said(state.send(payout_report(new_id(), "completed"))) == "poison"
