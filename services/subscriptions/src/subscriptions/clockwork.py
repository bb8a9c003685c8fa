"""What time alone does: periods end, scheduled cancellations come due, unpaid subscriptions are given up.

Any number of processes may run it: each piece of due work is a row, taken with SKIP LOCKED and deleted in the commit of
its effect.
"""

import asyncio
import contextlib
import logging
from datetime import timedelta
from uuid import UUID

from copeck.messaging.backoff import Backoff
from copeck.storage.errors import is_transient
from subscriptions.domain import decisions
from subscriptions.domain.model import Applied
from subscriptions.handlers.catch_up import BEGINNING, catch_up
from subscriptions.handlers.context import SERVICE, Context, Work
from subscriptions.handlers.steps import carry_out
from subscriptions.store import subscriptions as store

log = logging.getLogger(__name__)

BATCH_MAX = 500
RETENTION_EVERY_S = 3600.0
POSTPONED_BY = timedelta(minutes=5)


async def run_one(context: Context) -> bool:
    """Do one piece of due work; False when nothing is due.

    A subscription that cannot be moved on is tried again later: it must not hold up all the others.
    """
    subscription_id: UUID | None = None
    try:
        async with context.database.transaction() as tx:
            now = context.clock.now()
            subscription_id = await store.take_due(tx, now)
            if subscription_id is not None:
                await _tick(Work(context, tx, now, SERVICE), subscription_id)
    except Exception as error:
        if subscription_id is None or is_transient(error):
            raise
        log.exception("subscription %s is put off", subscription_id)
        async with context.database.transaction() as tx:
            await store.postpone(tx, subscription_id, context.clock.now() + POSTPONED_BY)
    return subscription_id is not None


async def _tick(work: Work, subscription_id: UUID) -> None:
    subscription = await store.lock(work.tx, subscription_id)
    if subscription is None:
        return
    outcome = decisions.tick(subscription, work.now, work.context.settings.grace)
    if isinstance(outcome, Applied):
        await carry_out(work, subscription, outcome)


async def run_due(context: Context, limit: int = BATCH_MAX) -> int:
    """Do what is due now; returns how many pieces of work were looked at."""
    done = 0
    while done < limit and await run_one(context):
        done += 1
    if done:
        context.poke()
    return done


async def forget_old(context: Context) -> None:
    """Delete ids of applied messages and answers under idempotency keys that nobody will repeat any more."""
    before = context.clock.now() - timedelta(days=context.settings.retention_days)
    async with context.database.transaction() as tx:
        await context.inbox.forget(tx, before.date())
        await context.idempotency.forget(tx, before)


class Clockwork:
    """The loop around it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Look for due work until `stop`; faults of Postgres are waited out."""
        backoff, failures, forget_at, catch_up_at = Backoff(), 0, 0.0, 0.0
        asked_upto = BEGINNING
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            delay_s = self._context.settings.due_poll_s
            try:
                if await run_due(self._context) == BATCH_MAX:
                    delay_s = 0.0
                if loop.time() >= catch_up_at:
                    asked_upto = (await catch_up(self._context, asked_upto)).after
                    catch_up_at = loop.time() + self._context.settings.catch_up_interval_s
                if loop.time() >= forget_at:
                    await forget_old(self._context)
                    forget_at = loop.time() + RETENTION_EVERY_S
                failures = 0
            except Exception as error:
                if not is_transient(error):
                    log.exception("due work failed")
                delay_s = backoff.delay_s(failures)
                failures += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await self._stopping.wait()

    async def stop(self) -> None:
        """End after the piece of work under way."""
        self._stopping.set()
