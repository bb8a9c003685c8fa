"""Who may pay out of what, who must agree, and what may be done to a payout that stands somewhere."""

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import pytest

from copeck.kernel.errors import DomainError, InvalidValueError
from copeck.kernel.money import Money
from payments_gateway.domain import payouts
from payments_gateway.domain.payouts import (
    Caller,
    NotYoursError,
    OutcomeUnknownError,
    OwnPayoutError,
    PartOfBatchError,
    PayoutStatusError,
    Standing,
    needs_approval,
    source_account,
)

ANNA = UUID("0190a5b0-0000-7000-8000-000000000001")
BORIS = UUID("0190a5b0-0000-7000-8000-000000000002")
MANAGER = Caller(ANNA, frozenset({"customer", "manager"}))
MERCHANT = Caller(ANNA, frozenset({"customer", "merchant"}))
RECIPIENT = Caller(ANNA, frozenset({"customer", "recipient"}))
CUSTOMER = Caller(ANNA, frozenset({"customer"}))
OPERATOR = Caller(ANNA, frozenset({"operator"}))


@pytest.mark.parametrize(
    ("caller", "source", "account"),
    [
        (MANAGER, "house:payouts", "house:payouts"),
        (MANAGER, f"merchant:{BORIS}", f"merchant:{BORIS}"),
        (MANAGER, "wallet", f"wallet:{ANNA}"),
        (MERCHANT, f"merchant:{ANNA}", f"merchant:{ANNA}"),
        (MERCHANT, "wallet", f"wallet:{ANNA}"),
    ],
)
def test_a_source_is_an_account_of_whoever_may_spend_it(caller: Caller, source: str, account: str) -> None:
    assert source_account(source, caller) == account


@pytest.mark.parametrize(
    ("caller", "source", "error"),
    [
        (MERCHANT, "house:payouts", NotYoursError),
        (MERCHANT, f"merchant:{BORIS}", NotYoursError),
        (OPERATOR, "house:payouts", NotYoursError),
        (CUSTOMER, f"merchant:{ANNA}", NotYoursError),
        (MANAGER, f"wallet:{BORIS}", InvalidValueError),
        (MANAGER, "fees:commission", InvalidValueError),
        (MANAGER, "merchant:anna", InvalidValueError),
        (MANAGER, "", InvalidValueError),
    ],
)
def test_other_sources_are_refused(caller: Caller, source: str, error: type[DomainError]) -> None:
    with pytest.raises(error) as refused:
        source_account(source, caller)
    assert refused.value.field == "source"


@pytest.mark.parametrize(
    ("minor", "currency", "waits"),
    [(10_000_000, "RUB", False), (10_000_001, "RUB", True), (1, "USD", True), (500, "EUR", False)],
)
def test_a_second_manager_agrees_above_the_limit_and_where_there_is_none(
    minor: int, currency: str, *, waits: bool
) -> None:
    assert needs_approval(Money(minor, currency), {"RUB": 10_000_000, "EUR": 500}) is waits


@pytest.mark.parametrize(
    ("caller", "account", "recipient", "sees", "commands"),
    [
        (MANAGER, f"wallet:{BORIS}", None, True, True),
        (OPERATOR, f"wallet:{BORIS}", None, True, False),
        (MERCHANT, f"merchant:{ANNA}", None, True, True),
        (MERCHANT, f"merchant:{BORIS}", None, False, False),
        (MERCHANT, "house:payouts", ANNA, False, False),
        (RECIPIENT, "house:payouts", ANNA, True, False),
        (RECIPIENT, "house:payouts", BORIS, False, False),
        (RECIPIENT, "house:payouts", None, False, False),
        (CUSTOMER, f"wallet:{ANNA}", None, True, False),
        (CUSTOMER, f"merchant:{ANNA}", ANNA, False, False),
    ],
)
def test_who_sees_and_who_commands(
    caller: Caller, account: str, recipient: UUID | None, *, sees: bool, commands: bool
) -> None:
    assert caller.sees(account, recipient) is sees
    assert caller.commands(account) is commands


