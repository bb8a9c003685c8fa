"""Every pair of status and event against what the business wants: written by hand from the rules, not from the table.

The rules, as a product owner would say them:

* A subscription waits for its first payment (incomplete). It may begin with a trial instead.
* A paid period makes it active, whatever it was: waiting, on trial, past due, or resting when the money arrived. It
  also brings back what had expired, and what was canceled if the product accepts late money (the guard sees to that).
* When a period ends unpaid it is past due; when it was to end with its period, it is canceled.
* What stays unpaid until the deadline, for the first time or after a period, has expired.
* A customer may cancel at once whatever is not over, and with the period while one is running (trial or active);
  the latter may be undone.
* Only an active subscription rests, and only a resting one resumes.
* A manager may extend a running one, and one that is past due, which then runs again. What waits for its first payment,
  rests or is over is not extended.
* The price of the next period may change while the subscription is not over.
* A full refund of the running period ends it; of a later one it only shortens it; of an earlier one nothing changes.
* A payment that buys nothing, and an invoice that dies, change no status.
"""

import pytest

from subscriptions.domain.machine import ENDED, LIVE, RUNNING, Event, Status, target

pytestmark = pytest.mark.unit

# Columns: incomplete, trialing, active, past_due, paused, canceled, expired. "-" means forbidden.
EXPECTED = """
trial_started           trialing    -           -           -           -           -           -
period_paid             active      active      active      active      active      active      active
unwanted_payment        incomplete  trialing    active      past_due    paused      canceled    expired
invoice_lapsed          incomplete  trialing    active      past_due    paused      canceled    expired
period_ended            -           past_due    past_due    -           -           -           -
cancellation_due        -           canceled    canceled    -           -           -           -
deadline_passed         expired     -           -           expired     -           -           -
canceled_now            canceled    canceled    canceled    canceled    canceled    -           -
cancellation_scheduled  -           trialing    active      -           -           -           -
cancellation_undone     -           trialing    active      -           -           -           -
paused                  -           -           paused      -           -           -           -
resumed                 -           -           -           -           active      -           -
extended                -           trialing    active      active      -           -           -
price_changed           incomplete  trialing    active      past_due    paused      -           -
running_period_refunded -           -           canceled    -           canceled    -           -
future_period_refunded  -           -           active      -           paused      -           -
past_period_refunded    incomplete  trialing    active      past_due    paused      canceled    expired
"""
COLUMNS = ("incomplete", "trialing", "active", "past_due", "paused", "canceled", "expired")
ROWS = {line.split()[0]: line.split()[1:] for line in EXPECTED.strip().splitlines()}
PAIRS = [
    (status, event, expected) for event, cells in ROWS.items() for status, expected in zip(COLUMNS, cells, strict=True)
]


@pytest.mark.parametrize(("status", "event", "expected"), PAIRS)
def test_pair(status: str, event: str, expected: str) -> None:
    found = target(Status(status), Event(event))
    assert (found.value if found else "-") == expected


def test_the_expectation_covers_every_pair() -> None:
    assert set(ROWS) == {event.value for event in Event}
    assert set(COLUMNS) == {status.value for status in Status}
    assert len(PAIRS) == len(Status) * len(Event)


def test_groups_of_statuses() -> None:
    assert set(Status) == LIVE | ENDED
    assert not LIVE & ENDED
    assert RUNNING < LIVE
