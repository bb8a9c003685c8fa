"""Wallets opened, books corrected by hand, settlements of the acquirer; and how a world guards its accounts."""

from collections import defaultdict
from typing import Any
from uuid import UUID

import pytest

from billing_state_updater.domain import books
from billing_state_updater.domain.aggregates import Invoice, Payout
from billing_state_updater.domain.decide import decide
from billing_state_updater.domain.outcomes import Applied, Poison, Transfer
from billing_state_updater.world import Incoming, World
from copeck.contracts import commands
from copeck.contracts.base import Message
from copeck.contracts.registry import REGISTRY, UPDATER
from copeck.kernel.ids import new_id
from tests.support.state import NOW, SHOP, WALLET, Line, State, issue, said, told, wallet_open


@pytest.fixture
def state() -> State:
    return State()


@pytest.mark.parametrize(
    ("account", "opening", "lines"),
    [
        (WALLET, 0, []),
        (WALLET, 10_000, [("opening:sandbox", WALLET, 10_000, "opening")]),
        ("merchant:m1", 5, [("opening:sandbox", "merchant:m1", 5, "opening")]),
    ],
)
def test_open(state: State, account: str, opening: int, lines: list[Line]) -> None:
    """Once, with what it brings along."""
    assert told(state.send(wallet_open(account, opening))) == ([], lines)
    assert said(state.send(wallet_open(account, opening))) == "duplicate"
    assert state.world.balance(account, "RUB") == opening
    assert state.events() == [], "nobody consumes what happens to wallets: it is not sent"
    state.check()


@pytest.mark.parametrize("account", ["customer:anna", "revenue:subscription", "suspense:late"])
def test_only_balances_are_opened(state: State, account: str) -> None:
    state.world.seal(())
    assert said(state.send(wallet_open(account, 10))) == "illegal not_a_wallet"


def correct(**changes: Any) -> commands.LedgerCorrect:
    terms: dict[str, Any] = {
        "account": WALLET,
        "correction_id": new_id(),
        "debit": WALLET,
        "credit": "losses:chargeback",
        "amount_minor": 1_000,
        "currency": "RUB",
        "reason": "ticket 7",
        "requested_by": "user:anna",
        "approved_by": "user:boss",
    }
    return commands.LedgerCorrect(**(terms | changes))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "applied"),
        ({"amount_minor": 10_000}, "applied"),
        ({"amount_minor": 10_001}, "illegal insufficient_funds"),
        ({"currency": "USD"}, "illegal insufficient_funds"),
        ({"debit": "merchant:m1"}, "applied"),
        ({"debit": "suspense:late", "credit": WALLET}, "applied"),
        ({"approved_by": "user:anna"}, "illegal own_correction"),
        ({"debit": "pocket:anna"}, "illegal unknown_account"),
        ({"credit": "customer:anna"}, "illegal unknown_account"),
        ({"credit": WALLET}, "illegal same_account"),
    ],
)
def test_correct(state: State, changes: dict[str, Any], expected: str) -> None:
    """Any two accounts of the chart, with a reason, by two people, never a wallet below zero."""
    state.send(wallet_open(opening_minor=10_000))
    command = correct(**changes)
    assert said(state.send(command)) == expected
    if expected == "applied":
        assert said(state.send(command)) == "duplicate"
        (booking,) = state.world.bookings
        assert (booking.kind, booking.reason, booking.approved_by) == ("correction", "ticket 7", "user:boss")
    else:
        assert state.world.bookings == []
    state.check()


