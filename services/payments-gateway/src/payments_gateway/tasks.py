"""The Celery edge: tasks carry a row's id and nothing else; a lost task loses nothing."""

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from celery import Celery
from celery.signals import worker_process_init, worker_process_shutdown

from copeck.messaging.celery import RowTasks, make_celery, send_after_commit
from copeck.messaging.topology import CELERY_QUEUES
from copeck.observability.logs import configure_logging, get_logger
from payments_gateway.composition import make_context
from payments_gateway.handlers import batches, operations
from payments_gateway.handlers import janitor as tidy
from payments_gateway.handlers.context import Context
from payments_gateway.settings import GatewaySettings

log = get_logger(__name__)
T = TypeVar("T")

_, _QUESTIONS = CELERY_QUEUES["gateway"]

settings = GatewaySettings()
app: Celery = make_celery("gateway", settings, include=["payments_gateway.tasks"])


@dataclass(slots=True)
class _Process:
    """The event loop and the connections of one worker process; made after the fork."""

    pid: int
    runner: asyncio.Runner
    context: Context


_process: _Process | None = None


def _here() -> _Process:
    global _process  # noqa: PLW0603 - one loop and one pool a process
    if _process is None or _process.pid != os.getpid():
        context = make_context(settings, pool_size=operations.CONCURRENCY)
        context.enqueue, context.enqueue_questions, context.send_batch = enqueue, enqueue_questions, send_batch
        _process = _Process(os.getpid(), asyncio.Runner(), context)
    return _process


def _run(work: Callable[[Context], Coroutine[Any, Any, T]]) -> T:
    """Run one coroutine in this process's loop, bounded in time."""
    process = _here()

    async def bounded() -> T:
        async with asyncio.timeout(operations.TASK_TIMEOUT_S):
            return await work(process.context)

    return process.runner.run(bounded())


@app.task(name="payments_gateway.execute_operation")
def execute_operation(*operation_ids: str) -> dict[str, int]:
    """Run one try of each of some provider operations; returns how many ended where."""
    ids = [UUID(operation_id) for operation_id in operation_ids]
    return dict(Counter(_run(lambda context: operations.execute_many(context, ids)).values()))


@app.task(name="payments_gateway.send_payout_batch")
def send_payout_batch(batch_id: str) -> int:
    """Hand what is left of a batch of payouts to the updater."""
    return _run(lambda context: batches.send(context, UUID(batch_id)))


@app.task(name="payments_gateway.janitor")
def janitor() -> dict[str, int]:
    """Take up stuck operations and ask about attempts that stayed open."""
    done = _run(tidy.run)
    return {"attempts": done.attempts, "operations": done.operations}


@app.task(name="payments_gateway.sweep")
def sweep() -> dict[str, int]:
    """Reconcile with the providers' lists, keep partitions and limits."""
    return _run(tidy.sweep)


_OPERATIONS = RowTasks(execute_operation, operations.GROUP_MAX)
_ASKED = RowTasks(execute_operation, operations.GROUP_MAX, queue=_QUESTIONS)


def enqueue(operation_ids: list[UUID]) -> None:
    """Send the tasks of committed rows: in a thread, without retry; a failure is left to the janitor."""
    _OPERATIONS.send(operation_ids)


def enqueue_questions(operation_ids: list[UUID]) -> None:
    """The same for operations that only ask: in their own queue, so that money never waits behind them."""
    _ASKED.send(operation_ids)


def send_batch(batch_id: UUID) -> None:
    """The same for a batch of payouts."""
    send_after_commit(send_payout_batch, [str(batch_id)])


@worker_process_init.connect(weak=False)
def _begin(**_: Any) -> None:
    configure_logging("gateway-worker", settings.log_level, settings.log_format)


@worker_process_shutdown.connect(weak=False)
def _end(**_: Any) -> None:
    global _process
    if _process is not None and _process.pid == os.getpid():
        process, _process = _process, None
        process.runner.run(process.context.close())
        process.runner.close()
