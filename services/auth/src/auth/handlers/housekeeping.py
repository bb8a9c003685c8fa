"""Deleting what ended long ago, a bounded number of rows at once."""

import asyncio
from datetime import timedelta

from auth.context import Context
from auth.store import failures, sessions
from copeck.observability.logs import get_logger

_PERIOD_S = 3600.0
_ROWS_MAX = 1000
_ROUNDS_MAX = 1000

log = get_logger(__name__)


async def purge_all(context: Context) -> int:
    """Delete ended sessions, families, counters and challenges; returns how many rows went."""
    before = context.clock.now() - timedelta(days=context.settings.retention_days)
    total = 0
    for _ in range(_ROUNDS_MAX):
        async with context.database.transaction() as tx:
            count = await sessions.purge(tx, before, _ROWS_MAX)
        total += count
        if count == 0:
            break
    async with context.database.transaction() as tx:
        total += await failures.purge(tx, before)
    return total


async def run(context: Context) -> None:
    """Do it every hour; a failure waits for the next one."""
    while True:
        try:
            count = await purge_all(context)
            if count:
                log.info("ended sessions were deleted", rows=count)
        except Exception as error:  # noqa: BLE001 - whatever it is, logins must not end with it
            log.warning("ended sessions were not deleted", error=type(error).__name__)
        await asyncio.sleep(_PERIOD_S)
