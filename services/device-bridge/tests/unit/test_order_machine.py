"""Every pair of status and event of an order, written by hand from the rules, not from the table.

The rules, as the owner of the machines would say them:

* An order waits for its invoice (created), then for its money (pending). Its invoice may be refused, expire or be
  annulled before it is paid; then it is not paid, and nothing is brewed.
* Money that reached the invoice makes it paid, whatever we had thought of it; but only once.
* A paid order is brewed (make_pending), or ends there (failed: the money goes back).
* While it is brewed, the machine may say that it accepts, starts, has done, has failed or rejects it; we may ask for
  the command back; and it ends in one of two ways, successful or failed, which are final.
* An unpaid order may be canceled, which changes nothing until the invoice is annulled.
* Money that comes late or twice, and the way of a refund, change no status.
"""

import pytest

from device_bridge.domain.machine import ENDED, UNDER_WAY, UNPAID, Event, Status, target

pytestmark = pytest.mark.unit

# Columns: created, pending, paid, not_paid, make_pending, successful, failed. "-" means forbidden.
EXPECTED = """
invoice_issued     pending   -         -            -         -             -           -
invoice_refused    not_paid  -         -            -         -             -           -
invoice_paid       paid      paid      -            paid      -             -           -
invoice_expired    not_paid  not_paid  -            -         -             -           -
invoice_canceled   not_paid  not_paid  -            -         -             -           -
cancellation_asked created   pending   -            -         -             -           -
brew_commanded     -         -         make_pending -         -             -           -
brew_refused       -         -         failed       -         -             -           -
brew_accepted      -         -         -            -         make_pending  -           -
brew_started       -         -         -            -         make_pending  -           -
brew_done          -         -         -            -         successful    -           -
brew_assumed_done  -         -         -            -         successful    -           -
brew_failed        -         -         -            -         failed        -           -
brew_rejected      -         -         -            -         failed        -           -
revocation_asked   -         -         -            -         make_pending  -           -
brew_revoked       -         -         -            -         failed        -           -
no_answer          -         -         -            -         failed        -           -
payment_came_late  created   pending   paid         not_paid  make_pending  successful  failed
refund_changed     created   pending   paid         not_paid  make_pending  successful  failed
"""
COLUMNS = ("created", "pending", "paid", "not_paid", "make_pending", "successful", "failed")
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
    assert set(Status) == UNDER_WAY | ENDED
    assert not UNDER_WAY & ENDED
    assert UNPAID < UNDER_WAY
