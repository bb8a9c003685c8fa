"""The updater among faults: what each guard is for, shown by the fault that it guards against."""

import asyncio
import signal
from collections.abc import Callable
from functools import partial
from typing import Any

import psycopg
import pytest

from billing_state_updater.consumer import Lane, Shard
from billing_state_updater.outbox import Outbox
from copeck.contracts import commands
from copeck.contracts.registry import EVENTS_EXCHANGE, shard_of
from copeck.kernel.ids import new_id
from copeck.messaging import topology
from copeck.testkit.proxy import TcpProxy
from copeck.testkit.waiting import eventually, never
from tests.support.updater import CUSTOMER, issue, paid, read, rows, running, send, status_becomes

pytestmark = pytest.mark.integration
EVENT_BINDINGS = [
    (exchange, queue.name, key)
    for queue in topology.queues()
    for exchange, key in queue.bindings
    if exchange == EVENTS_EXCHANGE
]


@pytest.fixture
def environment(service_environment: Callable[..., dict[str, str]]) -> dict[str, str]:
    """Return the environment of an updater with a short lease."""
    return service_environment("state_updater", "state-updater", lease_s="2", log_level="WARNING")


async def test_a_command_outlives_a_crash_in_the_middle_of_its_batch(
    environment: dict[str, str], broker: Any, database_urls: Any
) -> None:
    """Acked after the commit: killed while its batch waits for a lock, an updater loses nothing."""
    admin = database_urls["admin"]
    invoice = issue()
    async with running(environment) as first:
        await send(broker, "subscriptions", [invoice])
        await status_becomes(admin, invoice.invoice_id, "issued")
        async with await psycopg.AsyncConnection.connect(admin) as holder:
            await holder.execute("SELECT 1 FROM state.invoices WHERE id = %s FOR UPDATE", (invoice.invoice_id,))
            await send(broker, "gateway", [paid(invoice.invoice_id)])

            async def waits_for_the_lock() -> bool:
                waiting = await rows(
                    admin,
                    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                    "AND usename = 'state_updater' AND datname = current_database()",
                )
                return waiting[0][0] > 0

            await eventually(waits_for_the_lock)
            await first.stop(signal.SIGKILL)
    async with running(environment):
        await status_becomes(admin, invoice.invoice_id, "paid", timeout_s=20)


async def test_an_old_message_that_comes_again_changes_nothing(
    environment: dict[str, str], broker: Any, database_urls: Any
) -> None:
    """I-06: a dispute that was opened and won is not opened by a repeat of the first message."""
    admin = database_urls["admin"]
    invoice = issue()
    dispute = commands.DisputeReport(
        account=CUSTOMER, invoice_id=invoice.invoice_id, provider="cloudpayments", shop="main", transaction="d1",
        outcome="opened", amount_minor=19_900, currency="RUB",
    )  # fmt: skip
    async with running(environment):
        await send(broker, "subscriptions", [invoice])
        await send(broker, "gateway", [paid(invoice.invoice_id)])
        await status_becomes(admin, invoice.invoice_id, "paid")
        ids = await send(broker, "gateway", [dispute])
        await status_becomes(admin, invoice.invoice_id, "disputed")
        await send(broker, "gateway", [dispute.model_copy(update={"outcome": "won"})])
        await status_becomes(admin, invoice.invoice_id, "paid")
        await send(broker, "gateway", [dispute], ids)
        last = issue()
        await send(broker, "subscriptions", [last])
        await status_becomes(admin, last.invoice_id, "issued")
    assert await rows(admin, "SELECT status FROM state.invoices WHERE id = %s", invoice.invoice_id) == [("paid",)]