@pytest.mark.parametrize(
    ("amount", "fee", "lines"),
    [
        (9_700, 300, [("bank:settlement", SHOP, 9_700, "settlement"), ("fees:acquiring", SHOP, 300, "acquiring_fee")]),
        (9_700, 0, [("bank:settlement", SHOP, 9_700, "settlement")]),
        (0, 300, [("fees:acquiring", SHOP, 300, "acquiring_fee")]),
        (0, 0, []),
    ],
)
def test_settle(state: State, amount: int, fee: int, lines: list[Line]) -> None:
    """What reached our bank and what the acquirer kept, once."""
    command = commands.SettlementReport(
        account="house:settlements",
        settlement_id=new_id(),
        provider="cloudpayments",
        shop="main",
        amount_minor=amount,
        fee_minor=fee,
        currency="RUB",
    )
    assert told(state.send(command)) == ([], lines)
    assert said(state.send(command)) == "duplicate"
    state.check()


class Known(World):
    """A world in which everything exists, so that every command gets as far as its own decision."""

    def invoice(self, id: UUID) -> Invoice:
        return Invoice(id, version=1, status="paid")

    def payout(self, id: UUID) -> Payout:
        return Payout(id, version=1, status="completed")


COMMANDS = [entry.model for entry in REGISTRY.values() if entry.kind == "command" and UPDATER in entry.consumers]


@pytest.mark.parametrize("model", COMMANDS, ids=lambda model: model.TYPE)
def test_every_command_of_the_updater_has_a_decision(model: type[Message]) -> None:
    """The registry sends nothing here that `decide` does not know; the empty fields stop whatever it begins."""
    command = model.model_construct(**dict.fromkeys(model.model_fields))
    try:
        outcome = decide(command, Known(NOW, {}), new_id(), NOW)
    except (AttributeError, TypeError):
        return
    assert not (isinstance(outcome, Poison) and "decision" in outcome.reason)


def test_what_is_no_command_is_poison() -> None:
    subscription = REGISTRY["subscription.create"].model.model_construct()
    assert isinstance(decide(subscription, World(NOW, {}), new_id(), NOW), Poison)


def test_a_sealed_world_gives_no_account_that_was_not_locked() -> None:
    """A decision that touches an account beyond the batch's locks is a defect, and must not be written."""
    world = World(NOW, defaultdict(int))
    world.seal([(WALLET, "RUB")])
    assert world.balance(WALLET, "RUB") == 0
    with pytest.raises(LookupError, match="was not locked"):
        world.balance(WALLET, "USD")


def test_a_wallet_below_zero_is_never_posted() -> None:
    """I-04: whatever a decision says, the posting itself refuses; the batch is taken back."""
    world = World(NOW, defaultdict(int))
    command = Incoming(new_id(), "invoice.issue", issue(new_id()), 0)
    wrong = Applied((), (Transfer(WALLET, "revenue:x", 1, "RUB", "payment"),))
    with pytest.raises(AssertionError, match="below zero"):
        world.apply(command, wrong)


@pytest.mark.parametrize(
    ("name", "family", "known", "materialised"),
    [
        ("wallet:anna", "wallet", True, True),
        ("merchant:m1", "merchant", True, True),
        ("receivable:m1", "receivable", True, False),
        ("provider:cloudpayments:main", "provider", True, False),
        ("customer:anna", "customer", False, False),
        ("wallet:", "wallet", False, True),
        ("wallet", "wallet", False, False),
        ("", "", False, False),
    ],
)
def test_the_chart_of_accounts(name: str, family: str, known: bool, materialised: bool) -> None:
    assert (books.family(name), books.is_account(name), books.is_materialised(name)) == (family, known, materialised)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([(WALLET, "x:y", 10)], True),
        ([(WALLET, "x:y", 11)], False),
        ([(WALLET, "x:y", 6), (WALLET, "x:z", 5)], False),
        ([("x:y", WALLET, 5), (WALLET, "x:y", 15)], True),
        ([(WALLET, "x:y", 15), ("x:y", WALLET, 5)], False),
        ([("merchant:m1", "x:y", 10**9)], True),
    ],
)
def test_affordable(lines: list[tuple[str, str, int]], expected: bool) -> None:
    """At every step in order, not in the sum only."""
    transfers = tuple(Transfer(debit, credit, amount, "RUB", "test") for debit, credit, amount in lines)
    assert books.affordable(transfers, lambda *_: 10) is expected
