"""The checks of the chaos run find what they are for, in a world that is made up."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from tests.coffee import checks
from tests.coffee.truth import Charge, CoffeeTruth, Order

PRICE, EXPIRES_AT_MS = 15_900, 60_000


@dataclass
class MadeUp(CoffeeTruth):
    """One order, and whatever a test says happened to it."""

    tables: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)

    def rows(self, statement: str, *_parameters: Any) -> list[tuple[Any, ...]]:
        """Return what the test put into the first table that a query names."""
        named = re.search(r"FROM (\w+\.\w+)", statement)
        return self.tables.get(named[1], []) if named else []


def world(status: str, events: dict[str, int], charge: Charge | None = None, **tables: Any) -> MadeUp:
    """Return a world with one order; `events` are the machine's, each at its moment."""
    order = Order("o1", "i1", status, "", PRICE, 795, "succeeded", EXPIRES_AT_MS, "kiosk-1")
    made = MadeUp(cast("Any", None), [], [], "", {}, Path(), orders={"o1": order}, merchant_id="m1")
    made.tables = {f"devices.{name}": rows for name, rows in tables.items()}
    made.log = [{"event": event, "order_id": "o1", "at_ms": at_ms} for event, at_ms in events.items()]
    made.charges = {"i1": charge} if charge else {}
    return made


def taken(refunded: int = 0, at_ms: int = 1_000) -> Charge:
    """Return a charge of the order's price."""
    return Charge(PRICE, refunded, 1, at_ms)


Found = Callable[[CoffeeTruth], Iterator[str]]
BREWED = {"command.accepted": 2_000, "brew.started": 2_100, "brew.poured": 3_000}
EXPIRY: list[tuple[Any, ...]] = [("o1", 30_000)]
AFTER_REFUND: list[tuple[Any, ...]] = [("o1",)]


@pytest.mark.parametrize(
    ("check", "made", "words"),
    [
        (checks.paid_orders_have_their_cup_or_their_money, world("successful", BREWED, taken()), ""),
        (checks.paid_orders_have_their_cup_or_their_money, world("failed", {}, taken(PRICE)), ""),
        (checks.paid_orders_have_their_cup_or_their_money, world("failed", {}, taken()), "neither cup nor money"),
        (checks.paid_orders_have_their_cup_or_their_money, world("failed", BREWED, taken(PRICE)), "and not its price"),
        (
            checks.paid_orders_have_their_cup_or_their_money,
            world("failed", BREWED, taken(PRICE), incidents=AFTER_REFUND),
            "",
        ),
        (checks.paid_orders_have_their_cup_or_their_money, world("not_paid", BREWED), "and not its price"),
        (checks.nothing_is_brewed_unpaid, world("successful", BREWED, taken()), ""),
        (checks.nothing_is_brewed_unpaid, world("not_paid", BREWED), "was brewed"),
        (checks.nothing_is_brewed_unpaid, world("successful", BREWED, taken(at_ms=2_500)), "was brewed"),
        (
            checks.nothing_is_brewed_after_expiry,
            world("successful", BREWED, taken(), brew_commands=EXPIRY),
            "",
        ),
        (
            checks.nothing_is_brewed_after_expiry,
            world("successful", {**BREWED, "command.accepted": 32_000}, taken(), brew_commands=EXPIRY),
            "after it had expired",
        ),
        (
            checks.nothing_is_brewed_after_expiry,
            world("successful", BREWED, taken(at_ms=EXPIRES_AT_MS + 1), brew_commands=EXPIRY),
            "late, and brewed",
        ),
        (checks.orders_say_what_happened, world("successful", BREWED, taken()), ""),
        (checks.orders_say_what_happened, world("successful", {}, taken()), "is successful"),
        (checks.orders_say_what_happened, world("failed", {}, taken()), "is failed"),
        (checks.orders_say_what_happened, world("make_pending", {}, taken()), "is make_pending"),
        (checks.incidents_are_true, world("failed", BREWED, incidents=[("done_after_refund", "o1", {})]), ""),
        (checks.incidents_are_true, world("failed", {}, incidents=[("done_after_refund", "o1", {})]), "incident"),
        (checks.incidents_are_true, world("failed", BREWED, incidents=[("brewed_unpaid", "o1", {})]), "incident"),
    ],
)
def test_a_check_finds_what_it_is_for(check: Found, made: CoffeeTruth, words: str) -> None:
    found = list(check(made))
    assert len(found) == bool(words)
    assert all(words in line for line in found)


def test_a_second_cup_is_found() -> None:
    made = world("successful", BREWED, taken())
    made.log.append({"event": "brew.poured", "order_id": "o1", "at_ms": 4_000})
    assert "more than one cup" in next(checks.paid_orders_have_their_cup_or_their_money(made))


@pytest.mark.parametrize(("balance", "fine"), [(PRICE - 795, True), (PRICE, False), (0, False)])
def test_a_merchants_share_is_counted_to_the_kopeck(balance: int, fine: bool) -> None:
    made = world("successful", BREWED, taken())
    made.tables["state.accounts"] = [(balance,)]
    assert (list(checks.merchants_have_their_share(made)) == []) is fine
