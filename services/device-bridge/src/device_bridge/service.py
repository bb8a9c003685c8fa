"""Composition: which parts a process runs, and how they start and stop together."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Protocol

from fastapi import FastAPI

from copeck.kernel.clock import Clock, SystemClock
from copeck.messaging.outbox import Relay
from copeck.messaging.publisher import Publisher
from copeck.observability.health import Health
from copeck.storage.engine import Database
from copeck.web.app import create_app
from copeck.web.keys import KeySource
from device_bridge import tables
from device_bridge.api import BODY_LIMITS, DESCRIPTION, PREFIX, ROUTERS, TITLE
from device_bridge.api import buyers as buyers_api
from device_bridge.clockwork import AccountRevoker, Clockwork, senders
from device_bridge.consumer import consumer
from device_bridge.drivers.accounts import BrokerAccounts
from device_bridge.drivers.mqtt.brokers import logins
from device_bridge.drivers.registry import FOREIGN_WAYS, build_drivers, telemetry_of
from device_bridge.drivers.tmetr.poller import TelemetryPoller
from device_bridge.handlers.context import Context
from device_bridge.mqtt import MqttLoop
from device_bridge.pages import buyers as buyers_pages
from device_bridge.pages.live import Live
from device_bridge.settings import DevicesSettings

log = logging.getLogger(__name__)

_BACKGROUND_CONNECTIONS = 12
"""Of payments together, the senders and their answers, the clock, the relay, the telemetry, accounts, the machines'
states and prices, and the reports of a foreign broker's, beside one for each batch of our own broker's reports and for
each event that is handled by itself."""


class Part(Protocol):
    """Something that runs until it is stopped."""

    async def run(self) -> None:
        """Run until `stop`."""

    async def stop(self) -> None:
        """Finish what is under way."""


async def _run_part(part: Part, fail: Callable[[BaseException], None]) -> None:
    try:
        await part.run()
    except asyncio.CancelledError:
        raise
    except Exception as error:
        log.exception("%s has died", type(part).__name__)
        fail(error)


def build_app(
    settings: DevicesSettings,
    *,
    clock: Clock | None = None,
    keys: KeySource | None = None,
    with_bus: bool = True,
    on_failure: Callable[[], None] | None = None,
) -> FastAPI:
    """Build the application of one process. Without the bus nothing is said to machines, and messages wait.

    `on_failure` is called when a part of the process has died of a fault of code: the process should end then, and be
    started again.
    """
    settings.secret()
    health = Health()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            database = Database(settings.database_url, settings.database_pool_size, application="device-bridge")
            stack.push_async_callback(database.close)
            health.add("database", database.ping)
            context = Context(database, settings, clock or SystemClock(), drivers=build_drivers(settings, None))
            live = Live(database)
            parts: list[Part] = [live]
            if with_bus:
                context, more = await _bus_parts(stack, context, health)
                parts = [*more, live]
            app.state.context, app.state.live = context, live
            _start(stack, parts, health, on_failure)
            yield
            health.stop()

    app = create_app(
        settings,
        title=TITLE,
        description=DESCRIPTION,
        prefix=PREFIX,
        routers=(*ROUTERS, *buyers_api.routers),
        pages=buyers_pages.router,
        lifespan=lifespan,
        health=health,
        keys=keys,
        body_limits=BODY_LIMITS,
    )
    buyers_pages.pages.mount(app)
    return app


async def _bus_parts(stack: AsyncExitStack, context: Context, health: Health) -> tuple[Context, list[Part]]:
    """Make what consumes the queue, speaks to machines and keeps the deadlines; in the order in which it starts."""
    settings = context.settings
    # A pool of its own: however many messages come, requests do not wait for their connections. What uses it waits out
    # a fault of Postgres and tries again, so a connection is not asked whether it lives before each message.
    connections = settings.consumer_concurrency + settings.reports_concurrency + _BACKGROUND_CONNECTIONS
    database = Database(settings.database_url, connections, application="device-bridge:bus", pre_ping=False)
    stack.push_async_callback(database.close)
    publisher = Publisher(settings.broker_url, name="devices:relay")
    stack.push_async_callback(publisher.close)
    relay = Relay(database, tables.outbox, publisher)
    mqtt = MqttLoop(settings)
    drivers = build_drivers(settings, mqtt)
    stack.push_async_callback(drivers.close)
    context = replace(
        context,
        poke=relay.poke,
        drivers=drivers,
        accounts=BrokerAccounts(mqtt) if settings.mqtt_url else None,
    )
    if settings.celery_broker_url:
        from device_bridge.tasks import enqueue_commands, enqueue_receipts

        context = replace(context, enqueue_commands=enqueue_commands, send_receipts=enqueue_receipts)
    background = replace(context, database=database)
    known = logins(settings)
    sending = senders(background, [way for way in FOREIGN_WAYS if way.broker in known])

    def wake() -> None:
        for sender in sending:
            sender.wake()

    context, background = (replace(one, wake_sender=wake) for one in (context, background))
    mqtt.attach(background)
    events = consumer(background)
    health.add(events.queue, events.ping)
    health.add("machines", mqtt.ping)
    parts: list[Part] = [relay, mqtt, *sending, Clockwork(background), events]
    if background.accounts is not None:
        parts.append(AccountRevoker(background))
    telemetry = telemetry_of(settings)
    if telemetry is not None:
        parts.append(TelemetryPoller(background, telemetry))
    return context, parts


def _start(stack: AsyncExitStack, parts: list[Part], health: Health, on_failure: Callable[[], None] | None) -> None:
    """Run the parts until the stack unwinds; the last to start is the first to stop."""

    def failed(error: BaseException) -> None:
        async def report() -> None:
            raise RuntimeError(f"a part has died: {type(error).__name__}")

        health.add("parts", report)
        if on_failure is not None:
            on_failure()

    running = [asyncio.create_task(_run_part(part, failed)) for part in parts]

    async def stop() -> None:
        # Consumers first: what they decide while they drain is still to be said and published.
        for part in reversed(parts):
            await part.stop()
        await asyncio.gather(*running, return_exceptions=True)

    stack.push_async_callback(stop)
