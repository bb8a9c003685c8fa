"""A bug that is planted to see it caught."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Change:
    """One replacement in one file; the old text must be there exactly once."""

    path: str
    old: str
    new: str


@dataclass(frozen=True)
class Bug:
    """A bug, and the test that is to catch it."""

    name: str
    changes: tuple[Change, ...]
    test: str
