"""Consuming: acknowledged after the commit, poison set aside with its reason, faults waited out, restarts survived."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import quote
from uuid import UUID

import pytest
import sqlalchemy as sa

from copeck.contracts.envelope import Envelope
from copeck.contracts.events import UserRegistered
from copeck.kernel.errors import DomainError
from copeck.kernel.ids import new_id
from copeck.messaging.backoff import Backoff
from copeck.messaging.consumer import Consumer
from copeck.messaging.deadletters import DeadLetters, Reasons
from copeck.messaging.errors import BrokerUnavailableError, PublishError
from copeck.messaging.inbox import Inbox
from copeck.messaging.publisher import OutgoingMessage, Publisher
from copeck.observability.trace import current_trace
from copeck.storage.engine import Database
from copeck.testkit.proxy import TcpProxy
from copeck.testkit.rabbit import Broker
from copeck.testkit.waiting import eventually, never

from .conftest import ROLE, Probe, now

pytestmark = pytest.mark.integration

QUEUE = "subscriptions.events"
DEAD = "subscriptions.events.dead"
QUICK = Backoff(0.02, 0.1)


def user_event(user_id: UUID | None = None, traceparent: str | None = None) -> Envelope:
    data = UserRegistered(user_id=user_id or new_id(), version=1, roles=("customer",))
    return Envelope.new(data, source="auth", traceparent=traceparent)


@pytest.fixture
async def publish(broker: Broker) -> AsyncIterator[Callable[..., Awaitable[None]]]:
    publisher = await Publisher.connect(broker.urls["auth"])

    async def send(*envelopes: Envelope) -> None:
        await publisher.publish_window([OutgoingMessage.of(envelope) for envelope in envelopes])

    yield send
    await publisher.close()


@asynccontextmanager
async def consuming(
    url: str, handler: Callable[[Envelope], Awaitable[None]], **options: object
) -> AsyncIterator[Consumer]:
    consumer = Consumer(url, QUEUE, handler, backoff=QUICK, **options)  # type: ignore[arg-type]
    running = asyncio.create_task(consumer.run())
    try:
        yield consumer
    finally:
        await asyncio.wait_for(consumer.stop(), 30)
        await asyncio.wait_for(running, 10)


def applying(probe: Probe, database: Database | None = None) -> Callable[[Envelope], Awaitable[None]]:
    """A handler as services have them: inbox and effect in one transaction."""
    inbox = Inbox(probe.inbox)

    async def handle(envelope: Envelope) -> None:
        async with (database or probe.database).transaction() as tx:
            if await inbox.first_time(tx, envelope):
                await tx.execute(sa.insert(probe.effects).values(message_id=envelope.id, at=now()))

    return handle


async def test_a_message_is_handled_in_its_trace_and_acknowledged(
    broker: Broker, publish: Callable[..., Awaitable[None]]
) -> None:
    seen: list[tuple[Envelope, str | None]] = []
    trace_id = "0af7651916cd43dd8448eb211c80319c"

    async def handle(envelope: Envelope) -> None:
        trace = current_trace()
        seen.append((envelope, trace.trace_id if trace else None))

    sent = user_event(traceparent=f"00-{trace_id}-b7ad6b7169203331-01")
    async with consuming(broker.urls["subscriptions"], handle) as consumer:
        await eventually(lambda: consumer.connected)
        await consumer.ping()
        await publish(sent)
        await eventually(lambda: seen)
    with pytest.raises(ConnectionError):
        await consumer.ping()
    assert seen[0][0].id == sent.id
    assert seen[0][0].sender == "auth"
    assert seen[0][1] == trace_id
    assert await broker.count(QUEUE) == 0


async def test_copies_of_a_message_have_one_effect(
    probe: Probe, broker: Broker, publish: Callable[..., Awaitable[None]]
) -> None:
    """I-06: the same message twice, at the same time too, has one effect."""
    sent = [user_event() for _ in range(20)]
    for _ in range(3):
        await publish(*sent)
    async with consuming(broker.urls["subscriptions"], applying(probe)):
        await eventually(lambda: _drained(broker))
    assert await probe.effect_count() == 20


async def test_nothing_is_acknowledged_before_the_handler_returns(
    broker: Broker, publish: Callable[..., Awaitable[None]]
) -> None:
    entered, release = asyncio.Event(), asyncio.Event()

    async def handle(_: Envelope) -> None:
        entered.set()
        await release.wait()

    await publish(user_event())
    url = broker.urls["subscriptions"]
    async with TcpProxy.to(url) as proxy, consuming(proxy.url(url), handle, drain_timeout_s=0.2):
        await asyncio.wait_for(entered.wait(), 10)
        # A crash of the process is a connection that breaks: the broker gives the message to the next consumer.
        proxy.refuse()
        await eventually(lambda: broker.count(QUEUE), 10)
        release.set()


async def test_poison_is_set_aside_with_its_reason_and_its_neighbours_go_on(
    probe: Probe, broker: Broker, publish: Callable[..., Awaitable[None]]
) -> None:
    """I-13."""
    bad, good, broken = user_event(), user_event(), user_event()
    done: list[UUID] = []

    async def handle(envelope: Envelope) -> None:
        if envelope.id == bad.id:
            raise DomainError("this user cannot be")
        if envelope.id == broken.id:
            raise KeyError("a fault of code")
        done.append(envelope.id)

    publisher = await Publisher.connect(broker.urls["auth"])
    garbage = OutgoingMessage(str(new_id()), "billing.events", "user.registered", b"{]", bad.headers())
    await publisher.publish_window([garbage])
    await publisher.close()
    await publish(bad, broken, good)
    reasons = Reasons(probe.database, probe.reasons)
    async with consuming(broker.urls["subscriptions"], handle, reasons=reasons):
        await eventually(lambda: done)
        await eventually(lambda: _count_is(broker, DEAD, 3))
    async with probe.database.reading() as tx:
        rows = {row.message_id: row for row in await tx.execute(sa.select(probe.reasons))}
    assert rows[str(bad.id)].reason == "DomainError: this user cannot be"
    assert rows[str(bad.id)].type == "user.registered"
    assert "KeyError" in rows[str(broken.id)].reason
    assert "contract" in rows[garbage.message_id].reason
    assert await broker.count(QUEUE) == 0


async def test_an_operator_lists_redrives_and_drops(broker: Broker, publish: Callable[..., Awaitable[None]]) -> None:
    accept: list[UUID] = []
    sent = [user_event() for _ in range(3)]

    async def refuse(_: Envelope) -> None:
        raise DomainError("not now")

    async def take(envelope: Envelope) -> None:
        assert envelope.sender == "auth"
        accept.append(envelope.id)

    await publish(*sent)
    async with consuming(broker.urls["subscriptions"], refuse):
        await eventually(lambda: _count_is(broker, DEAD, 3))
    letters = DeadLetters(broker.urls["operator"])
    listed = await letters.list(DEAD)
    assert {letter.message_id for letter in listed} == {str(envelope.id) for envelope in sent}
    assert {(letter.source_queue, letter.cause, letter.type) for letter in listed} == {
        (QUEUE, "rejected", "user.registered.v1")
    }
    assert await letters.count(DEAD) == 3
    shown = await letters.show(DEAD, str(sent[1].id))
    assert shown is not None
    assert str(sent[1].subject) in shown.body
    assert await letters.redrive(DEAD, {str(sent[0].id)}) == 1
    assert await letters.drop(DEAD, {str(sent[1].id)}) == 1
    assert await letters.count(DEAD) == 1
    async with consuming(broker.urls["subscriptions"], take):
        await eventually(lambda: accept == [sent[0].id])
        assert await letters.redrive(DEAD) == 1
        await eventually(lambda: set(accept) == {sent[0].id, sent[2].id})


async def test_a_fault_of_postgres_is_retried_in_place_and_never_requeued(
    probe: Probe, broker: Broker, publish: Callable[..., Awaitable[None]]
) -> None:
    async with TcpProxy.to(probe.urls[ROLE]) as proxy:
        behind = Database(proxy.url(probe.urls[ROLE]), 8)
        deliveries: list[bool] = []
        apply = applying(probe, behind)

        async def handle(envelope: Envelope) -> None:
            deliveries.append(True)
            await apply(envelope)

        async with consuming(broker.urls["subscriptions"], handle) as consumer:
            await eventually(lambda: consumer.connected)
            proxy.refuse()
            await publish(*(user_event() for _ in range(30)))
            await eventually(lambda: len(deliveries) > 30)
            await never(probe.effect_count, 0.3)
            assert await broker.count(QUEUE) == 0
            proxy.accept()
            await eventually(lambda: _effects(probe, 30))
        await behind.close()
    assert await broker.count(QUEUE) == 0
    assert await broker.count(DEAD) == 0


async def test_messages_of_one_subject_keep_their_order(
    broker: Broker, publish: Callable[..., Awaitable[None]]
) -> None:
    users = [new_id() for _ in range(5)]
    sent = [user_event(users[n % 5]) for n in range(100)]
    seen: dict[str, list[UUID]] = {}
    running: set[str] = set()

    async def handle(envelope: Envelope) -> None:
        assert envelope.subject not in running
        running.add(envelope.subject)
        await asyncio.sleep(0.001)
        seen.setdefault(envelope.subject, []).append(envelope.id)
        running.discard(envelope.subject)

    await publish(*sent)
    async with consuming(broker.urls["subscriptions"], handle):
        await eventually(lambda: sum(map(len, seen.values())) == 100)
    for user in users:
        assert seen[str(user)] == [envelope.id for envelope in sent if envelope.subject == str(user)]


async def test_it_resumes_after_cuts_and_loses_nothing(
    probe: Probe, broker: Broker, publish: Callable[..., Awaitable[None]]
) -> None:
    url = broker.urls["subscriptions"]
    async with TcpProxy.to(url) as proxy, consuming(proxy.url(url), applying(probe)):
        for _ in range(5):
            await publish(*(user_event() for _ in range(100)))
            proxy.cut()
        await eventually(lambda: _effects(probe, 500), 20)
        proxy.refuse()
        await publish(user_event())
        await never(lambda: _effects(probe, 501), 0.3)
        proxy.accept()
        await eventually(lambda: _effects(probe, 501), 20)


async def test_cuts_in_the_middle_of_the_handshake_end_nothing(
    probe: Probe, broker: Broker, publish: Callable[..., Awaitable[None]]
) -> None:
    """The library then raises bare exceptions and cancellations; neither may end the consumer for good."""
    url = broker.urls["subscriptions"]
    async with TcpProxy.to(url) as proxy, consuming(proxy.url(url), applying(probe)) as consumer:
        for step in range(80):
            await asyncio.sleep((step * 7 % 31) / 1000)
            proxy.cut()
        await publish(user_event())
        await eventually(lambda: _effects(probe, 1), 30)
        assert consumer.connected


async def test_a_stop_finishes_what_is_under_way(broker: Broker, publish: Callable[..., Awaitable[None]]) -> None:
    started: list[UUID] = []
    finished: list[UUID] = []

    async def handle(envelope: Envelope) -> None:
        started.append(envelope.id)
        await asyncio.sleep(0.05)
        finished.append(envelope.id)

    await publish(*(user_event() for _ in range(40)))
    async with consuming(broker.urls["subscriptions"], handle, prefetch=10):
        await eventually(lambda: started)
    assert set(started) == set(finished)
    await eventually(lambda: _waiting(broker, 40 - len(finished)))


async def test_a_stop_does_not_wait_for_a_fault_that_lasts(
    broker: Broker, publish: Callable[..., Awaitable[None]]
) -> None:
    tried: list[UUID] = []

    async def handle(envelope: Envelope) -> None:
        tried.append(envelope.id)
        raise ConnectionError("the database is away")

    await publish(user_event())
    async with consuming(broker.urls["subscriptions"], handle):
        await eventually(lambda: len(tried) > 3)
    # The broker takes it back in its own time.
    await eventually(lambda: _waiting(broker, 1))


async def test_a_queue_that_is_not_there_is_waited_for(broker: Broker) -> None:
    consumer = Consumer(broker.urls["subscriptions"], "subscriptions.commands.none", _nothing, backoff=QUICK)
    running = asyncio.create_task(consumer.run())
    await never(lambda: consumer.connected or running.done(), 0.5)
    await consumer.stop()
    await running


async def _nothing(_: Envelope) -> None:
    return None


async def _waiting(broker: Broker, count: int) -> bool:
    return await broker.count(QUEUE) == count


async def _drained(broker: Broker) -> bool:
    return await broker.count(QUEUE) == 0


async def _count_is(broker: Broker, queue: str, count: int) -> bool:
    return await broker.count(queue) == count


async def _effects(probe: Probe, count: int) -> bool:
    return await probe.effect_count() == count


async def test_a_broker_that_closes_every_connection_is_survived(
    probe: Probe, broker: Broker, publish: Callable[..., Awaitable[None]]
) -> None:
    """What a broker says when it stops: CONNECTION_FORCED to everybody, in the middle of things."""
    handle = applying(probe)

    async def slowly(envelope: Envelope) -> None:
        await handle(envelope)
        await asyncio.sleep(0.002)

    sent = [user_event() for _ in range(300)]
    async with consuming(broker.urls["subscriptions"], slowly):
        for start in range(0, 300, 100):
            await _until_published(publish, sent[start : start + 100])
            await _close_connections(broker)
        await eventually(lambda: _effects(probe, 300), 30)
        await eventually(lambda: _drained(broker))


async def _until_published(publish: Callable[..., Awaitable[None]], envelopes: list[Envelope]) -> None:
    async def try_it() -> bool:
        try:
            await publish(*envelopes)
        except (BrokerUnavailableError, PublishError):
            return False
        return True

    await eventually(try_it, 20)


async def _close_connections(broker: Broker) -> None:
    async with broker.client() as client:

        async def names() -> list[str]:
            answer = await client.get(f"/api/vhosts/{broker.billing_host}/connections", params={"columns": "name"})
            return [entry["name"] for entry in answer.json()]

        # The management API learns of connections a moment after they are made.
        for name in await eventually(names, 20):
            await client.delete(f"/api/connections/{quote(name, safe='')}")