@pytest.mark.parametrize(
    ("caller", "account", "cancels"),
    [
        (CUSTOMER, f"wallet:{ANNA}", True),
        (MERCHANT, f"merchant:{ANNA}", True),
        (MANAGER, f"wallet:{BORIS}", True),
        (CUSTOMER, f"wallet:{BORIS}", False),
        (OPERATOR, f"wallet:{BORIS}", False),
        (RECIPIENT, "house:payouts", False),
    ],
)
def test_owners_call_their_own_withdrawals_off(caller: Caller, account: str, *, cancels: bool) -> None:
    assert caller.cancels(account) is cancels


def standing(status: str, **changes: object) -> Standing:
    """A payout that Boris asked for, in a status that the updater decided."""
    made = Standing(status=status, decided=True, requested_by=f"user:{BORIS}", draft=False, needs_approval=False)
    return replace(made, **changes)  # type: ignore[arg-type]


RULES: dict[str, tuple[Callable[[Standing], object], set[str]]] = {
    "submit": (payouts.check_submit, {"draft"}),
    "approve": (lambda now: payouts.check_approve(now, MANAGER), {"awaiting_approval"}),
    "cancel": (lambda now: payouts.check_cancel(now, MERCHANT), {"draft", "awaiting_approval", "pending"}),
    "retry": (payouts.check_retry, {"failed"}),
    "delete": (payouts.check_delete, {"draft", "canceled"}),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("status", payouts.STATUSES)
def test_each_rule_lets_its_own_statuses_through_and_no_other(rule: str, status: str) -> None:
    check, allowed = RULES[rule]
    if status in allowed:
        check(standing(status))
    else:
        with pytest.raises(PayoutStatusError):
            check(standing(status))


def test_nobody_approves_what_they_asked_for() -> None:
    with pytest.raises(OwnPayoutError):
        payouts.check_approve(standing("awaiting_approval", requested_by=MANAGER.actor), MANAGER)


def test_a_payout_whose_outcome_is_unknown_is_not_tried_again() -> None:
    for status in ("pending", "processing", "failed"):
        with pytest.raises(OutcomeUnknownError):
            payouts.check_retry(standing(status, outcome_unknown=True))


def test_a_payout_that_was_sent_is_not_canceled() -> None:
    with pytest.raises(PayoutStatusError):
        payouts.check_cancel(standing("pending", sent=True), MANAGER)


def test_managers_alone_stop_what_is_under_way() -> None:
    assert payouts.check_cancel(standing("processing"), MANAGER)
    assert not payouts.check_cancel(standing("pending"), MANAGER)
    for caller in (MERCHANT, CUSTOMER):
        with pytest.raises(PayoutStatusError):
            payouts.check_cancel(standing("processing"), caller)


def test_what_was_refused_as_it_was_asked_for_is_not_tried_again() -> None:
    with pytest.raises(PayoutStatusError):
        payouts.check_retry(standing("failed", decided=False))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"draft": True}, "draft"),
        ({"draft": True, "needs_approval": True}, "draft"),
        ({"needs_approval": True}, "awaiting_approval"),
        ({}, "pending"),
    ],
)
def test_who_is_quicker_than_the_updater_is_not_sent_away(changes: dict[str, bool], expected: str) -> None:
    now = standing("requested", decided=False, **changes)
    assert now.expected == expected
    payouts.check_cancel(now, CUSTOMER)


def test_payouts_of_a_waiting_batch_wait_with_it() -> None:
    now = standing("awaiting_approval", decided=False, in_waiting_batch=True)
    for rule in ("approve", "cancel", "delete"):
        with pytest.raises(PartOfBatchError):
            RULES[rule][0](now)


def test_every_code_has_words() -> None:
    assert "nothing was debited" in payouts.words_of("insufficient_funds")
    assert payouts.words_of("5051")
    assert payouts.words_of("") == ""
