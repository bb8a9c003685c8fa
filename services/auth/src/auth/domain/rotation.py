"""The life of a signing key: published (known, not used), active (signs), retiring (still verifies), retired."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

State = Literal["published", "active", "retiring", "retired"]
Action = Literal["publish", "activate", "retire"]


@dataclass(frozen=True, slots=True)
class KeyState:
    """A signing key without its secrets."""

    kid: str
    state: State
    published_at: datetime
    activated_at: datetime | None = None
    retiring_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One step that is due, or why none is yet."""

    action: Action | None
    kid: str | None
    reason: str


def next_step(
    keys: Sequence[KeyState],
    now: datetime,
    *,
    cache: timedelta,
    token_life: timedelta,
    age_min: timedelta = timedelta(0),
) -> Step:
    """Return what to do next on the way from the present active key to a new one.

    A new key is published first; it signs only after every verifier's cache has had to fetch it; the old one goes
    when the last token that it signed is over. A key younger than `age_min` is not replaced, so that the command may
    run from a timetable.
    """
    active = next((key for key in keys if key.state == "active"), None)
    coming = next((key for key in keys if key.state == "published"), None)
    old = next((key for key in keys if key.state == "retiring"), None)
    if active is None and coming is None:
        return Step("publish", None, "there is no key at all")
    if active is None and coming is not None:
        return Step("activate", coming.kid, "there is no active key")
    if old is not None:
        since = old.retiring_at or old.published_at
        if now - since >= token_life:
            return Step("retire", old.kid, "every token that it signed is over")
        return Step(None, old.kid, f"tokens that it signed live until {since + token_life:%H:%M:%S} UTC")
    if coming is None:
        assert active is not None  # noqa: S101 - both branches without one have returned
        since = active.activated_at or active.published_at
        if now - since < age_min:
            return Step(None, active.kid, f"the active key is younger than {age_min.days} days")
        return Step("publish", None, "verifiers have to learn the new key before it signs")
    if now - coming.published_at >= cache:
        return Step("activate", coming.kid, "every verifier has had to learn it")
    return Step(None, coming.kid, f"verifiers may not know it until {coming.published_at + cache:%H:%M:%S} UTC")
