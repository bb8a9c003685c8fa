"""The updater as a process: commands in, state, books and events out, on a real broker and a real database."""

import signal
from collections.abc import Callable
from typing import Any

import pytest

from copeck.contracts import commands
from copeck.kernel.ids import new_id
from copeck.testkit.waiting import eventually
from tests.support.updater import CUSTOMER, issue, paid, read, rows, running, send, status_becomes

pytestmark = pytest.mark.integration


@pytest.fixture
def environment(service_environment: Callable[..., dict[str, str]]) -> dict[str, str]:
    """Return the environment of an updater with a short lease."""
    return service_environment("state_updater", "state-updater", lease_s="2", log_level="INFO")


async def test_an_invoice_is_issued_and_paid(environment: dict[str, str], broker: Any, database_urls: Any) -> None:
    """I-05: state, books and events of one command are one commit, and the event reaches its queues."""
    admin = database_urls["admin"]
    async with running(environment) as updater:
        invoice = issue()
        await send(broker, "subscriptions", [invoice])
        await status_becomes(admin, invoice.invoice_id, "issued")
        await send(broker, "gateway", [paid(invoice.invoice_id)])
        await status_becomes(admin, invoice.invoice_id, "paid")
        messages = await broker.take("gateway.events", count=2)
        events = [read(message) for message in messages]
        assert [event.type for event in events] == ["invoice.issued", "invoice.paid"]
        assert events[1].data.version == 2
        assert await rows(admin, "SELECT debit_account, credit_account, amount_minor FROM state.transfers") == [
            ("provider:cloudpayments:main", "revenue:subscription", 19_900)
        ]
        assert await updater.stop() == 0
    lag = await rows(admin, "SELECT count(*) FROM state_api.outbox_v1 WHERE written_seq > published_seq")
    assert lag == [(0,)]


async def test_a_repeat_has_one_effect(environment: dict[str, str], broker: Any, database_urls: Any) -> None:
    """I-06: the same message again, and the same news in another message, change nothing."""
    admin = database_urls["admin"]
    invoice = issue()
    report = paid(invoice.invoice_id)
    async with running(environment):
        await send(broker, "subscriptions", [invoice])
        ids = await send(broker, "gateway", [report])
        await send(broker, "gateway", [report], ids)
        await send(broker, "gateway", [report])
        last = issue()
        await send(broker, "subscriptions", [last])
        await status_becomes(admin, last.invoice_id, "issued")
    assert await rows(admin, "SELECT version, status FROM state.invoices WHERE id = %s", invoice.invoice_id) == [
        (2, "paid")
    ]
    assert await rows(admin, "SELECT count(*) FROM state.transfers") == [(1,)]


async def test_poison_is_set_aside(environment: dict[str, str], broker: Any, database_urls: Any) -> None:
    """I-13: what cannot be judged goes to quarantine with its reason, and its neighbours are not held up."""
    admin = database_urls["admin"]
    async with running(environment):
        good = [issue() for _ in range(3)]
        await send(broker, "gateway", [good[0], paid(new_id()), good[1], good[2]])
        for invoice in good:
            await status_becomes(admin, invoice.invoice_id, "issued")

        async def set_aside() -> bool:
            return await rows(admin, "SELECT reason FROM state.quarantine") == [("the invoice is not known",)]

        await eventually(set_aside)


async def test_a_refused_command_is_answered(environment: dict[str, str], broker: Any, database_urls: Any) -> None:
    """A refund of what was not paid changes nothing; its sender gets the reason."""
    invoice = issue()
    refund = commands.InvoiceRefund(account=CUSTOMER, invoice_id=invoice.invoice_id, refund_id=new_id())
    async with running(environment):
        await send(broker, "subscriptions", [invoice, refund])
        messages = await broker.take("subscriptions.events", count=2)
    refused = read(messages[1])
    assert (refused.type, refused.data.code) == ("command.refused", "not_refundable")
    assert await rows(database_urls["admin"], "SELECT code FROM state.refusals") == [("not_refundable",)]


async def test_an_owner_that_slept_is_fenced_out(environment: dict[str, str], broker: Any, database_urls: Any) -> None:
    """Stopped for longer than its lease, an updater finds its epochs bumped and writes nothing with the old ones."""
    admin = database_urls["admin"]
    async with running(environment) as sleeper:
        first = issue()
        await send(broker, "subscriptions", [first])
        await status_becomes(admin, first.invoice_id, "issued")
        sleeper.signal(signal.SIGSTOP)
        async with running(environment) as successor:

            async def taken_over() -> bool:
                return await rows(admin, "SELECT min(epoch) >= 2 FROM state.shards") == [(True,)]

            await eventually(taken_over, timeout_s=20)
            sleeper.signal(signal.SIGCONT)
            more = [issue(account=f"customer:{n}") for n in range(40)]
            await send(broker, "subscriptions", more)
            for invoice in more:
                await status_becomes(admin, invoice.invoice_id, "issued", timeout_s=40)
            assert await successor.stop() == 0
        assert await sleeper.stop() == 0
    decreasing = await rows(
        admin,
        "SELECT count(*) FROM (SELECT epoch < lag(epoch) OVER (PARTITION BY shard ORDER BY at) AS back "
        "FROM state.transitions) AS pairs WHERE back",
    )
    assert decreasing == [(0,)]
