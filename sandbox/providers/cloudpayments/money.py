"""Amounts: integers of minor units inside, decimal text at the edge. No float is ever made of one."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

AMOUNT_MINOR_MAX = 10**12


class AmountError(ValueError):
    """The text is not an amount that can be charged."""


def parse_amount(value: object) -> int:
    """Turn "199", "199.00", 199 or Decimal("199.0") into 19900; refuse fractions of a kopeck."""
    if isinstance(value, bool) or value is None or isinstance(value, float):
        raise AmountError("amount must be a decimal number")
    try:
        number = Decimal(str(value).strip().replace(",", "."))
    except InvalidOperation as error:
        raise AmountError("amount must be a decimal number") from error
    if not number.is_finite():
        raise AmountError("amount must be finite")
    minor = number * 100
    if minor != minor.to_integral_value():
        raise AmountError("amount has more than two decimals")
    if not 0 < minor <= AMOUNT_MINOR_MAX:
        raise AmountError("amount is out of range")
    return int(minor)


def format_amount(minor: int) -> str:
    """Turn 19900 into "199.00"."""
    sign, digits = ("-", -minor) if minor < 0 else ("", minor)
    return f"{sign}{digits // 100}.{digits % 100:02d}"
