"""Waiting for something to become true, with a deadline instead of a sleep."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

T = TypeVar("T")
_FIRST_S = 0.005
_CAP_S = 0.1


@overload
async def eventually(check: Callable[[], Awaitable[T]], timeout_s: float = ..., message: str = ...) -> T: ...


@overload
async def eventually(check: Callable[[], T], timeout_s: float = ..., message: str = ...) -> T: ...


async def eventually(check: Callable[[], object], timeout_s: float = 10.0, message: str = "") -> object:
    """Call `check` until it returns something true, and return that; a check may also assert.

    At the deadline the last assertion is raised, or a failure that says what was waited for.
    """
    deadline = time.monotonic() + timeout_s
    pause, failure = _FIRST_S, None
    last: object = None
    while True:
        try:
            outcome = check()
            value: object = await outcome if inspect.isawaitable(outcome) else outcome
            failure = None
            if value:
                return value
            last = value
        except AssertionError as error:
            failure = error
        if time.monotonic() >= deadline:
            if failure is not None:
                raise failure
            raise AssertionError(f"{message or _name_of(check)} is still {last!r} after {timeout_s:g} s")
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, _CAP_S)


def eventually_sync(check: Callable[[], T], timeout_s: float = 10.0, message: str = "") -> T:
    """The same without an event loop."""
    deadline = time.monotonic() + timeout_s
    pause, failure = _FIRST_S, None
    last: object = None
    while True:
        try:
            value = check()
            failure = None
            if value:
                return value
            last = value
        except AssertionError as error:
            failure = error
        if time.monotonic() >= deadline:
            if failure is not None:
                raise failure
            raise AssertionError(f"{message or _name_of(check)} is still {last!r} after {timeout_s:g} s")
        time.sleep(pause)
        pause = min(pause * 1.5, _CAP_S)


async def never(check: Callable[[], object], for_s: float = 0.5, message: str = "") -> None:
    """Fail as soon as `check` returns something true within a while; for what must not happen."""
    deadline = time.monotonic() + for_s
    while time.monotonic() < deadline:
        outcome = check()
        value = await outcome if inspect.isawaitable(outcome) else outcome
        assert not value, f"{message or _name_of(check)} happened: {value!r}"
        await asyncio.sleep(0.02)


def never_sync(check: Callable[[], object], for_s: float = 0.5, message: str = "") -> None:
    """The same without an event loop."""
    deadline = time.monotonic() + for_s
    while time.monotonic() < deadline:
        value = check()
        assert not value, f"{message or _name_of(check)} happened: {value!r}"
        time.sleep(0.05)


def _name_of(check: Callable[..., object]) -> str:
    return getattr(check, "__qualname__", repr(check)).replace(".<locals>", "")
