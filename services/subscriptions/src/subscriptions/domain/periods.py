"""Arithmetic of periods, anchored to the first day: 31 January, 28 February, 31 March."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from dateutil.relativedelta import relativedelta

from copeck.kernel.errors import InvalidValueError

COUNT_MAX = {"day": 366, "week": 52, "month": 24, "year": 2}
"""The longest period of each unit: two years. It also keeps the arithmetic inside the calendar."""


class InvalidPeriodError(InvalidValueError):
    """A period that cannot be sold."""

    type = "invalid-period"
    title = "The period is not valid"


class PeriodUnit(StrEnum):
    """What a period is counted in."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"


@dataclass(frozen=True, slots=True)
class Period:
    """A length such as one month or 14 days."""

    unit: PeriodUnit
    count: int

    def __post_init__(self) -> None:
        most = COUNT_MAX[self.unit]
        if not 1 <= self.count <= most:
            raise InvalidPeriodError(f"a period of {self.unit}s has 1 to {most} of them", "period_count")

    def times(self, number: int) -> relativedelta:
        """Return the length of `number` such periods."""
        amount = self.count * number
        if self.unit is PeriodUnit.DAY:
            return relativedelta(days=amount)
        if self.unit is PeriodUnit.WEEK:
            return relativedelta(weeks=amount)
        if self.unit is PeriodUnit.MONTH:
            return relativedelta(months=amount)
        return relativedelta(years=amount)

    def __str__(self) -> str:
        return f"{self.count} {self.unit}"


def period_end(anchor: datetime, period: Period, number: int) -> datetime:
    """Return the end of the `number`-th period since the anchor.

    It is always counted from the anchor, never from the previous end: else a subscription of the 31st would slide
    to the 28th in February and stay there.
    """
    if anchor.tzinfo is None:
        raise ValueError("a period needs an aware anchor")
    end: datetime = anchor.astimezone(UTC) + period.times(number)
    return end


def trial_end(start: datetime, days: int) -> datetime:
    """Return the end of a trial."""
    return start + timedelta(days=days)
