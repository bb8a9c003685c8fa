"""Composition: which parts a process runs, and how they start and stop together."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Literal, Protocol

from fastapi import FastAPI

from copeck.kernel.clock import Clock, SystemClock
from copeck.messaging.consumer import Consumer
from copeck.messaging.outbox import Relay
from copeck.messaging.publisher import Publisher
from copeck.observability.health import Health
from copeck.storage.engine import Database
from copeck.web.app import Api, create_app
from copeck.web.keys import KeySource
from subscriptions import tables
from subscriptions.api import invoices, plans, subscriptions
from subscriptions.api.admin import catalogue as admin_catalogue
from subscriptions.api.admin import invoices as admin_invoices
from subscriptions.api.admin import subscriptions as admin_subscriptions
from subscriptions.api.dependencies import ADMIN_PREFIX, CLIENT_PREFIX
from subscriptions.clockwork import Clockwork
from subscriptions.consumer import consumers
from subscriptions.handlers.context import Context
from subscriptions.pages import cabinet
from subscriptions.settings import SubscriptionsSettings

log = logging.getLogger(__name__)

Listener = Literal["client", "admin", "all"]

CLIENT_TITLE = "Copeck: subscriptions"
ADMIN_TITLE = "Copeck: administration"
_CLIENT_ROUTERS = (plans.router, subscriptions.router, invoices.router)
_ADMIN_ROUTERS = (admin_catalogue.router, admin_subscriptions.router, admin_invoices.router)
_CLIENT_DESCRIPTION = (
    'Plans, subscriptions and invoices of the caller. Money is `{"value": "199.00", "currency": "RUB"}`. '
    "Errors are problem details (RFC 9457)."
)
_ADMIN_DESCRIPTION = (
    "For managers: prices, plans, customers' subscriptions and invoices. A price is never edited: another one "
    "supersedes it. Invoices change over the bus: `202` and a command to ask about, or `Prefer: wait=5`."
)


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
    settings: SubscriptionsSettings,
    listener: Listener = "all",
    *,
    clock: Clock | None = None,
    keys: KeySource | None = None,
    with_bus: bool = True,
    on_failure: Callable[[], None] | None = None,
) -> FastAPI:
    """Build the application of one process. Without the bus, messages wait in the outbox for another process.

    `on_failure` is called when a part of the process has died of a fault of code: the process should end then, and be
    started again.
    """
    health = Health()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            database = Database(settings.database_url, settings.database_pool_size, application="subscriptions")
            stack.push_async_callback(database.close)
            health.add("database", database.ping)
            context = Context(database, settings, clock or SystemClock())
            if with_bus:
                context = await _start_bus(stack, context, listener, health, on_failure)
            app.state.context = context
            yield
            health.stop()

    common = {"lifespan": lifespan, "health": health, "keys": keys}
    if listener == "admin":
        return create_app(
            settings,
            title=ADMIN_TITLE,
            prefix=ADMIN_PREFIX,
            routers=_ADMIN_ROUTERS,
            description=_ADMIN_DESCRIPTION,
            **common,  # type: ignore[arg-type]
        )
    apis = (Api(ADMIN_PREFIX, ADMIN_TITLE, _ADMIN_ROUTERS, _ADMIN_DESCRIPTION),) if listener == "all" else ()
    app = create_app(
        settings,
        title=CLIENT_TITLE,
        prefix=CLIENT_PREFIX,
        routers=_CLIENT_ROUTERS,
        pages=cabinet.router,
        description=_CLIENT_DESCRIPTION,
        apis=apis,
        **common,  # type: ignore[arg-type]
    )
    cabinet.pages.mount(app)
    return app


async def _start_bus(
    stack: AsyncExitStack,
    context: Context,
    listener: Listener,
    health: Health,
    on_failure: Callable[[], None] | None,
) -> Context:
    """Start the relay in every process, and what consumes and watches the clock where customers are served."""
    settings = context.settings
    # A pool of its own: however many messages come, requests do not wait for their connections. What uses it waits out
    # a fault of Postgres and tries again, so a connection is not asked whether it lives before each message.
    database = Database(
        settings.database_url, settings.consumer_concurrency + 2, application="subscriptions:bus", pre_ping=False
    )
    stack.push_async_callback(database.close)
    publisher = Publisher(settings.broker_url, name="subscriptions:relay")
    stack.push_async_callback(publisher.close)
    relay = Relay(database, tables.outbox, publisher)
    context = replace(context, poke=relay.poke)
    parts: list[Part] = [relay]
    if listener != "admin":
        background = replace(context, database=database)
        queues: list[Consumer] = consumers(background)
        for consumer in queues:
            health.add(consumer.queue, consumer.ping)
        parts += [Clockwork(background), *queues]

    def failed(error: BaseException) -> None:
        async def report() -> None:
            raise RuntimeError(f"a part has died: {type(error).__name__}")

        health.add("parts", report)
        if on_failure is not None:
            on_failure()

    tasks = [asyncio.create_task(_run_part(part, failed)) for part in parts]

    async def stop() -> None:
        # Consumers first: what they decide while they drain is still to be published.
        for part in reversed(parts):
            await part.stop()
        await asyncio.gather(*tasks, return_exceptions=True)

    stack.push_async_callback(stop)
    return context
