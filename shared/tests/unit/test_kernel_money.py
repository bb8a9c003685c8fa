"""Money is exact: whole minor units, one currency, no float anywhere (I-12)."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from copeck.kernel.errors import DomainError
from copeck.kernel.money import EXPONENTS, MINOR_MAX, Money, MoneyError

minors = some.integers(-MINOR_MAX, MINOR_MAX)
currencies = some.sampled_from(sorted(EXPONENTS))


@pytest.mark.parametrize(
    ("value", "currency", "minor"),
    [
        ("199.00", "RUB", 19_900),
        ("199", "RUB", 19_900),
        ("199.5", "RUB", 19_950),
        ("0.01", "RUB", 1),
        ("-0.01", "RUB", -1),
        (" 7 ", "RUB", 700),
        ("1e2", "RUB", 10_000),
        ("199.000", "RUB", 19_900),
        (Decimal("10.10"), "USD", 1_010),
        (5, "EUR", 500),
        ("5", "JPY", 5),
        ("90000000", "RUB", MINOR_MAX),
    ],
)
def test_parse(value: Any, currency: str, minor: int) -> None:
    assert Money.parse(value, currency) == Money(minor, currency)


@pytest.mark.parametrize(
    ("value", "currency"),
    [
        ("", "RUB"),
        ("ten", "RUB"),
        ("1,50", "RUB"),
        ("0.001", "RUB"),
        ("1.5", "JPY"),
        ("NaN", "RUB"),
        ("Infinity", "RUB"),
        ("-Infinity", "RUB"),
        ("1e999999", "RUB"),
        ("90000000.01", "RUB"),
        ("10", "XXX"),
        ("10", ""),
        (10.0, "RUB"),
        (True, "RUB"),
        ("9" * 10_000, "RUB"),
    ],
)
def test_what_is_no_money(value: Any, currency: str) -> None:
    """An error that a caller may see, with a sentence and no echo of a long input."""
    with pytest.raises(MoneyError) as caught:
        Money.parse(value, currency)
    assert isinstance(caught.value, DomainError)
    assert len(caught.value.detail) < 200


@pytest.mark.parametrize("minor", [1.0, "1", True, None, Decimal(1)])
def test_minor_units_are_whole_numbers(minor: Any) -> None:
    with pytest.raises(MoneyError):
        Money(minor, "RUB")


@given(minor=minors, currency=currencies)
def test_words_and_back(minor: int, currency: str) -> None:
    """What is written is read as the same amount, with the digits that the currency has."""
    money = Money(minor, currency)
    assert Money.parse(money.value, currency) == money
    digits = money.value.partition(".")[2]
    assert len(digits) == EXPONENTS[currency]
    assert str(money) == f"{money.value} {currency}"


@given(text=some.text(max_size=40))
def test_any_text_is_money_or_an_error(text: str) -> None:
    try:
        money = Money.parse(text, "RUB")
    except MoneyError:
        return
    assert money.minor == Fraction(Decimal(text)) * 100


@given(a=some.integers(-(10**9), 10**9), b=some.integers(-(10**9), 10**9), currency=currencies)
def test_sums(a: int, b: int, currency: str) -> None:
    one, other = Money(a, currency), Money(b, currency)
    assert (one + other).minor == a + b
    assert (one - other) + other == one
    assert (one < other) == (a < b)
    assert (one <= other) == (a <= b)


@pytest.mark.parametrize("operation", ["__add__", "__sub__", "__lt__", "__le__"])
def test_currencies_do_not_mix(operation: str) -> None:
    with pytest.raises(MoneyError, match="do not add up"):
        getattr(Money(1, "RUB"), operation)(Money(1, "USD"))


def test_sums_have_a_bound() -> None:
    with pytest.raises(MoneyError):
        Money(MINOR_MAX, "RUB") + Money(1, "RUB")


@pytest.mark.parametrize(
    ("minor", "points", "share"),
    [(10_000, 200, 200), (25, 200, 0), (75, 200, 2), (125, 200, 2), (-125, 200, -2), (1, 10_000, 1), (9, 0, 0)],
)
def test_share(minor: int, points: int, share: int) -> None:
    """Half-even: halves do not pile up on one side."""
    assert Money(minor, "RUB").share(points) == Money(share, "RUB")


@given(minor=minors, points=some.integers(0, 10_000))
def test_a_share_is_within_half_a_unit(minor: int, points: int) -> None:
    exact = Fraction(minor * points, 10_000)
    assert abs(Money(minor, "RUB").share(points).minor - exact) <= Fraction(1, 2)
