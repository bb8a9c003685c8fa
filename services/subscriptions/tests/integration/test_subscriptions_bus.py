"""The whole service on a real broker: an event comes in, a command goes out, and strangers are refused."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from fastapi import FastAPI

from copeck.contracts.commands import SubscriptionCreate
from copeck.contracts.envelope import Envelope
from copeck.contracts.registry import shard_of, shard_queue
from copeck.kernel.clock import ManualClock
from copeck.kernel.ids import new_id
from copeck.messaging.publisher import OutgoingMessage, Publisher
from copeck.testkit.rabbit import Broker
from copeck.testkit.tokens import TokenMint
from copeck.testkit.waiting import eventually
from copeck.web.keys import StaticKeys
from services.subscriptions.tests.world import World
from subscriptions.domain.machine import Status
from subscriptions.service import build_app
from subscriptions.settings import SubscriptionsSettings

pytestmark = pytest.mark.integration


@pytest.fixture
def moment() -> ManualClock:
    return ManualClock(datetime.now(UTC))


@pytest.fixture
async def running(
    settings: SubscriptionsSettings, broker: Broker, moment: ManualClock, token_mint: TokenMint
) -> AsyncIterator[FastAPI]:
    """The service with its relay, its consumers and its clockwork."""
    with_broker = settings.model_copy(update={"broker_url": broker.urls["subscriptions"], "due_poll_s": 0.05})
    app = build_app(with_broker, clock=moment, keys=StaticKeys(token_mint.jwks()))
    async with app.router.lifespan_context(app):
        yield app


@asynccontextmanager
async def publisher(broker: Broker, user: str) -> AsyncIterator[Publisher]:
    one = Publisher(broker.urls[user])
    try:
        yield one
    finally:
        await one.close()


async def test_from_subscribing_to_active_over_the_bus(world: World, broker: Broker, running: FastAPI) -> None:
    world.context = running.state.context
    user = new_id()
    begun = await world.subscribe(user, await world.plan())
    assert begun.invoice_id is not None
    command = await broker.get(shard_queue(shard_of(f"customer:{user}")))
    properties = command.header.properties
    assert properties.headers["cloudEvents:type"] == "invoice.issue.v1"
    assert properties.user_id == "subscriptions"
    async with publisher(broker, "state-updater") as updater:
        message = OutgoingMessage.of(world.event(begun.invoice_id, "paid"))
        await updater.publish_window([message])
        await updater.publish_window([message])
    activated = await _next(broker, "subscription.activated.v1")
    assert activated == "subscription.activated.v1"
    assert (await world.subscription(begun.subscription.id)).status is Status.ACTIVE
    assert await world.sent() == []


async def _next(broker: Broker, wanted: str) -> str:
    """Take events that reach the gateway until one of the wanted type."""
    for _ in range(10):
        message = await broker.get("gateway.events")
        if message.header.properties.headers["cloudEvents:type"] == wanted:
            return wanted
    raise AssertionError(f"{wanted} was not published")


async def test_a_manager_may_create_over_the_bus(world: World, broker: Broker, running: FastAPI) -> None:
    world.context = running.state.context
    price = await world.plan()
    command = SubscriptionCreate(
        subscription_id=new_id(), user_id=new_id(), price_id=price.id, actor=f"user:{new_id()}"
    )
    twice = [Envelope.new(command, source="subscriptions") for _ in range(2)]
    async with publisher(broker, "subscriptions") as panel:
        await panel.publish_window([OutgoingMessage.of(envelope) for envelope in twice])

    async def created() -> bool:
        return bool(await world.rows("SELECT 1 FROM subscriptions.inbox OFFSET 1"))

    await eventually(created, timeout_s=10)
    assert (await world.subscription(command.subscription_id)).status is Status.INCOMPLETE
    [note] = await world.rows("SELECT action, actor FROM subscriptions.audit")
    assert note == {"action": "subscription.create", "actor": command.actor}


async def test_a_paid_invoice_that_nobody_knows_is_set_aside(world: World, broker: Broker, running: FastAPI) -> None:
    """I-13: with its reason, and the next message is not held up."""
    world.context = running.state.context
    begun = await world.subscribe(new_id(), await world.plan())
    assert begun.invoice_id is not None
    async with publisher(broker, "state-updater") as updater:
        await updater.publish_window(
            [
                OutgoingMessage.of(world.event(new_id(), "paid")),
                OutgoingMessage.of(world.event(begun.invoice_id, "paid")),
            ]
        )

    async def active() -> bool:
        return (await world.subscription(begun.subscription.id)).status is Status.ACTIVE

    async def dead() -> bool:
        return await broker.count("subscriptions.events.dead") == 1

    await eventually(active, timeout_s=10)
    await eventually(dead, timeout_s=10)
    [reason] = await world.rows("SELECT type, reason FROM subscriptions.dead_letter_reasons")
    assert reason["type"] == "invoice.paid"
    assert "not known here" in reason["reason"]


async def test_time_alone_expires_what_stays_unpaid(
    world: World, broker: Broker, running: FastAPI, moment: ManualClock
) -> None:
    world.context = running.state.context
    begun = await world.subscribe(new_id(), await world.plan())
    moment.set(datetime(2036, 1, 1, tzinfo=UTC))

    async def expired() -> bool:
        return (await world.subscription(begun.subscription.id)).status is Status.EXPIRED

    await eventually(expired, timeout_s=10)