async def test_nothing_is_announced_that_was_not_committed(
    environment: dict[str, str], broker: Any, database_urls: Any
) -> None:
    """I-05: when the commit itself fails, no event of the batch goes out, and the culprit alone is set aside."""
    admin = database_urls["admin"]
    async with await psycopg.AsyncConnection.connect(admin, autocommit=True) as superuser:
        await superuser.execute(
            "CREATE OR REPLACE FUNCTION state.fail_late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "IF NEW.description = 'fails at commit' THEN RAISE EXCEPTION 'refused at commit' USING ERRCODE = '23514'; "
            "END IF; RETURN NEW; END $$"
        )
        await superuser.execute("GRANT EXECUTE ON FUNCTION state.fail_late() TO state_updater")
        await superuser.execute(
            "CREATE CONSTRAINT TRIGGER fails_late AFTER INSERT ON state.invoices DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION state.fail_late()"
        )
        try:
            async with running(environment):
                bad, good = issue(description="fails at commit"), issue()
                await send(broker, "subscriptions", [bad, good])
                await status_becomes(admin, good.invoice_id, "issued")

                async def set_aside() -> bool:
                    return len(await rows(admin, "SELECT 1 FROM state.quarantine")) == 1

                await eventually(set_aside)
                messages = await broker.take("gateway.events", count=1)
                assert [read(message).subject for message in messages] == [str(good.invoice_id)]
                assert await broker.count("gateway.events") == 0
        finally:
            await superuser.execute("DROP TRIGGER fails_late ON state.invoices")
            await superuser.execute("DROP FUNCTION state.fail_late()")


async def test_an_event_without_a_queue_is_published_again(
    environment: dict[str, str], broker: Any, database_urls: Any
) -> None:
    """I-05: what the broker could not route is not confirmed; it goes out when the binding is back."""
    admin = database_urls["admin"]
    for binding in EVENT_BINDINGS:
        await broker.unbind(*binding)
    try:
        async with running(environment):
            invoice = issue()
            await send(broker, "subscriptions", [invoice])
            await status_becomes(admin, invoice.invoice_id, "issued")
            assert await broker.count("gateway.events") == 0
            for binding in EVENT_BINDINGS:
                await broker.bind(*binding)
            messages = await broker.take("gateway.events", count=1, timeout_s=15)
            assert read(messages[0]).subject == str(invoice.invoice_id)
    finally:
        for binding in EVENT_BINDINGS:
            await broker.bind(*binding)


async def test_a_batch_under_an_old_epoch_is_refused(
    environment: dict[str, str], broker: Any, database_urls: Any
) -> None:
    """The fence: once somebody bumped a shard's epoch, nothing is written under the old one."""
    admin = database_urls["admin"]
    shard = shard_of(CUSTOMER)
    async with running(environment):
        first = issue()
        await send(broker, "subscriptions", [first])
        await status_becomes(admin, first.invoice_id, "issued")
        async with await psycopg.AsyncConnection.connect(admin, autocommit=True) as usurper:
            await usurper.execute("UPDATE state.shards SET epoch = epoch + 10 WHERE shard = %s", (shard,))
        second = issue()
        await send(broker, "subscriptions", [second])
        await status_becomes(admin, second.invoice_id, "issued", timeout_s=20)
    epochs = await rows(admin, "SELECT epoch FROM state.transitions WHERE shard = %s ORDER BY at", shard)
    assert epochs[0][0] < 10 < epochs[1][0]


async def test_what_a_crash_left_unpublished_is_swept(
    environment: dict[str, str], broker: Any, database_urls: Any
) -> None:
    """The outbox is the truth: events beyond the cursor go out when the next owner takes the shard."""
    admin = database_urls["admin"]
    invoice = issue()
    async with running(environment) as first:
        await send(broker, "subscriptions", [invoice])
        await status_becomes(admin, invoice.invoice_id, "issued")
        await broker.take("gateway.events", count=1)
        await first.stop(signal.SIGKILL)
    async with await psycopg.AsyncConnection.connect(admin, autocommit=True) as superuser:
        await superuser.execute("UPDATE state.outbox_cursors SET seq = 0")
    async with running(environment):
        messages = await broker.take("gateway.events", count=1, timeout_s=20)
        assert read(messages[0]).subject == str(invoice.invoice_id)


async def test_a_restart_of_the_database_and_a_cut_connection_lose_nothing(
    environment: dict[str, str], broker: Any, database_urls: Any
) -> None:
    """A batch whose connection dies is tried again, whole, by the same process."""
    admin = database_urls["admin"]
    async with running(environment):
        invoices = [issue(account=f"customer:{n}") for n in range(60)]
        sending = asyncio.create_task(send(broker, "subscriptions", invoices))
        for _ in range(5):
            await rows(
                admin,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE usename = 'state_updater' AND datname = current_database()",
            )
        await sending
        for invoice in invoices:
            await status_becomes(admin, invoice.invoice_id, "issued", timeout_s=30)
    assert await rows(admin, "SELECT count(*) FROM state.transitions") == [(60,)]


