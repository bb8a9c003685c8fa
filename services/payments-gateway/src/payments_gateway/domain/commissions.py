"""What a deposit or a withdrawal costs: a share in basis points, half-even to the minor unit, within bounds. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from copeck.kernel.errors import DomainError
from copeck.kernel.money import MINOR_MAX, Money

BASIS_POINTS = 10_000


class CommissionKind(StrEnum):
    """What a commission is taken from."""

    DEPOSIT = "deposit"
    WITHDRAWAL = "withdrawal"


@dataclass(frozen=True, slots=True)
class Rule:
    """What one kind of operation costs in one currency. `version` 0 is the default, which nobody has set.

    200 basis points are 2 %. The share is rounded half-even, then raised to `minimum_minor` and lowered to
    `maximum_minor`, if there is one; both in minor units.
    """

    currency: str
    kind: CommissionKind
    rate_basis_points: int
    minimum_minor: int = 0
    maximum_minor: int | None = None
    version: int = 0
    changed_by: str = ""
    changed_at: datetime | None = None


class AmountTooSmall(DomainError):
    """The amount does not exceed its commission: nothing would be left of it."""

    type: ClassVar[str] = "amount-too-small"
    title: ClassVar[str] = "The amount does not exceed its commission"
    status: ClassVar[int] = 422


class CommissionChanged(DomainError):
    """The commission that the caller agreed to is not today's."""

    type: ClassVar[str] = "commission-changed"
    title: ClassVar[str] = "The commission is another one by now"
    status: ClassVar[int] = 409


def charged_minor(rule: Rule, amount_minor: int) -> int:
    """Return what the rule takes from an amount, whether or not the amount exceeds it; minor units."""
    whole, rest = divmod(amount_minor * rule.rate_basis_points, BASIS_POINTS)
    # Half-even: just between two units, the even one is taken.
    if 2 * rest > BASIS_POINTS or (2 * rest == BASIS_POINTS and whole % 2):
        whole += 1
    charged = max(whole, rule.minimum_minor)
    return charged if rule.maximum_minor is None else min(charged, rule.maximum_minor)


def commission_minor(rule: Rule, amount_minor: int) -> int:
    """Return the commission of an amount, in minor units; AmountTooSmall when the amount does not exceed it."""
    charged = charged_minor(rule, amount_minor)
    if amount_minor <= charged:
        least = least_amount_minor(rule)
        if least is None:
            raise AmountTooSmall("no amount exceeds the commission as it is set", "amount")
        raise AmountTooSmall(f"the least amount is {Money(least, rule.currency)}", "amount")
    return charged


def least_amount_minor(rule: Rule) -> int | None:
    """Return the least amount that exceeds its commission; None when there is none.

    What is left of an amount never shrinks as the amount grows, so the bound is found by halving.
    """
    low, high = 1, MINOR_MAX
    if high <= charged_minor(rule, high):
        return None
    while low < high:
        middle = (low + high) // 2
        if middle > charged_minor(rule, middle):
            high = middle
        else:
            low = middle + 1
    return low


def rule_for(known: Mapping[tuple[str, CommissionKind], Rule], currency: str, kind: CommissionKind, rate: int) -> Rule:
    """Return the rule that was set, or the default."""
    return known.get((currency, kind)) or Rule(currency, kind, rate)
