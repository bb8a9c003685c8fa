"""The gateway's real processes: server and worker as commands, over a real bus and Celery."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from copeck.contracts import events
from copeck.contracts.commands import PaymentReport, RefundReport
from copeck.contracts.envelope import Envelope
from copeck.contracts.registry import shard_of, shard_queue
from copeck.kernel.ids import new_id
from copeck.messaging.publisher import Publisher
from copeck.testkit.rabbit import Broker
from copeck.testkit.waiting import eventually

from .conftest import PAYER, PREFIX, SECRET, Emulator, free_port, invoice_event

pytestmark = pytest.mark.integration
Environment = Callable[..., dict[str, str]]


@asynccontextmanager
async def process(command: str, environment: dict[str, str], port: int) -> AsyncIterator[httpx2.AsyncClient]:
    """Run `python -m payments_gateway <command>` until the block ends; it must stop by itself then."""
    paths = os.pathsep.join(path for path in sys.path if path)
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "payments_gateway", command, env={**environment, "PYTHONPATH": paths}
    )
    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:

            async def ready() -> bool:
                assert running.returncode is None, "the process ended"
                try:
                    return (await client.get("/readyz")).status_code == 200
                except httpx2.HTTPError:
                    return False

            await eventually(ready, timeout_s=60)
            yield client
        running.terminate()
        async with asyncio.timeout(30):
            await running.wait()
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()


def environment_of(make: Environment, emulator: Emulator, role: str = "gateway", **more: Any) -> dict[str, str]:
    shop = {"provider": "cloudpayments", "shop": "main", "public_id": "pk_test", "api_secret": SECRET}
    return make(
        role,
        "gateway",
        shops=json.dumps([shop]),
        cloudpayments_api_url=emulator.url,
        listen_port=str(emulator.gateway_port),
        log_level="WARNING",
        **more,
    )


async def test_a_subscription_is_paid_and_refunded_through_real_processes(
    service_environment: Environment, broker: Broker, emulator: Emulator
) -> None:
    port = free_port()
    serving = environment_of(service_environment, emulator)
    working = environment_of(service_environment, emulator, metrics_port=str(port))
    updater = await Publisher.connect(broker.urls["state-updater"])
    queue = shard_queue(shard_of(PAYER))
    async with (
        process("serve", serving, emulator.gateway_port) as client,
        process("worker", working, port) as worker,
    ):
        invoice_id, issued = invoice_event()
        await updater.publish(Envelope.new(issued, source="state-updater", correlation_id="story-1"))

        async def known() -> bool:
            return (await client.get(f"{PREFIX}/invoices/{invoice_id}")).status_code == 200

        await eventually(known)
        started = await client.post(f"{PREFIX}/pay/{invoice_id}", headers={"Idempotency-Key": "k"})
        payment_id = started.json()["payment_id"]
        metadata = json.dumps({"payment_id": payment_id})
        answer = await emulator.charge(invoice_id, JsonData=metadata)
        taken = [read(message) for message in await broker.take(queue, 2)]
        assert [envelope.sender for envelope in taken] == ["gateway", "gateway"]
        assert {envelope.correlation_id for envelope in taken} == {"story-1"}
        reports = [envelope.data for envelope in taken]
        assert all(isinstance(report, PaymentReport) for report in reports)
        assert [report.status for report in reports if isinstance(report, PaymentReport)] == ["pending", "succeeded"]

        wanted = events.RefundRequested(
            refund_id=new_id(), invoice_id=invoice_id, version=1, status="requested", origin="requested",
            account=PAYER, amount_minor=19900, currency="RUB", provider="cloudpayments", shop="main",
            transaction=str(answer["Model"]["TransactionId"]),
        )  # fmt: skip
        await updater.publish(Envelope.new(wanted, source="state-updater"))
        (message,) = await broker.take(queue, 1, timeout_s=20)
        refund = read(message).data
        assert isinstance(refund, RefundReport)
        assert (refund.status, refund.refund_id) == ("succeeded", wanted.refund_id)

        async def counted() -> bool:
            # The report leaves with the task's commit, a moment before the task ends and is counted.
            return "copeck_tasks_total" in (await worker.get("/metrics")).text

        await eventually(counted)
        page = await client.get(f"/pay/{invoice_id}?lang=en")
        assert page.status_code == 200
        assert "199.00" in page.text
    await updater.close()


@pytest.mark.parametrize(
    ("command", "role", "said"),
    [
        ("janitor-once", "gateway", "operations executed: 0"),
        ("sweep-once", "gateway", "found: 0"),
        ("migrate", "copeck_migrator", "up to date"),
        ("--help", "gateway", "janitor-once"),
    ],
)
async def test_commands_that_run_once(
    service_environment: Environment, emulator: Emulator, command: str, role: str, said: str
) -> None:
    environment = environment_of(service_environment, emulator, role=role)
    paths = os.pathsep.join(path for path in sys.path if path)
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "payments_gateway", command,
        env={**environment, "PYTHONPATH": paths, "COLUMNS": "120"}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(60):
        output, _ = await running.communicate()
    assert running.returncode == 0
    assert said in output.decode()


def read(message: Any) -> Envelope:
    properties = message.header.properties
    return Envelope.parse(
        dict(properties.headers), message.body, message_id=properties.message_id, sender=properties.user_id
    )
