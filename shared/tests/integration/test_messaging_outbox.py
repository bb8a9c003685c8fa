"""The outbox and its relay: rows of a commit reach the broker, once elected, in order, whatever breaks."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import sqlalchemy as sa

from copeck.contracts.registry import shard_of, shard_queue
from copeck.messaging.backoff import Backoff
from copeck.messaging.outbox import Outbox, Relay
from copeck.messaging.publisher import Publisher
from copeck.observability import metrics
from copeck.observability.trace import trace_scope
from copeck.storage.engine import Database, SyncDatabase
from copeck.testkit.proxy import TcpProxy
from copeck.testkit.rabbit import Broker
from copeck.testkit.waiting import eventually, never

from .conftest import ROLE, Probe, expire_command

pytestmark = pytest.mark.integration

ACCOUNT = "customer:1"
OTHER = next(f"customer:{n}" for n in range(2, 1000) if shard_of(f"customer:{n}") != shard_of(ACCOUNT))
QUEUE, OTHER_QUEUE = shard_queue(shard_of(ACCOUNT)), shard_queue(shard_of(OTHER))
KEY = f"*.*.{shard_of(ACCOUNT):02d}"
QUICK = Backoff(0.02, 0.1)


@asynccontextmanager
async def relaying(probe: Probe, url: str, database: Database | None = None) -> AsyncIterator[Relay]:
    publisher = Publisher(url, confirm_timeout_s=2)
    relay = Relay(database or probe.database, probe.outbox, publisher, follower_poll_s=0.1, backoff=QUICK)
    running = asyncio.create_task(relay.run())
    try:
        yield relay
    finally:
        await relay.stop()
        await asyncio.wait_for(running, 10)
        await publisher.close()


async def add(probe: Probe, *accounts: str) -> None:
    async with probe.database.transaction() as tx:
        await Outbox(probe.outbox).add(tx, *(expire_command(account) for account in accounts))


async def test_committed_rows_are_published_and_deleted(probe: Probe, broker: Broker) -> None:
    async with relaying(probe, broker.urls[ROLE]) as relay:
        await add(probe, *[ACCOUNT] * 700)
        relay.poke()
        await eventually(lambda: _is_empty(probe))
    assert await broker.count(QUEUE) == 700


async def test_a_rolled_back_row_is_never_published(probe: Probe, broker: Broker) -> None:
    async with relaying(probe, broker.urls[ROLE]):
        with pytest.raises(ZeroDivisionError):
            async with probe.database.transaction() as tx:
                await Outbox(probe.outbox).add(tx, expire_command(ACCOUNT))
                raise ZeroDivisionError
        await never(lambda: broker.count(QUEUE), 0.4)


async def test_messages_keep_their_order_and_their_trace(probe: Probe, broker: Broker) -> None:
    sent = [expire_command(ACCOUNT) for _ in range(50)]
    with trace_scope() as trace:
        async with probe.database.transaction() as tx:
            await Outbox(probe.outbox).add(tx, *sent)
    async with relaying(probe, broker.urls[ROLE]):
        taken = await broker.take(QUEUE, 50)
    assert [message.header.properties.message_id for message in taken] == [str(envelope.id) for envelope in sent]
    headers = taken[0].header.properties.headers
    assert headers["cloudEvents:traceparent"] == trace.traceparent
    assert headers["cloudEvents:correlationid"] == trace.trace_id


async def test_rows_of_other_processes_are_found_by_polling(probe: Probe, broker: Broker) -> None:
    async with relaying(probe, broker.urls[ROLE]):
        await eventually(lambda: _leads(probe))
        other = SyncDatabase(probe.urls[ROLE])
        with other.transaction() as tx:
            Outbox(probe.outbox).add_sync(tx, expire_command(ACCOUNT))
        other.close()
        await eventually(lambda: broker.count(QUEUE), 1.0)


async def test_one_of_two_relays_leads_and_the_other_takes_over(probe: Probe, broker: Broker) -> None:
    second = Database(probe.urls[ROLE], 3, application="second")
    async with relaying(probe, broker.urls[ROLE], second):
        async with relaying(probe, broker.urls[ROLE]):
            await eventually(lambda: _leads(probe))
            assert await _lock_holders(probe) == 1
            await add(probe, *[ACCOUNT] * 20)
            await eventually(lambda: _is_empty(probe))
        assert await broker.count(QUEUE) == 20
        await add(probe, *[ACCOUNT] * 20)
        await eventually(lambda: _is_empty(probe))
    assert await broker.count(QUEUE) == 40
    await second.close()


async def test_an_unroutable_message_stops_its_route_and_no_other(probe: Probe, broker: Broker) -> None:
    await broker.unbind("billing.commands", QUEUE, KEY)
    async with relaying(probe, broker.urls[ROLE]) as relay:
        await add(probe, ACCOUNT, OTHER, ACCOUNT, OTHER)
        await eventually(lambda: broker.count(OTHER_QUEUE), 5)
        await eventually(lambda: _blocked(relay) == 1)
        await add(probe, ACCOUNT, OTHER)
        await eventually(lambda: _left(probe, 3))
        await broker.bind("billing.commands", QUEUE, KEY)
        await eventually(lambda: _is_empty(probe))
        await eventually(lambda: _blocked(relay) == 0)
    taken = await broker.take(QUEUE, 3)
    ids = [message.header.properties.message_id for message in taken]
    assert ids == sorted(ids)
    assert await broker.count(OTHER_QUEUE) == 3


async def test_a_route_that_is_refused_is_set_apart(probe: Probe, broker: Broker) -> None:
    """A refusal closes the channel under the whole window; tried alone, the innocent go out."""
    async with probe.database.transaction() as tx:
        await Outbox(probe.outbox).add(tx, expire_command(ACCOUNT), expire_command(OTHER), expire_command(ACCOUNT))
        bad = sa.update(probe.outbox).where(probe.outbox.c.id == 2).values(routing_key="payment.report.00")
        await tx.execute(bad)
    async with relaying(probe, broker.urls[ROLE]):
        await eventually(lambda: _left(probe, 1))
    # What the broker took before the refusal closed the channel goes out again: its confirm never came.
    taken = await broker.take(QUEUE, await broker.count(QUEUE))
    assert len({message.header.properties.message_id for message in taken}) == 2


async def test_a_cut_connection_loses_nothing(probe: Probe, broker: Broker) -> None:
    async with TcpProxy.to(broker.urls[ROLE]) as proxy, relaying(probe, proxy.url(broker.urls[ROLE])) as relay:
        for round_number in range(6):
            await add(probe, *[ACCOUNT] * 200)
            relay.poke()
            if round_number % 2:
                proxy.cut()
            await asyncio.sleep(0.02)
        proxy.refuse()
        await add(probe, *[ACCOUNT] * 100)
        await never(lambda: _is_empty(probe), 0.3)
        proxy.accept()
        await eventually(lambda: _is_empty(probe), 20)
    taken = await broker.take(QUEUE, await broker.count(QUEUE), 10)
    assert len({message.header.properties.message_id for message in taken}) == 1300


async def test_a_cut_of_postgres_is_waited_out(probe: Probe, broker: Broker) -> None:
    async with TcpProxy.to(probe.urls[ROLE]) as proxy:
        behind = Database(proxy.url(probe.urls[ROLE]), 3)
        async with relaying(probe, broker.urls[ROLE], behind):
            await eventually(lambda: _leads(probe))
            for _ in range(3):
                proxy.cut()
                await add(probe, *[ACCOUNT] * 30)
                await eventually(lambda: _is_empty(probe))
        await behind.close()
    assert await broker.count(QUEUE) >= 90


async def test_drain_publishes_all_and_reports_lag(probe: Probe, broker: Broker) -> None:
    await add(probe, *[ACCOUNT] * 1100)
    publisher = Publisher(broker.urls[ROLE])
    relay = Relay(probe.database, probe.outbox, publisher)
    assert await relay.drain() == 1100
    assert await relay.drain() == 0
    assert await _lock_holders(probe) == 0
    await publisher.close()
    published = metrics.OUTBOX_PUBLISHED.labels(relay.name)._value.get()
    assert published >= 1100


async def _is_empty(probe: Probe) -> bool:
    return await probe.outbox_count() == 0


async def _left(probe: Probe, count: int) -> bool:
    return await probe.outbox_count() == count


def _blocked(relay: Relay) -> int:
    return len(relay._blocked)


async def _lock_holders(probe: Probe) -> int:
    async with probe.database.reading() as tx:
        query = (
            "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database "
            "WHERE locktype = 'advisory' AND datname = current_database()"
        )
        return int(await tx.scalar(sa.text(query)) or 0)


async def _leads(probe: Probe) -> bool:
    return await _lock_holders(probe) == 1
