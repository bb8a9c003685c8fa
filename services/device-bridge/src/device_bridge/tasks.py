"""The Celery edge: what talks to telemetry over HTTP, and receipts by e-mail. A task carries ids of rows, no more."""

import asyncio
import os
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from celery import Celery
from celery.signals import worker_process_init, worker_process_shutdown

from copeck.messaging.celery import make_celery, send_after_commit
from copeck.observability.logs import configure_logging
from copeck.storage.engine import Database
from device_bridge.drivers.registry import build_drivers
from device_bridge.handlers import receipts, sending
from device_bridge.handlers.context import Context
from device_bridge.settings import DevicesSettings

T = TypeVar("T")

TASK_TIMEOUT_S = 40.0
_POOL_SIZE = 2
_GROUP_MAX = 10

settings = DevicesSettings()
app: Celery = make_celery("devices", settings, include=["device_bridge.tasks"])


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
        database = Database(settings.database_url, _POOL_SIZE, application="device-worker", ping_after_s=1.0)
        context = Context(database, settings, drivers=build_drivers(settings, None), send_receipts=enqueue_receipts)
        _process = _Process(os.getpid(), asyncio.Runner(), context)
    return _process


def _run(work: Callable[[Context], Coroutine[Any, Any, T]]) -> T:
    """Run one coroutine in this process's loop, bounded in time."""
    process = _here()

    async def bounded() -> T:
        async with asyncio.timeout(TASK_TIMEOUT_S):
            return await work(process.context)

    return process.runner.run(bounded())


@app.task(name="device_bridge.send_command")
def send_command(command_id: str) -> None:
    """Hand one brew command, or its revocation, to a machine that is spoken to over HTTP."""
    _run(lambda context: sending.send_one(context, UUID(command_id)))


@app.task(name="device_bridge.send_receipt")
def send_receipt(*order_ids: str) -> dict[str, int]:
    """E-mail the receipts of some orders."""
    return _run(lambda context: receipts.send_due(context, [UUID(order_id) for order_id in order_ids]))


@app.task(name="device_bridge.janitor")
def janitor() -> dict[str, int]:
    """E-mail whatever waits, whoever forgot it."""
    return _run(receipts.send_due)


def enqueue_commands(command_ids: Sequence[UUID]) -> None:
    """Send the tasks of committed commands: in a thread, without retry; what is lost is found by the sender's look."""
    for command_id in command_ids:
        send_after_commit(send_command, [str(command_id)])


def enqueue_receipts(order_ids: Sequence[UUID]) -> None:
    """The same for receipts; several share a task."""
    for start in range(0, len(order_ids), _GROUP_MAX):
        send_after_commit(send_receipt, [str(order_id) for order_id in order_ids[start : start + _GROUP_MAX]])


@worker_process_init.connect(weak=False)
def _begin(**_: Any) -> None:
    configure_logging("device-worker", settings.log_level, settings.log_format)


@worker_process_shutdown.connect(weak=False)
def _end(**_: Any) -> None:
    global _process
    if _process is not None and _process.pid == os.getpid():
        process, _process = _process, None
        process.runner.run(process.context.database.close())
        process.runner.close()
