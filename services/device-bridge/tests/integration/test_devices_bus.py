"""The whole service on a real broker: a payment comes in, the machine is told, and strangers are refused."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from fastapi import FastAPI

from copeck.contracts import events
from copeck.contracts.registry import shard_of, shard_queue
from copeck.kernel.clock import ManualClock
from copeck.messaging.publisher import OutgoingMessage, Publisher
from copeck.testkit.rabbit import Broker
from copeck.testkit.tokens import TokenMint
from copeck.testkit.waiting import eventually
from copeck.web.keys import StaticKeys
from device_bridge.domain.model import Order
from device_bridge.service import build_app
from device_bridge.settings import DevicesSettings

from .fleet import Fleet

pytestmark = pytest.mark.integration


@pytest.fixture
def morning() -> ManualClock:
    return ManualClock(datetime.now(UTC))


@pytest.fixture
async def running(
    device_settings: DevicesSettings, broker: Broker, morning: ManualClock, token_mint: TokenMint
) -> AsyncIterator[FastAPI]:
    """The service with its relay, its consumer, its sender and its deadlines; no machine's broker."""
    with_broker = device_settings.model_copy(update={"broker_url": broker.urls["devices"], "timer_poll_s": 0.05})
    app = build_app(with_broker, clock=morning, keys=StaticKeys(token_mint.jwks()))
    async with app.router.lifespan_context(app):
        yield app


@asynccontextmanager
async def publisher(broker: Broker, user: str) -> AsyncIterator[Publisher]:
    one = Publisher(broker.urls[user])
    try:
        yield one
    finally:
        await one.close()


async def stands(fleet: Fleet, order: Order, status: str) -> None:
    async def reached() -> bool:
        return (await fleet.ends(order))[0] == status

    await eventually(reached)


async def test_from_the_wish_to_the_refund_over_the_bus(fleet: Fleet, broker: Broker, running: FastAPI) -> None:
    """The machine's model has no driver in this process: nothing can be handed on, so the money goes back."""
    fleet.context = running.state.context
    await fleet.device(model="mqtt-v1")
    order = await fleet.ask()
    queue = shard_queue(shard_of(order.account))
    command = await broker.get(queue)
    assert command.header.properties.headers["cloudEvents:type"] == "invoice.issue.v1"
    assert command.header.properties.user_id == "devices"
    async with publisher(broker, "state-updater") as updater:
        paid = OutgoingMessage.of(fleet.event(order, events.InvoicePaid))
        await updater.publish_window([paid])
        await updater.publish_window([paid])
        await stands(fleet, order, "make_pending")

        async def given_up() -> bool:
            fleet.clock.advance(timedelta(seconds=15))
            return (await fleet.ends(order))[0] == "failed"

        await eventually(given_up)
        refund = await broker.get(queue)
        assert refund.header.properties.headers["cloudEvents:type"] == "invoice.refund.v1"
        stored = await fleet.order(order.id)
        assert stored.refund_id is not None
        succeeded = events.RefundSucceeded(
            refund_id=stored.refund_id,
            invoice_id=order.invoice_id,
            version=3,
            status="succeeded",
            origin="requested",
            account=order.account,
            amount_minor=order.price_minor,
            currency="RUB",
        )
        await updater.publish_window([OutgoingMessage.of(fleet.envelope(succeeded))])

    async def returned() -> bool:
        return (await fleet.ends(order))[2] == "succeeded"

    await eventually(returned)
    assert await fleet.rows("SELECT count(*) AS n FROM devices.brew_commands") == [{"n": 1}]


async def test_what_others_sell_does_not_come_by(fleet: Fleet, broker: Broker, running: FastAPI) -> None:
    """The queue is bound by the kind of the invoice: a subscription's events are not sent here at all."""
    fleet.context = running.state.context
    await fleet.device()
    order = await fleet.ask()
    async with publisher(broker, "state-updater") as updater:
        theirs = fleet.event(order, events.InvoicePaid, kind="subscription")
        await updater.publish_window([OutgoingMessage.of(theirs)])
        await updater.publish_window([OutgoingMessage.of(fleet.event(order, events.InvoiceIssued))])
    await stands(fleet, order, "pending")
