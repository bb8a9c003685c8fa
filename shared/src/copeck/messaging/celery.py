"""Celery for what may be slow: quorum queues in a virtual host of its own, late acknowledgement, confirmed sending.

A task carries the id of a row and nothing else that matters: its loss must not lose money. The row was committed
before the task is sent, and a janitor finds the rows whose task never ran.
"""

import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, Protocol

from celery import Celery, Task, signals
from kombu import Exchange, Queue

from copeck.messaging.topology import CELERY_QUEUES, celery_queue_arguments, celery_queues
from copeck.observability import metrics
from copeck.observability.trace import CORRELATION_HEADER, TRACEPARENT_HEADER, headers_scope, outgoing_headers

log = logging.getLogger(__name__)

SOFT_TIME_LIMIT_S = 45
HARD_TIME_LIMIT_S = 60
_SENDING_THREADS = 2
_SENDING_WAITING_MAX = 1000
_IDS_WAITING_MAX = 20_000


class CelerySettings(Protocol):
    """The setting that is needed here."""

    @property
    def celery_broker_url(self) -> str:
        """URL of the virtual host `celery`."""


def _queue(name: str) -> Queue:
    exchange = Exchange(name, type="topic", durable=True)
    return Queue(name, exchange, routing_key=name, queue_arguments=celery_queue_arguments())


def make_celery(name: str, settings: CelerySettings, include: Sequence[str] = ()) -> Celery:
    """Build a service's Celery application; `name` is also its first queue. `include` names its modules of tasks."""
    if name not in CELERY_QUEUES:
        raise ValueError(f"{name} has no Celery queue; one of {', '.join(CELERY_QUEUES)}")
    app = Celery(name, include=list(include), set_as_current=True)
    app.conf.update(
        broker_url=settings.celery_broker_url,
        broker_connection_timeout=5,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_heartbeat=10,
        broker_pool_limit=4,
        # Without it a task that the broker never stored counts as sent.
        broker_transport_options={"confirm_publish": True, "read_timeout": 30, "write_timeout": 10},
        # Named although it is the default: a countdown must survive a restart of the broker too.
        broker_native_delayed_delivery_queue_type="quorum",
        task_queues=[_queue(queue) for queue in celery_queues()],
        task_default_queue=name,
        task_default_exchange=name,
        task_default_exchange_type="topic",
        task_default_routing_key=name,
        task_default_queue_type="quorum",
        task_create_missing_queues=False,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_soft_time_limit=SOFT_TIME_LIMIT_S,
        task_time_limit=HARD_TIME_LIMIT_S,
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_serializer="json",
        accept_content=["json"],
        result_backend=None,
        worker_prefetch_multiplier=1,
        worker_detect_quorum_queues=True,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_send_task_events=False,
        # Remote control needs transient queues that are not exclusive, which RabbitMQ 4 deprecates.
        worker_enable_remote_control=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_max_tasks_per_child=1000,
        worker_proc_alive_timeout=20,
        enable_utc=True,
        timezone="UTC",
    )
    return app


WORKER_ARGUMENTS = ("--without-gossip", "--without-mingle", "--without-heartbeat")
"""What every worker is started with: these three talk through transient queues."""


def worker_command(name: str, concurrency: int = 2) -> list[str]:
    """Return the arguments for `app.worker_main`: only the service's own queues.

    The broker serves the queues in turn, so that a long one takes no more than its share of the worker.
    """
    own = [
        "-Q",
        ",".join(CELERY_QUEUES[name]),
        "-c",
        str(concurrency),
        "-n",
        f"{name}-{os.getpid()}@%h",
        "-l",
        "WARNING",
    ]
    return ["--quiet", "worker", *own, *WORKER_ARGUMENTS]


def send_task(app: Celery, task_name: str, args: Sequence[Any] = (), *, queue: str | None = None) -> None:
    """Send a task by name, here and now, without retry; raises when the broker does not confirm it."""
    app.send_task(task_name, args=list(args), queue=queue or app.conf.task_default_queue, retry=False)


_executor: ThreadPoolExecutor | None = None
_executor_lock = threading.Lock()


