"""Real beats and workers: two of each do no harm, health answers, a stop is clean."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

import httpx2
import psycopg
import pytest

from copeck.contracts.registry import SHARDS, shard_queue
from copeck.kernel.ids import new_id
from copeck.testkit.rabbit import Broker
from copeck.testkit.waiting import eventually, never

pytestmark = pytest.mark.integration


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def process(command: str, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run one process of the service; it must end by itself on SIGTERM, with exit code 0."""
    arguments = [sys.executable, "-m", "reminder_cron", command]
    running = subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        yield running
    finally:
        running.send_signal(signal.SIGTERM)
        try:
            output, _ = running.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            running.kill()
            output, _ = running.communicate()
            pytest.fail(f"{command} did not stop: {output[-3000:].decode()}")
    assert running.returncode == 0, f"{command}: {output[-3000:].decode()}"


def add_invoices(url: str, count: int, due: timedelta) -> set[UUID]:
    now, added = datetime.now(UTC), set()
    with psycopg.connect(url) as admin:
        for number in range(count):
            invoice_id, account = new_id(), f"customer:{number}"
            added.add(invoice_id)
            admin.execute(
                "INSERT INTO state.invoices (id, version, status, updated_at, account, kind, product, payer, "
                "beneficiary, amount_minor, currency, late_policy, capture, expires_at, issued_at) VALUES (%s, 1, "
                "'issued', %s, %s, 'manual', 'x', '', 'revenue:x', 100, 'RUB', 'refund', 'automatic', %s, %s)",
                [invoice_id, now, account, now + due, now],
            )
            admin.execute(
                "INSERT INTO state.invoices_due (due_at, invoice_id, account) VALUES (%s, %s, %s)",
                [now + due, invoice_id, account],
            )
    return added


async def waiting(broker: Broker) -> int:
    counts = [await broker.count(shard_queue(shard)) for shard in range(SHARDS)]
    return sum(counts)


async def test_two_beats_and_two_workers_do_no_harm(
    service_environment: Callable[..., dict[str, str]], broker: Broker, database_urls: dict[str, str]
) -> None:
    """I-11: every invoice is told to expire once, whatever the scheduler does."""
    quick = {
        "expiry_interval_s": "0.2",
        "outbox_interval_s": "0.3",
        "janitor_interval_s": "0.2",
        "expiry_grace_s": "0",
        "worker_concurrency": "1",
    }
    environment = service_environment("reminders", "reminders", **quick)
    first = add_invoices(database_urls["admin"], 120, timedelta(seconds=-5))
    second = add_invoices(database_urls["admin"], 80, timedelta(seconds=4))
    with ExitStack() as stack:
        for command in ("worker", "beat", "worker", "beat"):
            stack.enter_context(process(command, environment))
        await eventually(lambda: _count_is(broker, len(first) + len(second)), 90)
        # Ticks go on, twice as many as are needed, and nothing is told a second time.
        await never(lambda: _more_than(broker, 200), 2.0)
        with psycopg.connect(database_urls["admin"]) as admin:
            rows = admin.execute("SELECT subject, attempts FROM reminders.claims").fetchall()
            left = admin.execute("SELECT count(*) FROM reminders.outbox").fetchone()
        assert {row[0] for row in rows} == first | second
        assert {row[1] for row in rows} == {1}
        assert left == (0,)
        # The gateway's worker is not here, so its ticks wait in its queue until they are too old.
        await eventually(lambda: _gateway_ticks(broker), 60)


async def test_health_and_metrics_of_a_worker_and_of_the_metrics_process(
    service_environment: Callable[..., dict[str, str]], broker: Broker
) -> None:
    ports = {"worker": free_port(), "beat": free_port(), "serve-metrics": free_port()}
    with ExitStack() as stack:
        for command, port in ports.items():
            environment = service_environment(
                "reminders", "reminders", metrics_port=str(port), expiry_interval_s="0.3", worker_concurrency="1"
            )
            stack.enter_context(process(command, environment))
        async with httpx2.AsyncClient(trust_env=False) as client:
            for command, port in ports.items():
                await eventually(partial(_answers, client, f"http://127.0.0.1:{port}/readyz"), 60, command)
                assert await _answers(client, f"http://127.0.0.1:{port}/healthz")
            text = await eventually(lambda: _ticks_in_metrics(client, ports["serve-metrics"]), 60)
            assert 'copeck_reminders_scan_lag_seconds{kind="invoice.expiry"}' in text
            assert "copeck_reminders_outbox_lag_seconds 0.0" in text
            tasks = await eventually(lambda: _tasks_in_metrics(client, ports["worker"]), 60)
            assert "reminder_cron.expire_invoices" in tasks


def test_a_tick_by_hand(
    service_environment: Callable[..., dict[str, str]], database_urls: dict[str, str], broker: Broker
) -> None:
    add_invoices(database_urls["admin"], 3, timedelta(seconds=-60))
    environment = service_environment("reminders", "reminders")

    def tick(name: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "reminder_cron", "tick", name]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90, check=False)

    assert tick("invoice-expiry").stdout.strip() == "3"
    assert tick("invoice-expiry").stdout.strip() == "0"
    assert tick("outbox").stdout.strip() == "0"
    assert tick("retention").stdout.strip() == "0"
    assert tick("nonsense").returncode != 0


def test_migrate_by_hand_finds_nothing_to_do(database_urls: dict[str, str]) -> None:
    environment = {**os.environ, "COPECK_DATABASE_URL": database_urls["copeck_migrator"]}
    command = [sys.executable, "-m", "reminder_cron", "migrate"]
    subprocess.run(command, env=environment, check=True, timeout=60)


async def _count_is(broker: Broker, count: int) -> bool:
    return await waiting(broker) == count


async def _more_than(broker: Broker, count: int) -> bool:
    return await waiting(broker) > count


async def _gateway_ticks(broker: Broker) -> bool:
    connection = await broker.connect_admin(broker.celery_host)
    try:
        channel = await connection.channel()
        message = await channel.basic_get("gateway", no_ack=True)
        return bool(message.header and message.header.properties.headers["task"] == "payments_gateway.janitor")
    finally:
        await connection.close()


async def _answers(client: httpx2.AsyncClient, url: str) -> bool:
    try:
        answer = await client.get(url, timeout=5)
    except (httpx2.HTTPError, OSError):
        return False
    return answer.status_code == 200


async def _ticks_in_metrics(client: httpx2.AsyncClient, port: int) -> str:
    text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
    return text if "copeck_reminders_last_run_age_seconds{" in text else ""


async def _tasks_in_metrics(client: httpx2.AsyncClient, port: int) -> str:
    await asyncio.sleep(0)
    text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
    return text if "copeck_tasks_total{" in text else ""
