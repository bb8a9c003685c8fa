"""What runs beside the queues: commands are handed on, deadlines are kept, missed events are caught up with.

Any number of processes may run it: each piece of due work is a row, taken with SKIP LOCKED and decided in the commit of
its effect.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from uuid import UUID

from copeck.kernel.ids import new_id
from copeck.messaging.backoff import Backoff
from copeck.storage.errors import is_transient
from device_bridge.domain import brews
from device_bridge.domain.drivers import Way
from device_bridge.domain.model import Order
from device_bridge.domain.outcomes import Applied
from device_bridge.handlers import receipts, removals
from device_bridge.handlers.catch_up import catch_up
from device_bridge.handlers.context import SERVICE, Context, Work
from device_bridge.handlers.reports import tell_buyer
from device_bridge.handlers.sending import BATCH_MAX as SENT_AT_ONCE
from device_bridge.handlers.sending import send_due
from device_bridge.handlers.steps import carry_out, note_stale
from device_bridge.store import commands, orders

log = logging.getLogger(__name__)

DUE_MAX = 200
RETENTION_EVERY_S = 3600.0
RECEIPTS_EVERY_S = 5.0
POSTPONED_BY = timedelta(minutes=1)
ACCOUNTS_EVERY_S = 10.0


async def decide_due(context: Context, limit: int = DUE_MAX) -> int:
    """Decide about commands whose moment has come; returns how many were looked at.

    One that cannot be decided is tried again later: it must not hold up all the others.
    """
    async with context.database.reading() as tx:
        order_ids = await commands.due(tx, context.clock.now(), limit)
    for order_id in order_ids:
        try:
            tell_buyer(context, await _decide(context, order_id))
        except Exception as error:
            if is_transient(error):
                raise
            log.exception("the command of order %s is put off", order_id)
            async with context.database.transaction() as tx:
                await commands.postpone(tx, order_id, context.clock.now() + POSTPONED_BY)
    if order_ids:
        context.poke()
        context.wake_sender()
    return len(order_ids)


async def _decide(context: Context, order_id: UUID) -> Order | None:
    async with context.database.transaction() as tx:
        order = await orders.lock(tx, order_id, skip_locked=True)
        command = await commands.of_order(tx, order_id, lock=True) if order is not None else None
        if order is None or command is None:
            return None
        work = Work(context, tx, context.clock.now(), SERVICE)
        policy = context.policy(command.model)
        outcome = brews.due(order, command, work.now, policy, context.limits, new_id())
        if isinstance(outcome, Applied):
            return await carry_out(work, order, outcome)
        note_stale(order_id, outcome)
        return None


async def forget_old(context: Context) -> None:
    """Delete ids of applied messages and answers under idempotency keys that nobody will repeat any more."""
    before = context.clock.now() - timedelta(days=context.settings.retention_days)
    async with context.database.transaction() as tx:
        await context.inbox.forget(tx, before.date())
        await context.idempotency.forget(tx, before)


class Sender:
    """Hands due commands to machines: at once when it is woken, and by looking now and then.

    `only` and `but` are the ways of its commands: see `senders`.
    """

    def __init__(self, context: Context, *, only: Way | None = None, but: Sequence[Way] = ()) -> None:
        self._context = context
        self._only, self._but = only, but
        self._wake = asyncio.Event()
        self._stopping = False

    def wake(self) -> None:
        """Say that a commit made a command due; call it from the sender's event loop."""
        self._wake.set()

    async def run(self) -> None:
        """Send until `stop`; faults of Postgres are waited out."""
        backoff, failures = Backoff(), 0
        while not self._stopping:
            self._wake.clear()
            delay_s = self._context.settings.timer_poll_s
            try:
                if await send_due(self._context, only=self._only, but=self._but) == SENT_AT_ONCE:
                    continue
                failures = 0
            except Exception as error:
                if not is_transient(error):
                    log.exception("sending failed")
                delay_s = backoff.delay_s(failures)
                failures += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await self._wake.wait()

    async def stop(self) -> None:
        """End after what is on its way."""
        self._stopping = True
        self._wake.set()


def senders(context: Context, ways: Sequence[Way]) -> list[Sender]:
    """Return a sender for each way, and the first one for all other commands: a slow way holds up its own alone."""
    return [Sender(context, but=ways), *(Sender(context, only=way) for way in ways)]


class Clockwork:
    """Keeps the deadlines; beside them, now and then, catches up and forgets."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._stopping = asyncio.Event()
        self._next: dict[str, float] = {}

    async def run(self) -> None:
        """Look for due work until `stop`; faults of Postgres are waited out."""
        backoff, failures = Backoff(), 0
        settings = self._context.settings
        while not self._stopping.is_set():
            delay_s = settings.timer_poll_s
            try:
                if await decide_due(self._context) == DUE_MAX:
                    delay_s = 0.0
                await self._now_and_then("catch_up", settings.catch_up_interval_s, catch_up)
                await self._now_and_then("receipts", RECEIPTS_EVERY_S, receipts.wake_due)
                await self._now_and_then("forget", RETENTION_EVERY_S, forget_old)
                failures = 0
            except Exception as error:
                if not is_transient(error):
                    log.exception("due work failed")
                delay_s = backoff.delay_s(failures)
                failures += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await self._stopping.wait()

    async def _now_and_then(self, name: str, interval_s: float, work: Callable[[Context], Awaitable[object]]) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() >= self._next.get(name, 0.0):
            await work(self._context)
            self._next[name] = loop.time() + interval_s

    async def stop(self) -> None:
        """End after the piece of work under way."""
        self._stopping.set()


class AccountRevoker:
    """Revokes accounts of deleted machines that the broker did not hear of. Apart from the clock: it may be slow."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Look for accounts until `stop`; what fails is tried the next time."""
        while not self._stopping.is_set():
            try:
                await removals.revoke_due(self._context)
            except Exception as error:
                if not is_transient(error):
                    log.exception("revoking accounts failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ACCOUNTS_EVERY_S):
                    await self._stopping.wait()

    async def stop(self) -> None:
        """End after the account under way."""
        self._stopping.set()