class RowTasks:
    """Sends tasks that carry ids of committed rows: those that come while a task is being sent share the next one.

    As with `send_after_commit`, nobody waits for the sending, and what fails is left to the janitor. A task that
    several requests share is in the trace of the first of them.
    """

    def __init__(self, task: Task[Any, Any], ids_max: int, *, queue: str | None = None) -> None:
        self._task = task
        self._ids_max = ids_max
        self._queue = queue
        self._waiting: deque[tuple[str, dict[str, str]]] = deque()

    def send(self, ids: Iterable[object]) -> None:
        """Have the ids sent, as many together as a task may carry; what is too much is counted, and left out."""
        headers = outgoing_headers()
        for one in ids:
            if len(self._waiting) >= _IDS_WAITING_MAX:
                metrics.TASK_SEND_FAILURES.labels(self._task.name).inc()
                log.warning("task %s: ids are not sent, too many wait; the janitor finds them", self._task.name)
                break
            self._waiting.append((str(one), headers))
        _submit(self._task, self._send_group)

    def _send_group(self) -> None:
        group: list[tuple[str, dict[str, str]]] = []
        with contextlib.suppress(IndexError):
            while len(group) < self._ids_max:
                group.append(self._waiting.popleft())
        if not group:
            return
        _send_quietly(self._task, [one for one, _ in group], self._queue, group[0][1])
        if self._waiting:
            # A job of its own, so that other tasks have their turn.
            _submit(self._task, self._send_group)


def send_after_commit(task: Task[Any, Any], args: Sequence[Any] = (), *, queue: str | None = None) -> None:
    """Send a task whose row is committed: at once, in a thread, without retry, and without waiting for it.

    A failure is logged and counted, and otherwise ignored: the janitor finds the row.
    """
    _submit(task, _send_quietly, task, list(args), queue, outgoing_headers())


def _submit(task: Task[Any, Any], work: Callable[..., None], *arguments: object) -> None:
    """Have something done in the sending threads; it is counted when too much waits for them already."""
    global _executor  # noqa: PLW0603 - one pool a process, made when it is first needed
    with _executor_lock:
        if _executor is None:
            _executor = ThreadPoolExecutor(_SENDING_THREADS, thread_name_prefix="celery-send")
        executor = _executor
    # The pool's own queue has no bound; during an outage of the broker it would only grow.
    if executor._work_queue.qsize() >= _SENDING_WAITING_MAX:  # noqa: SLF001 - the pool offers no other way
        metrics.TASK_SEND_FAILURES.labels(task.name).inc()
        return
    try:
        executor.submit(work, *arguments)
    except RuntimeError:
        # The interpreter shuts down.
        metrics.TASK_SEND_FAILURES.labels(task.name).inc()


def _send_quietly(task: Task[Any, Any], args: list[Any], queue: str | None, headers: dict[str, str]) -> None:
    try:
        default: str = task.app.conf.task_default_queue
        task.apply_async(args=tuple(args), retry=False, headers=headers, queue=queue or default)
    except Exception as error:  # noqa: BLE001 - by design: the row is there, the janitor sends it again
        metrics.TASK_SEND_FAILURES.labels(task.name).inc()
        log.warning("task %s %s is not sent, its row waits for the janitor: %s", task.name, args, type(error).__name__)


_running: dict[str, tuple[float, AbstractContextManager[Any]]] = {}


@signals.setup_logging.connect(weak=False)
def _keep_logging(**_: Any) -> None:
    """Whoever listens here keeps Celery from setting up logging in its own way; ours is set up already."""


@signals.before_task_publish.connect(weak=False)
def _add_trace(headers: dict[str, Any] | None = None, **_: Any) -> None:
    if headers is not None:
        for name, value in outgoing_headers().items():
            headers.setdefault(name, value)


@signals.task_prerun.connect(weak=False)
def _enter_trace(task_id: str = "", task: Task[Any, Any] | None = None, **_: Any) -> None:
    carried: Any = task.request if task is not None else {}
    scope = headers_scope({name: carried.get(name) for name in (TRACEPARENT_HEADER, CORRELATION_HEADER)})
    scope.__enter__()
    _running[task_id] = (time.monotonic(), scope)


@signals.task_postrun.connect(weak=False)
def _leave_trace(task_id: str = "", task: Task[Any, Any] | None = None, state: str | None = None, **_: Any) -> None:
    started, scope = _running.pop(task_id, (None, None))
    if scope is not None and started is not None and task is not None:
        metrics.TASK_SECONDS.labels(task.name).observe(time.monotonic() - started)
        metrics.TASKS.labels(task.name, (state or "unknown").lower()).inc()
        scope.__exit__(None, None, None)
