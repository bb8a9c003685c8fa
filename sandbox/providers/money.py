"""Amounts: integers of minor units inside, decimal text at the edge. No float is ever made of one."""

from __future__ import annotations

from decimal import Decimal

AMOUNT_MINOR_MAX, BALANCE_MINOR_MAX = 10**12, 10**16
_MINOR = Decimal("0.01")


class AmountError(ValueError):
    """The text is not an amount that can be moved."""


def parse_amount(value: object, *, least_minor: int = 1, most_minor: int = AMOUNT_MINOR_MAX) -> int:
    """Turn "199", "199.00", 199 or Decimal("199.0") into 19900; refuse fractions of a kopeck."""
    if isinstance(value, bool | float) or value is None:
        raise AmountError("amount must be a decimal number")
    try:
        number = Decimal(str(value).strip().replace(",", "."))
    except ArithmeticError as error:
        raise AmountError("amount must be a decimal number") from error
    if not number.is_finite():
        raise AmountError("amount must be finite")
    # Before any arithmetic: a huge exponent would overflow, and a long fraction would be rounded away.
    if number.copy_abs() > most_minor:
        raise AmountError("amount is out of range")
    exact = number.quantize(_MINOR)
    if exact != number:
        raise AmountError("amount has more than two decimals")
    minor = int(exact.scaleb(2))
    if not least_minor <= minor <= most_minor:
        raise AmountError("amount is out of range")
    return minor


def format_amount(minor: int) -> str:
    """Turn 19900 into "199.00"."""
    sign, digits = ("-", -minor) if minor < 0 else ("", minor)
    return f"{sign}{digits // 100}.{digits % 100:02d}"
