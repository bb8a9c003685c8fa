"""Publishing with confirms: what counts as published, and what each way of failing looks like to the caller."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from copeck.contracts.registry import shard_of, shard_queue
from copeck.messaging.errors import BrokerUnavailableError, PublishError, is_broker_fault
from copeck.messaging.publisher import OutgoingMessage, Publisher
from copeck.testkit.proxy import TcpProxy
from copeck.testkit.rabbit import Broker
from copeck.testkit.waiting import eventually

from .conftest import expire_command

pytestmark = pytest.mark.integration

ACCOUNT = "customer:1"
QUEUE = shard_queue(shard_of(ACCOUNT))
KEY = f"*.*.{shard_of(ACCOUNT):02d}"


def account_of(shard: int) -> str:
    return next(name for name in (f"customer:{n}" for n in range(10_000)) if shard_of(name) == shard)


def message(account: str = ACCOUNT) -> OutgoingMessage:
    return OutgoingMessage.of(expire_command(account))


@pytest.fixture
async def publisher(broker: Broker) -> AsyncIterator[Publisher]:
    publisher = await Publisher.connect(broker.urls["reminders"], confirm_timeout_s=5)
    yield publisher
    await publisher.close()


async def test_a_window_is_confirmed_whole_and_in_order(broker: Broker, publisher: Publisher) -> None:
    window = [message() for _ in range(1200)]
    await publisher.publish_window(window)
    assert await broker.count(QUEUE) == 1200
    taken = await broker.take(QUEUE, 1200)
    assert [got.header.properties.message_id for got in taken] == [sent.message_id for sent in window]


async def test_a_message_is_persistent_signed_and_described(broker: Broker, publisher: Publisher) -> None:
    envelope = expire_command(ACCOUNT)
    await publisher.publish(envelope)
    got = await broker.get(QUEUE)
    properties = got.header.properties
    assert properties.delivery_mode == 2
    assert properties.user_id == "reminders"
    assert properties.message_id == str(envelope.id)
    assert properties.content_type == "application/json"
    assert properties.headers["cloudEvents:type"] == "invoice.expire.v1"


async def test_a_key_unbound_in_mid_window_is_a_failure_of_its_messages_only(
    broker: Broker, publisher: Publisher
) -> None:
    """The broker acknowledges an unroutable message; only the return before it tells the loss (I-05)."""
    other = account_of((shard_of(ACCOUNT) + 1) % 16)
    await publisher.publish_window([message(), message(other)])
    await broker.unbind("billing.commands", QUEUE, KEY)
    window = [message(ACCOUNT if n % 3 == 0 else other) for n in range(300)]
    with pytest.raises(PublishError) as caught:
        await publisher.publish_window(window)
    assert {failure.kind for failure in caught.value.failures} == {"returned"}
    assert {failure.index for failure in caught.value.failures} == set(range(0, 300, 3))
    assert caught.value.confirmed == frozenset(range(300)) - set(range(0, 300, 3))
    assert not caught.value.transient
    await broker.bind("billing.commands", QUEUE, KEY)
    await publisher.publish_window([window[failure.index] for failure in caught.value.failures])
    assert await broker.count(QUEUE) == 101


async def test_a_key_unbound_while_a_window_is_under_way_loses_nothing_silently(broker: Broker) -> None:
    publisher = await Publisher.connect(broker.urls["reminders"], window_max=5000)
    window = [message() for _ in range(5000)]
    under_way = asyncio.create_task(publisher.publish_window(window))
    await broker.unbind("billing.commands", QUEUE, KEY)
    confirmed, failed = frozenset(range(5000)), 0
    try:
        await under_way
    except PublishError as error:
        confirmed, failed = error.confirmed, len(error.failures)
    assert len(confirmed) + failed == 5000
    assert await broker.count(QUEUE) == len(confirmed)
    await publisher.close()


async def test_nothing_after_a_failed_part_is_sent(broker: Broker) -> None:
    publisher = Publisher(broker.urls["reminders"], window_max=10)
    other = account_of((shard_of(ACCOUNT) + 1) % 16)
    await broker.unbind("billing.commands", QUEUE, KEY)
    with pytest.raises(PublishError) as caught:
        await publisher.publish_window(
            [*(message(other) for _ in range(15)), message(), *(message(other) for _ in range(30))]
        )
    assert [failure.index for failure in caught.value.failures] == [15]
    assert len(caught.value.confirmed) == 19
    await publisher.close()


async def test_a_full_queue_refuses(broker: Broker, publisher: Publisher) -> None:
    async with broker.client() as client:
        answer = await client.put(
            f"/api/policies/{broker.billing_host}/full",
            json={"pattern": f"^{QUEUE}$", "definition": {"max-length": 0}, "apply-to": "queues"},
        )
        answer.raise_for_status()
        try:

            async def refused() -> bool:
                try:
                    await publisher.publish(message())
                except PublishError as error:
                    return error.failures[0].kind == "nacked"
                return False

            # The policy reaches the queue a moment after it was accepted, and a quorum queue lets a few more in.
            await eventually(refused, 10)
        finally:
            await client.delete(f"/api/policies/{broker.billing_host}/full")


async def test_another_ones_name_and_anothers_topic_are_refused(broker: Broker) -> None:
    impostor = Publisher(broker.urls["reminders"], user_id="gateway")
    with pytest.raises(PublishError) as caught:
        await impostor.publish(message())
    assert caught.value.failures[0].kind == "refused"
    await impostor.close()
    stranger = Publisher(broker.urls["auth"], confirm_timeout_s=5)
    with pytest.raises(PublishError) as denied:
        await stranger.publish(message())
    assert denied.value.failures[0].kind == "refused"
    await stranger.close()
    assert await broker.count(QUEUE) == 0


async def test_ids_in_a_window_are_unique(publisher: Publisher) -> None:
    one = message()
    with pytest.raises(ValueError, match="unique"):
        await publisher.publish_window([one, replace(one)])


async def test_a_lost_connection_raises_and_the_next_call_connects_again(broker: Broker) -> None:
    async with TcpProxy.to(broker.urls["reminders"]) as proxy:
        publisher = await Publisher.connect(proxy.url(broker.urls["reminders"]), confirm_timeout_s=2)
        await publisher.publish(message())
        proxy.hang()
        under_way = [asyncio.create_task(publisher.publish_window([message() for _ in range(50)]))]
        await eventually(lambda: publisher.in_flight == 50)
        proxy.cut()
        with pytest.raises(PublishError) as caught:
            await under_way[0]
        assert caught.value.transient
        assert is_broker_fault(caught.value)
        proxy.resume()
        await publisher.publish(message())
        proxy.refuse()
        with pytest.raises((BrokerUnavailableError, PublishError)):
            await publisher.publish(message())
        with pytest.raises(BrokerUnavailableError):
            await publisher.publish(message())
        proxy.accept()
        await publisher.publish(message())
        await publisher.close()


async def test_a_silent_broker_is_a_timeout(broker: Broker) -> None:
    async with TcpProxy.to(broker.urls["reminders"]) as proxy:
        publisher = await Publisher.connect(proxy.url(broker.urls["reminders"]), confirm_timeout_s=0.5)
        proxy.hang()
        with pytest.raises(PublishError) as caught:
            await publisher.publish(message())
        assert caught.value.failures[0].kind == "timeout"
        proxy.resume()
        await publisher.publish(message())
        await publisher.close()


async def test_a_wrong_password_says_so_without_showing_it(broker: Broker) -> None:
    url = broker.urls["reminders"].replace("test-reminders", "hunter2")
    with pytest.raises(BrokerUnavailableError) as caught:
        await Publisher.connect(url)
    assert "hunter2" not in str(caught.value)
    assert "reminders" in str(caught.value)
