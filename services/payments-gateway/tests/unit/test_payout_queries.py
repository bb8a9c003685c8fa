"""What lists of payouts ask the database for, so that they stay quick among millions."""

from datetime import UTC, datetime

import pytest

from copeck.kernel.ids import id_at
from payments_gateway.store.compatibility import count_query
from payments_gateway.store.payouts import id_bounds

DAY = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.mark.parametrize(("terms", "standing"), [((), False), (("гонорар",), True)])
def test_a_count_looks_at_no_tries_and_at_states_only_for_words(terms: tuple[str, ...], *, standing: bool) -> None:
    text = str(count_query(terms))
    assert "LATERAL" not in text
    assert ("payouts_v1" in text) is standing


def test_dates_are_looked_for_by_ids() -> None:
    since, until = id_bounds(DAY, DAY)
    low, high = (one.right.value for one in (since, until))
    assert low < id_at(DAY) < high
    assert id_at(DAY.replace(day=19)) < low
    assert high < id_at(DAY.replace(day=23))


@pytest.mark.parametrize("moment", [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)])
def test_dates_out_of_all_bounds_are_left_to_the_rows(moment: datetime) -> None:
    assert id_bounds(moment, moment) == []
