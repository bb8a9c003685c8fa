"""Time as a parameter, so that a test can stand at any moment."""

from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Where the present moment comes from: always an aware datetime in UTC."""

    def now(self) -> datetime:
        """Return the present moment."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the present moment in UTC."""
        return datetime.now(UTC)


class ManualClock:
    """A clock that moves only when told to."""

    def __init__(self, at: datetime) -> None:
        if at.tzinfo is None:
            raise ValueError("a clock needs an aware datetime")
        self._at = at.astimezone(UTC)

    def now(self) -> datetime:
        """Return the moment that was set last."""
        return self._at

    def advance(self, by: timedelta) -> datetime:
        """Move forward and return the new moment."""
        self._at += by
        return self._at

    def set(self, at: datetime) -> None:
        """Jump to a moment, backwards too: a machine's clock may do that."""
        self._at = at.astimezone(UTC)
