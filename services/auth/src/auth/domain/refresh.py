"""What a refresh token that was not unused any more means."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto


class Verdict(Enum):
    """What to do with a refresh."""

    ROTATE = auto()
    IN_PROGRESS = auto()
    REUSED = auto()
    INVALID = auto()


@dataclass(frozen=True, slots=True)
class TokenState:
    """A refresh token with what is known of its family. `won` tells whether this request was the one that used it."""

    won: bool
    used_at: datetime | None
    expires_at: datetime
    family_expires_at: datetime
    family_revoked: bool
    user_active: bool


def judge(state: TokenState | None, now: datetime, grace: timedelta) -> Verdict:
    """Decide. Reuse within the grace is two tabs at once; later, somebody has a copy."""
    if state is None or state.family_revoked or not state.user_active:
        return Verdict.INVALID
    if state.won:
        over = now >= state.expires_at or now >= state.family_expires_at
        return Verdict.INVALID if over else Verdict.ROTATE
    if state.used_at is not None and now - state.used_at <= grace:
        return Verdict.IN_PROGRESS
    return Verdict.REUSED