async def test_positions_wait_for_a_commit_that_is_still_under_way(database_urls: Any) -> None:
    """I-05: a connection breaks while the server still commits; what that commit wrote is not given out twice."""
    shard, url = 3, database_urls["state_updater"]

    async def connect() -> psycopg.AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(url, autocommit=True)

    publisher: Any = None
    outbox = Outbox(publisher)
    outbox.take(shard, 0, 0)
    lane = Lane("0", connect, outbox, 10)
    lane.shards[shard] = Shard(shard, 0)
    async with await connect() as broken, await connect() as fresh:
        await broken.execute("BEGIN")
        await broken.execute("SELECT epoch FROM state.shards WHERE shard = %s FOR SHARE", (shard,))
        await broken.execute(
            "INSERT INTO state.outbox (day, shard, seq, message_id, type, subject, cause_id, body, at) "
            "VALUES (current_date, %s, 1, gen_random_uuid(), 'invoice.paid', 'x', gen_random_uuid(), '{}', now())",
            (shard,),
        )
        recheck = asyncio.create_task(lane._recheck(fresh))

        async def waits() -> bool:
            waiting = await rows(
                database_urls["admin"],
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND pid = %s",
                fresh.info.backend_pid,
            )
            return recheck.done() or waiting[0][0] > 0

        await eventually(waits)
        await broken.execute("COMMIT")
        await recheck
    assert outbox.next_seq(shard) == 1


async def test_a_graceful_stop_drains(environment: dict[str, str], broker: Any, database_urls: Any) -> None:
    """SIGTERM: what is in memory is committed and published, leases are given back, the exit status is 0."""
    admin = database_urls["admin"]
    async with running(environment) as updater:
        first = issue()
        await send(broker, "subscriptions", [first])
        await status_becomes(admin, first.invoice_id, "issued")
        await send(broker, "subscriptions", [issue(account=f"customer:{n}") for n in range(300)])
        assert await updater.stop() == 0
    lag = await rows(admin, "SELECT coalesce(sum(written_seq - published_seq), 0)::int FROM state_api.outbox_v1")
    owners = await rows(admin, "SELECT count(*) FROM state.shard_leases WHERE owner IS NOT NULL")
    assert (lag, owners) == ([(0,)], [(0,)])


async def test_cuts_at_any_moment_of_connecting_end_nothing(
    environment: dict[str, str], broker: Any, database_urls: Any
) -> None:
    """A connection that breaks in its handshake, its channels or its subscriptions is made again."""
    admin = database_urls["admin"]
    url = broker.urls["state-updater"]
    async with TcpProxy.to(url) as proxy, running({**environment, "COPECK_BROKER_URL": proxy.url(url)}) as updater:
        first = issue()
        await send(broker, "subscriptions", [first])
        await status_becomes(admin, first.invoice_id, "issued")
        for cut in range(60):
            proxy.cut()
            await never(lambda: False, for_s=0.004 * (cut % 12))
        more = [issue(account=f"customer:{n}") for n in range(40)]
        await send(broker, "subscriptions", more)
        for invoice in more:
            await status_becomes(admin, invoice.invoice_id, "issued", timeout_s=40)
        assert await updater.stop() == 0


_REFUSED = "SELECT 1 FROM state.outbox WHERE type = 'command.refused'"


async def test_a_message_delivered_twice_is_answered_once(
    environment: dict[str, str], broker: Any, database_urls: Any
) -> None:
    """I-06: the inbox knows the message; its sender hears of the refusal once."""
    admin = database_urls["admin"]
    invoice = issue()
    refund = commands.InvoiceRefund(account=CUSTOMER, invoice_id=invoice.invoice_id, refund_id=new_id())
    async with running(environment):
        await send(broker, "subscriptions", [invoice])
        ids = await send(broker, "subscriptions", [refund])
        # In one batch with the first the second would be known without any inbox.
        await eventually(partial(rows, admin, _REFUSED), 20)
        await send(broker, "subscriptions", [refund], ids)
        last = issue()
        await send(broker, "subscriptions", [last])
        await status_becomes(admin, last.invoice_id, "issued")
    assert len(await rows(admin, _REFUSED)) == 1
