"""Arithmetic of periods: by example, and by Hypothesis against the calendar."""

import calendar
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subscriptions.domain.periods import COUNT_MAX, InvalidPeriodError, Period, PeriodUnit, period_end, trial_end

pytestmark = pytest.mark.unit

# Hypothesis wants naive bounds and adds the zone itself.
moments = st.datetimes(datetime(2020, 1, 1), datetime(2060, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
units = st.sampled_from(list(PeriodUnit))
periods = units.flatmap(lambda unit: st.integers(1, COUNT_MAX[unit]).map(lambda count: Period(unit, count)))


def test_the_31st_comes_back() -> None:
    anchor, month = datetime(2026, 1, 31, 9, 30, tzinfo=UTC), Period(PeriodUnit.MONTH, 1)
    days = [period_end(anchor, month, number).strftime("%m-%d") for number in range(1, 7)]
    assert days == ["02-28", "03-31", "04-30", "05-31", "06-30", "07-31"]


def test_leap_years() -> None:
    anchor, year = datetime(2024, 2, 29, tzinfo=UTC), Period(PeriodUnit.YEAR, 1)
    days = [period_end(anchor, year, number).date().isoformat() for number in (1, 2, 3, 4)]
    assert days == ["2025-02-28", "2026-02-28", "2027-02-28", "2028-02-29"]


@given(moments, periods, st.integers(0, 50))
def test_periods_grow_and_keep_the_time_of_day(anchor: datetime, period: Period, number: int) -> None:
    end, after = period_end(anchor, period, number), period_end(anchor, period, number + 1)
    assert end < after
    assert end.timetz() == anchor.timetz()
    assert period_end(anchor, period, 0) == anchor


@given(moments, st.sampled_from([PeriodUnit.MONTH, PeriodUnit.YEAR]), st.integers(1, 2), st.integers(1, 60))
def test_months_end_on_the_anchors_day_or_on_their_last(
    anchor: datetime, unit: PeriodUnit, count: int, number: int
) -> None:
    months = (12 if unit is PeriodUnit.YEAR else 1) * count * number
    end = period_end(anchor, Period(unit, count), number)
    years, month = divmod(anchor.month - 1 + months, 12)
    last = calendar.monthrange(anchor.year + years, month + 1)[1]
    assert (end.year, end.month, end.day) == (anchor.year + years, month + 1, min(anchor.day, last))


@given(moments, st.integers(1, 52), st.integers(1, 100))
def test_weeks_and_days_are_exact(anchor: datetime, count: int, number: int) -> None:
    assert period_end(anchor, Period(PeriodUnit.WEEK, count), number) - anchor == timedelta(weeks=count * number)
    assert period_end(anchor, Period(PeriodUnit.DAY, count), number) - anchor == timedelta(days=count * number)


@given(moments, periods)
def test_a_moment_in_another_zone_is_the_same_moment(anchor: datetime, period: Period) -> None:
    moscow = anchor.astimezone(timezone(timedelta(hours=3)))
    assert period_end(moscow, period, 1) == period_end(anchor, period, 1)


@pytest.mark.parametrize(("unit", "count"), [(PeriodUnit.DAY, 0), (PeriodUnit.YEAR, 3), (PeriodUnit.MONTH, -1)])
def test_periods_have_bounds(unit: PeriodUnit, count: int) -> None:
    with pytest.raises(InvalidPeriodError):
        Period(unit, count)


def test_naive_anchors_are_refused() -> None:
    with pytest.raises(ValueError, match="aware"):
        period_end(datetime(2026, 1, 1), Period(PeriodUnit.DAY, 1), 1)  # noqa: DTZ001 - the point of the test


def test_trial() -> None:
    assert trial_end(datetime(2026, 2, 25, tzinfo=UTC), 7) == datetime(2026, 3, 4, tzinfo=UTC)
