"""Statements: what is owed for a day is what was paid, less what went back, less what we keep."""

from datetime import date

from device_bridge.domain.statements import Figures, StatementLine, total

SOLD = Figures(paid=3, successful=2, failed=1, gross_minor=45_000, commission_minor=2_250)
BACK = Figures(refunded=1, commission_minor=-750, refunds_minor=15_000)


def test_a_refund_takes_back_its_commission_with_it() -> None:
    assert SOLD.net_minor == 42_750
    assert (SOLD + BACK).net_minor == 45_000 - 15_000 - 1_500
    assert (SOLD + BACK).commission_minor == 1_500


def test_a_day_that_only_gives_back_is_below_zero() -> None:
    assert BACK.net_minor == -14_250


def test_the_total_is_the_sum_of_every_figure() -> None:
    lines = [StatementLine(date(2026, 11, day), "kofe", "Lobby", "UTC", one) for day, one in ((1, SOLD), (2, BACK))]
    assert total(lines) == Figures(
        paid=3,
        successful=2,
        failed=1,
        refunded=1,
        gross_minor=45_000,
        commission_minor=1_500,
        refunds_minor=15_000,
    )
    assert total([]) == Figures()
