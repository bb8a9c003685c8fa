"""Waiting for what the bus decides: `Prefer: wait=5` (RFC 7240)."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

from fastapi import Depends, Header

WAIT_S_MAX = 30.0
_STEP_S_MIN = 0.02
_STEP_S_MAX = 0.5
_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})\"?", re.IGNORECASE)

T = TypeVar("T")


async def prefer_wait(
    prefer: Annotated[
        str | None,
        Header(alias="Prefer", max_length=200, description="`wait=5`: how many seconds to wait, 30 at most."),
    ] = None,
) -> float:
    """Return how many seconds the caller would wait for the outcome; 0 when it did not say."""
    match = _WAIT.search(prefer or "")
    return min(float(match.group(1)), WAIT_S_MAX) if match else 0.0


PreferWait = Annotated[float, Depends(prefer_wait)]


async def wait_until(probe: Callable[[], Awaitable[T | None]], timeout_s: float) -> T | None:
    """Ask until the probe gives something or the time is over; it is asked at least once, ever less often.

    The probe opens and closes its own transaction: nothing is held while we wait.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + min(timeout_s, WAIT_S_MAX)
    step_s = _STEP_S_MIN
    while True:
        found = await probe()
        left_s = deadline - loop.time()
        if found is not None or left_s <= 0:
            return found
        await asyncio.sleep(min(step_s, left_s))
        step_s = min(step_s * 1.5, _STEP_S_MAX)
