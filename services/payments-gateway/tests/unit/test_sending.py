"""Whether money may be sent now: every pair of a payout's status and try, the memory of keys, waits and balances."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from copeck.kernel.ids import new_id
from copeck.kernel.money import Money
from payments_gateway.domain.models import Operation, OperationKind, OperationStatus
from payments_gateway.domain.operations import Outcome, exhausted
from payments_gateway.domain.sending import (
    Balances,
    PayoutState,
    Start,
    put_off_s,
    refund_repeatable,
    repeatable,
    start_of,
)

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR, SETTLES = timedelta(minutes=55), timedelta(minutes=6)
PAYOUT = Operation(
    id=new_id(), kind=OperationKind.PAYOUT, invoice_id=None, account="house:payouts", provider="mock", shop="main",
    amount=Money(1010, "RUB"), idempotency_key="payout:1:2", status=OperationStatus.READY, next_at=NOW, created_at=NOW,
    payout_id=new_id(), payout_attempt=2,
)  # fmt: skip
KEY = ("mock", "main", "RUB")


@pytest.mark.parametrize(
    ("status", "attempt", "reported", "wanted"),
    [
        ("pending", 2, None, Start.ANNOUNCE),
        ("pending", 2, "processing", Start.WAIT),
        ("processing", 2, "processing", Start.GO),
        ("processing", 2, None, Start.GO),
        ("canceled", 2, "processing", Start.SUPERSEDED),
        ("failed", 2, "processing", Start.SUPERSEDED),
        ("completed", 2, "processing", Start.SUPERSEDED),
        ("draft", 2, None, Start.SUPERSEDED),
        ("awaiting_approval", 2, None, Start.SUPERSEDED),
        ("processing", 3, "processing", Start.SUPERSEDED),
        ("pending", 3, None, Start.SUPERSEDED),
        ("pending", 1, None, Start.WAIT),
        ("processing", 1, None, Start.WAIT),
    ],
)
def test_i08_money_is_sent_only_when_the_updater_says_that_this_try_is_under_way(
    status: str, attempt: int, reported: str | None, wanted: Start
) -> None:
    assert start_of(replace(PAYOUT, reported=reported), PayoutState(status, attempt)) is wanted


def test_a_payout_that_the_updater_does_not_show_waits() -> None:
    assert start_of(PAYOUT, None) is Start.WAIT


@pytest.mark.parametrize(
    ("sent_before", "touched_before", "allowed"),
    [
        (timedelta(minutes=1), timedelta(seconds=1), True),
        (timedelta(minutes=48), timedelta(seconds=1), True),
        # From here on the key may be forgotten while the last call is still under way.
        (timedelta(minutes=50), timedelta(minutes=5), False),
        (timedelta(minutes=50), timedelta(minutes=6), True),
        (timedelta(hours=5), timedelta(minutes=1), False),
        (timedelta(hours=5), timedelta(minutes=10), True),
    ],
)
def test_i08_a_call_is_repeated_only_while_key_or_time_protect(
    sent_before: timedelta, touched_before: timedelta, allowed: bool
) -> None:
    unknown = replace(
        PAYOUT,
        status=OperationStatus.UNKNOWN,
        first_sent_at=NOW - sent_before,
        updated_at=NOW - touched_before,
    )
    assert repeatable(unknown, NOW, HOUR, SETTLES) is allowed


@pytest.mark.parametrize(
    ("sent_before", "named", "allowed"),
    [
        (timedelta(0), None, True),
        (HOUR - timedelta(seconds=1), None, True),
        (HOUR, None, False),
        (timedelta(0), "504", False),
    ],
)
def test_i08_a_refund_is_repeated_while_its_key_is_remembered_and_it_has_no_name(
    sent_before: timedelta, named: str | None, allowed: bool
) -> None:
    unknown = replace(
        PAYOUT,
        kind=OperationKind.REFUND,
        status=OperationStatus.UNKNOWN,
        created_at=NOW - timedelta(days=1),
        first_sent_at=NOW - sent_before,
        updated_at=NOW,
        result_transaction_id=named,
    )
    assert refund_repeatable(unknown, NOW, HOUR) is allowed


@pytest.mark.parametrize("kind", list(OperationKind))
@pytest.mark.parametrize("status", list(OperationStatus))
def test_i08_only_what_was_not_executed_fails_by_counting(kind: OperationKind, status: OperationStatus) -> None:
    outcome = Outcome(status, None, again=True)
    ended = exhausted(replace(PAYOUT, kind=kind, attempts=11), outcome, 12)
    counted = status is OperationStatus.READY and kind in (OperationKind.PAYOUT, OperationKind.CHARGE)
    assert (ended.failure_code == "provider_unavailable") is counted
    assert exhausted(replace(PAYOUT, kind=kind, attempts=10), outcome, 12) is outcome


@pytest.mark.parametrize(("age_s", "most_s"), [(0, 1), (8, 2), (40, 10), (10_000, 60)])
def test_what_waits_is_looked_at_seldomer_the_longer_it_waits(age_s: int, most_s: float) -> None:
    waiting = replace(PAYOUT, created_at=NOW - timedelta(seconds=age_s))
    random = Random(1)
    delays = [put_off_s(waiting, NOW, 600, random) for _ in range(200)]
    assert most_s / 2 <= min(delays) <= max(delays) <= most_s
    assert put_off_s(waiting, NOW, 0.01, random) <= 0.01


def test_what_was_sent_is_taken_off_a_balance_that_was_asked_for() -> None:
    balances = Balances()
    balances.learn(KEY, Money(2500, "RUB"), 10.0)
    assert [balances.take(KEY, Money(1010, "RUB")) for _ in range(3)] == [True, True, False]
    assert balances.enough(KEY, Money(480, "RUB"))
    assert not balances.enough(KEY, Money(481, "RUB"))
    assert (balances.fresh(KEY, 10.9), balances.fresh(KEY, 11.1)) == (True, False)


def test_a_provider_that_does_not_tell_its_balance_holds_nothing_back() -> None:
    balances = Balances()
    assert balances.take(KEY, Money(10**9, "RUB"))
    balances.learn(KEY, None, 10.0)
    assert balances.take(KEY, Money(10**9, "RUB"))
