"""Commissions, against a formula of their own kind: decimals, and every amount that people use."""

from decimal import ROUND_HALF_EVEN, Decimal

import pytest

from copeck.kernel.money import MINOR_MAX
from payments_gateway.domain.commissions import (
    AmountTooSmall,
    CommissionKind,
    Rule,
    charged_minor,
    commission_minor,
    least_amount_minor,
)

AMOUNTS = range(1, 1_000_001)


def rule(rate: int, minimum: int = 0, maximum: int | None = None) -> Rule:
    return Rule("RUB", CommissionKind.WITHDRAWAL, rate, minimum, maximum)


def expected(rate: int, amount: int) -> int:
    return int((Decimal(amount) * rate / 10_000).to_integral_value(ROUND_HALF_EVEN))


def test_two_percent_of_every_amount() -> None:
    two = rule(200)
    wrong = [amount for amount in AMOUNTS if charged_minor(two, amount) != expected(200, amount)]
    assert wrong == []


@pytest.mark.parametrize("rate", [1, 7, 25, 50, 199, 333, 1250, 5000, 9999])
def test_other_rates(rate: int) -> None:
    odd = rule(rate)
    amounts = range(1, 1_000_001, 7)
    assert [amount for amount in amounts if charged_minor(odd, amount) != expected(rate, amount)] == []


def test_bounds_hold_for_every_amount() -> None:
    bounded = rule(200, minimum=500, maximum=9_000)
    for amount in AMOUNTS:
        if charged_minor(bounded, amount) != min(max(expected(200, amount), 500), 9_000):
            pytest.fail(str(amount))


@pytest.mark.parametrize(
    ("amount", "commission"),
    [(25, 0), (26, 1), (75, 2), (74, 1), (125, 2), (175, 4), (10_000, 200), (MINOR_MAX, 180_000_000)],
)
def test_halves_go_to_the_even_unit(amount: int, commission: int) -> None:
    assert commission_minor(rule(200), amount) == commission


def test_nothing_appears_or_vanishes() -> None:
    """What is left and the commission make up the amount, and a greater amount never leaves less."""
    bounded = rule(1_750, minimum=33, maximum=100_000)
    before = None
    for amount in range(1, 100_001):
        left = amount - charged_minor(bounded, amount)
        assert before is None or before <= left <= before + 1
        before = left


@pytest.mark.parametrize(
    ("asked", "least"),
    [
        (rule(200), 1),
        (rule(200, minimum=500), 501),
        (rule(0), 1),
        (rule(9_999), 5_001),
        (rule(10_000, maximum=700), 701),
    ],
)
def test_the_least_amount_is_named(asked: Rule, least: int) -> None:
    assert least_amount_minor(asked) == least
    assert commission_minor(asked, least) < least
    if least > 1:
        with pytest.raises(AmountTooSmall) as refused:
            commission_minor(asked, least - 1)
        assert f"{least // 100}.{least % 100:02d} RUB" in refused.value.detail
        assert refused.value.field == "amount"


def test_a_rule_that_takes_everything_has_no_least_amount() -> None:
    assert least_amount_minor(rule(10_000)) is None
    with pytest.raises(AmountTooSmall, match="no amount"):
        commission_minor(rule(10_000), 1_000)
