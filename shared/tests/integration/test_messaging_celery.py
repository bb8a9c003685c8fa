"""Celery on quorum queues: what survives a killed child, a hard limit and an absent broker, and how a trace goes on."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from copeck.messaging.celery import make_celery, send_after_commit, send_task
from copeck.observability import metrics
from copeck.observability.trace import trace_scope
from copeck.testkit.rabbit import Broker
from copeck.testkit.waiting import eventually, eventually_sync, never

pytestmark = pytest.mark.integration

PROBE = Path(__file__).with_name("celery_probe.py")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "probe.log"
    path.touch()
    return path


@pytest.fixture
def probe_app(broker: Broker, log: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.setenv("COPECK_CELERY_BROKER_URL", broker.celery_urls["reminders"])
    monkeypatch.setenv("PROBE_LOG", str(log))
    spec = importlib.util.spec_from_file_location("celery_probe", PROBE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    module.app.close()


@pytest.fixture
def worker(probe_app: ModuleType, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, str(PROBE)], env=os.environ.copy(), stderr=subprocess.PIPE)
    yield process
    process.send_signal(signal.SIGTERM)
    try:
        _, errors = process.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        _, errors = process.communicate()
        pytest.fail(f"the worker did not stop: {errors[-2000:].decode()}")
    assert process.returncode == 0, errors[-2000:].decode()


def lines(log: Path, word: str) -> list[str]:
    return [line for line in log.read_text().splitlines() if line.startswith(word)]


async def test_a_task_runs_in_the_trace_that_sent_it(
    probe_app: ModuleType, worker: subprocess.Popen[bytes], log: Path
) -> None:
    with trace_scope(correlation_id="purchase-7") as trace:
        send_after_commit(probe_app.trace, ["a"])
        send_task(probe_app.app, "probe.trace", ["b"])
    await eventually(lambda: len(lines(log, "a")) == 1 and len(lines(log, "b")) == 1, 20)
    assert lines(log, "a") == [f"a {trace.trace_id} purchase-7"]
    assert lines(log, "b") == [f"b {trace.trace_id} purchase-7"]


async def test_a_killed_childs_task_comes_again(
    probe_app: ModuleType, worker: subprocess.Popen[bytes], log: Path
) -> None:
    send_task(probe_app.app, "probe.die", ["victim"])
    await eventually(lambda: len(lines(log, "victim")) == 2, 30)
    assert len(set(lines(log, "victim"))) == 2


async def test_a_hard_limit_ends_a_task_for_good(
    probe_app: ModuleType, worker: subprocess.Popen[bytes], log: Path, broker: Broker
) -> None:
    """By design: the row's lease and the janitor bring it back, not the queue."""
    send_task(probe_app.app, "probe.hang", ["slow"])
    await eventually(lambda: lines(log, "slow"), 20)
    send_task(probe_app.app, "probe.trace", ["next"])
    await eventually(lambda: lines(log, "next"), 20)
    await never(lambda: len(lines(log, "slow")) > 1, 1.5)


async def test_a_countdown_goes_through_quorum_queues(
    probe_app: ModuleType, worker: subprocess.Popen[bytes], log: Path, broker: Broker
) -> None:
    send_task(probe_app.app, "probe.later", ["again"])
    send_task(probe_app.app, "payments_gateway.tasks.janitor", queue="gateway")
    await eventually(lambda: len(lines(log, "again")) == 3, 30)
    async with broker.client() as client:
        answer = await client.get(f"/api/queues/{broker.celery_host}", params={"columns": "name,type,arguments"})
    queues = answer.json()
    kinds = {queue["arguments"].get("x-queue-type", queue.get("type")) for queue in queues}
    assert {"gateway", "reminders"} <= {queue["name"] for queue in queues}
    # Nothing that RabbitMQ 4 deprecates: no classic queues, and none that is transient without being exclusive.
    assert kinds == {"quorum"}


def test_sending_to_an_absent_broker_is_logged_counted_and_ignored(probe_app: ModuleType) -> None:
    class Nowhere:
        celery_broker_url = "amqp://reminders:x@127.0.0.1:1/celery"

    app = make_celery("reminders", Nowhere())

    @app.task(name="probe.nowhere")
    def nowhere() -> None:
        """Never runs."""

    before = _failures("probe.nowhere")
    started = time.monotonic()
    send_after_commit(nowhere, [1])
    assert time.monotonic() - started < 0.5
    eventually_sync(lambda: _failures("probe.nowhere") == before + 1, 15)
    with pytest.raises(Exception):  # noqa: B017, PT011 - kombu's own error, whichever it is
        send_task(app, "probe.nowhere")
    app.close()


def test_only_known_services_have_queues(broker: Broker) -> None:
    class Settings:
        celery_broker_url = broker.celery_urls["reminders"]

    with pytest.raises(ValueError, match="auth"):
        make_celery("auth", Settings())


def _failures(task: str) -> float:
    value: Any = metrics.TASK_SEND_FAILURES.labels(task)._value.get()
    return float(value)
