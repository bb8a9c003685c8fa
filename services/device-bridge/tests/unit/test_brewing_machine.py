"""Every pair of state and event of a brew command, written by hand from the rules.

* A command is sent, and sent again until it is accepted. What was never sent is simply withdrawn.
* A machine may leave steps out: `done` without `accepted` is as good. It can reject only what it has not accepted, for
  a rejection after that is of a repeat that it no longer knows, and says nothing of the cup.
* A revocation may be asked for while the command is open. Then the machine's answer counts, whatever it is; that it has
  accepted or started does not end the waiting.
* No answer, to the command or to its revocation, ends it. An accepted one may be assumed done (the model's policy).
* What has ended changes no more.
"""

import pytest

from device_bridge.domain.brewing import FINAL, OPEN, REPORTED, BrewEvent, BrewState, brew_target

pytestmark = pytest.mark.unit

# Columns: queued, sent, accepted, started, revoking. In the final states nothing changes anything.
EXPECTED = """
accepted          -        accepted  -         -         revoking
started           -        started   started   -         revoking
done              -        done      done      done      done
failed            -        failed    failed    failed    failed
rejected          -        rejected  -         -         rejected
revoked           -        -         -         -         revoked
sent              sent     sent      -         -         -
assumed_done      -        -         done      done      -
withdrawn         expired  -         -         -         -
revocation_asked  -        revoking  revoking  revoking  -
no_answer         -        expired   expired   expired   expired
"""
COLUMNS = ("queued", "sent", "accepted", "started", "revoking")
ROWS = {line.split()[0]: line.split()[1:] for line in EXPECTED.strip().splitlines()}
PAIRS = [
    (state, event, expected) for event, cells in ROWS.items() for state, expected in zip(COLUMNS, cells, strict=True)
]


@pytest.mark.parametrize(("state", "event", "expected"), PAIRS)
def test_pair(state: str, event: str, expected: str) -> None:
    found = brew_target(BrewState(state), BrewEvent(event))
    assert (found.value if found else "-") == expected


@pytest.mark.parametrize("event", list(BrewEvent))
@pytest.mark.parametrize("state", sorted(FINAL))
def test_what_has_ended_changes_no_more(state: BrewState, event: BrewEvent) -> None:
    assert brew_target(state, event) is None


def test_the_expectation_covers_every_pair() -> None:
    assert set(ROWS) == {event.value for event in BrewEvent}
    assert {BrewState(name) for name in COLUMNS} == OPEN
    assert {"done", "failed", "rejected", "revoked", "expired"} == {state.value for state in FINAL}
    assert {event.value for event in REPORTED} == {"accepted", "started", "done", "failed", "rejected", "revoked"}
