"""Handing commands to machines: claimed in one transaction, handed on outside of it, the answer noted in another.

Commands are rows; whoever finds one due takes it. After a crash in the middle, a command that the machine recognises
is sent again under the same id; any other is not, and its deadline decides.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from prometheus_client import Counter, Histogram

from copeck.messaging.backoff import Backoff
from copeck.storage.errors import is_transient
from device_bridge.domain import brews
from device_bridge.domain.brewing import BrewEvent, BrewState
from device_bridge.domain.drivers import Answer, BrewInstruction, Driver, DriverPolicy, Handed, Target, Way
from device_bridge.handlers.context import SERVICE, Context, Work
from device_bridge.handlers.reports import follow, tell_buyer
from device_bridge.store import commands
from device_bridge.store.commands import ToSend

log = logging.getLogger(__name__)

BATCH_MAX = 100
CALL_TIMEOUT_S = 15.0
TASK_REPEATED_AFTER = timedelta(seconds=20)
"""When a task is sent again for a command that no worker has taken up."""

NOTE_TRIES = 5
"""How often an answer is tried to be noted: some seconds in all, less than the deadline waits for a call."""
_NOTED_AGAIN = Backoff(first_s=0.1, cap_s=1.0)

_SENT = Counter("copeck_devices_commands_sent_total", "Calls of drivers.", ["model", "kind", "handed"])
_WAIT = Histogram(
    "copeck_devices_command_wait_seconds",
    "From the commit of a brew command to its first handing on.",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 5, 30),
)
_HEARD = {
    Handed.ACCEPTED: BrewEvent.ACCEPTED,
    Handed.REJECTED: BrewEvent.REJECTED,
    Handed.REVOKED: BrewEvent.REVOKED,
}


class Call(NamedTuple):
    """One call of a driver that was claimed and committed."""

    driver: Driver
    work: ToSend


def instruction_of(due: ToSend) -> BrewInstruction:
    """Return what the machine is told: the same at each sending. The claim has counted this one already."""
    order, command = due.order, due.command
    return BrewInstruction(
        command_id=command.id,
        order_id=order.id,
        drink_id=order.drink_id,
        size=order.size,
        price_minor=order.price_minor,
        currency=order.currency,
        issued_at=command.issued_at,
        expires_at=command.expires_at,
        machine_order_id=order.machine_order_id,
        first=command.sent_count <= 1,
    )


def target_of(context: Context, due: ToSend) -> Target:
    """Return the machine that is spoken to."""
    device = due.device
    return Target(device.id, due.command.model, device.driver, context.device_key(device), device.time_zone)


async def send_due(
    context: Context, limit: int = BATCH_MAX, *, only: Way | None = None, but: Sequence[Way] = ()
) -> int:
    """Hand on what is due, at most `limit` commands at once; returns how many were looked at.

    `only` and `but` narrow it to commands that go a way, or do not go some.
    """
    calls, tasks, seen = await _claim(context, limit, only, but)
    if tasks:
        context.enqueue_commands(tasks)
    await _call_all(context, calls)
    return seen


async def _claim(
    context: Context, limit: int, only: Way | None, but: Sequence[Way]
) -> tuple[list[Call], list[UUID], int]:
    """Take what is due and commit that it is being sent; slow calls are left to the worker."""
    calls: list[Call] = []
    tasks: list[UUID] = []
    async with context.database.transaction() as tx:
        now = context.clock.now()
        due = await commands.lock_to_send(tx, now, limit, only=only, but=but)
        changed = []
        for one in due:
            policy = _policy(context, one.command.model)
            if policy is not None and policy.through == "worker":
                tasks.append(one.command.id)
                changed.append(brews.wait_for_worker(one.command, now, TASK_REPEATED_AFTER))
                continue
            claimed = brews.sending(one.command, now, policy) if policy else None
            if claimed is None or policy is None:
                changed.append(brews.give_sending_up(one.command))
                continue
            _note_wait(one, now)
            changed.append(claimed)
            calls.append(Call(context.drivers.driver(claimed.model), ToSend(claimed, one.order, one.device)))
        await commands.save(tx, *changed)
    return calls, tasks, len(due)


def _policy(context: Context, model: str) -> DriverPolicy | None:
    try:
        return context.drivers.policy(model)
    except KeyError:
        log.error("no driver speaks to machines of the model %s", model)
        return None


def _note_wait(due: ToSend, now: datetime) -> None:
    if due.command.state is BrewState.QUEUED:
        _WAIT.observe(max(0.0, (now - due.command.issued_at).total_seconds()))


async def send_one(context: Context, command_id: UUID) -> str:
    """Hand one command on, as the worker does; returns what became of it. A task that comes twice does it once."""
    async with context.database.transaction() as tx:
        now = context.clock.now()
        due = await commands.lock_one_of_worker(tx, command_id)
        if due is None:
            return "gone"
        claimed = brews.sending_by_worker(due.command, now, context.drivers.policy(due.command.model))
        if claimed is None:
            return "not due"
        _note_wait(due, now)
        await commands.save(tx, claimed)
    call = Call(context.drivers.driver(claimed.model), ToSend(claimed, due.order, due.device))
    answer = await _call(context, call)
    return answer.handed.value


async def _call_all(context: Context, calls: Sequence[Call]) -> None:
    slots = asyncio.Semaphore(context.settings.sender_concurrency)

    async def one(call: Call) -> None:
        async with slots:
            await _call(context, call)

    results = await asyncio.gather(*(one(call) for call in calls), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            # The row says what is to be done next; the error is of this call alone.
            log.error("a command was not handed on", exc_info=result)


async def _call(context: Context, call: Call) -> Answer:
    """Speak to the machine, outside of every transaction, and note what it answered."""
    due = call.work
    revoking = due.command.state is BrewState.REVOKING
    speak = call.driver.revoke if revoking else call.driver.brew
    try:
        async with asyncio.timeout(CALL_TIMEOUT_S):
            answer = await speak(target_of(context, due), instruction_of(due))
    except TimeoutError:
        answer = Answer(Handed.UNKNOWN, "timeout")
    _SENT.labels(due.command.model, "revoke" if revoking else "brew", answer.handed.value).inc()
    await _note(context, due, answer)
    return answer


async def _note(context: Context, due: ToSend, answer: Answer) -> None:
    """Write down what a call came to, again if the database was away: no machine says it a second time."""
    for failures in range(NOTE_TRIES):
        try:
            await _write_down(context, due, answer)
        except Exception as error:
            if failures + 1 == NOTE_TRIES or not is_transient(error):
                raise
            log.warning("the answer %s of %s is noted again: %s", answer.handed.value, due.device.id, error)
            await asyncio.sleep(_NOTED_AGAIN.delay_s(failures))
        else:
            return


async def _write_down(context: Context, due: ToSend, answer: Answer) -> None:
    """Note an answer; what was merely handed on is written already."""
    event = _HEARD.get(answer.handed)
    if event is not None:
        async with context.database.transaction() as tx:
            work = Work(context, tx, context.clock.now(), SERVICE)
            followed = await follow(work, due.order.id, event, answer.code)
        context.poke()
        tell_buyer(context, followed)
    elif answer.handed is Handed.UNREACHABLE:
        log.warning("machine %s is not reached: %s %s", due.device.id, answer.code, answer.detail)
        async with context.database.transaction() as tx:
            command = await commands.of_order(tx, due.order.id, lock=True)
            again = brews.unreachable(command, answer.code, context.clock.now()) if command else None
            if again is not None:
                await commands.save(tx, again)
