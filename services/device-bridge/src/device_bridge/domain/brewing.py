"""The state machine of a brew command: what was said to a machine about one order, and what it said back.

As with orders, the table alone chooses the next state; a report that is not in it changes nothing (and is kept).
"""

from enum import StrEnum


class BrewState(StrEnum):
    """Where a command stands."""

    QUEUED = "queued"
    SENT = "sent"
    ACCEPTED = "accepted"
    STARTED = "started"
    REVOKING = "revoking"
    DONE = "done"
    FAILED = "failed"
    REJECTED = "rejected"
    REVOKED = "revoked"
    EXPIRED = "expired"


class BrewEvent(StrEnum):
    """What can happen to a command: first what machines report, then what we do or what time does."""

    ACCEPTED = "accepted"
    STARTED = "started"
    DONE = "done"
    FAILED = "failed"
    REJECTED = "rejected"
    REVOKED = "revoked"
    SENT = "sent"
    ASSUMED_DONE = "assumed_done"
    WITHDRAWN = "withdrawn"
    REVOCATION_ASKED = "revocation_asked"
    NO_ANSWER = "no_answer"


REPORTED = frozenset(
    {
        BrewEvent.ACCEPTED,
        BrewEvent.STARTED,
        BrewEvent.DONE,
        BrewEvent.FAILED,
        BrewEvent.REJECTED,
        BrewEvent.REVOKED,
    }
)
"""What a machine says; the rest is ours."""

OPEN = frozenset({BrewState.QUEUED, BrewState.SENT, BrewState.ACCEPTED, BrewState.STARTED, BrewState.REVOKING})
"""States that something will still change."""

FINAL = frozenset(BrewState) - OPEN

_S, _E = BrewState, BrewEvent

BREW_TRANSITIONS: dict[tuple[BrewState, BrewEvent], BrewState] = {
    (_S.QUEUED, _E.SENT): _S.SENT,
    # Nothing was ever sent, so nobody has to be asked.
    (_S.QUEUED, _E.WITHDRAWN): _S.EXPIRED,
    (_S.SENT, _E.SENT): _S.SENT,
    (_S.SENT, _E.ACCEPTED): _S.ACCEPTED,
    (_S.SENT, _E.STARTED): _S.STARTED,
    (_S.SENT, _E.DONE): _S.DONE,
    (_S.SENT, _E.FAILED): _S.FAILED,
    (_S.SENT, _E.REJECTED): _S.REJECTED,
    (_S.SENT, _E.REVOCATION_ASKED): _S.REVOKING,
    (_S.SENT, _E.NO_ANSWER): _S.EXPIRED,
    (_S.ACCEPTED, _E.STARTED): _S.STARTED,
    (_S.ACCEPTED, _E.DONE): _S.DONE,
    (_S.ACCEPTED, _E.ASSUMED_DONE): _S.DONE,
    (_S.ACCEPTED, _E.FAILED): _S.FAILED,
    (_S.ACCEPTED, _E.REVOCATION_ASKED): _S.REVOKING,
    (_S.ACCEPTED, _E.NO_ANSWER): _S.EXPIRED,
    (_S.STARTED, _E.DONE): _S.DONE,
    (_S.STARTED, _E.ASSUMED_DONE): _S.DONE,
    (_S.STARTED, _E.FAILED): _S.FAILED,
    (_S.STARTED, _E.REVOCATION_ASKED): _S.REVOKING,
    (_S.STARTED, _E.NO_ANSWER): _S.EXPIRED,
    (_S.REVOKING, _E.ACCEPTED): _S.REVOKING,
    (_S.REVOKING, _E.STARTED): _S.REVOKING,
    (_S.REVOKING, _E.DONE): _S.DONE,
    (_S.REVOKING, _E.FAILED): _S.FAILED,
    (_S.REVOKING, _E.REJECTED): _S.REJECTED,
    (_S.REVOKING, _E.REVOKED): _S.REVOKED,
    (_S.REVOKING, _E.NO_ANSWER): _S.EXPIRED,
}


def brew_target(state: BrewState, event: BrewEvent) -> BrewState | None:
    """Return the next state, or None when the event changes nothing in this state."""
    return BREW_TRANSITIONS.get((state, event))
