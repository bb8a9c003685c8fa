"""Composition and commands: `python -m payments_gateway serve|worker|janitor-once|sweep-once|migrate`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import typer
from fastapi import FastAPI

from copeck.messaging.outbox import Relay
from copeck.messaging.publisher import Publisher
from copeck.observability.health import Health
from copeck.observability.logs import configure_logging, get_logger
from copeck.web.app import create_app
from copeck.web.server import serve as serve_app
from payments_gateway import tables
from payments_gateway.api import batches as batches_api
from payments_gateway.api import commissions as commissions_api
from payments_gateway.api import compatibility as compatibility_api
from payments_gateway.api import corrections as corrections_api
from payments_gateway.api import merchant_shops as merchant_shops_api
from payments_gateway.api import paid as paid_api
from payments_gateway.api import pay as pay_api
from payments_gateway.api import payments as payments_api
from payments_gateway.api import payouts as payouts_api
from payments_gateway.api import switches as switches_api
from payments_gateway.api import wallets as wallets_api
from payments_gateway.composition import make_context
from payments_gateway.consumer import make_consumer
from payments_gateway.handlers.context import Context
from payments_gateway.handlers.paid import Paid
from payments_gateway.handlers.payouts import Payouts
from payments_gateway.handlers.wallet_requests import WalletRequests
from payments_gateway.pages import PREFIX, pages
from payments_gateway.pages import router as pages_router
from payments_gateway.settings import GatewaySettings

log = get_logger(__name__)
cli = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)

_STOP_TIMEOUT_S = 20.0
_DESCRIPTION = """
`pay` gives a page what it needs to take a payment and tells how it went; whoever has an invoice's id may pay it.
`paid` is where payment providers report: signed, stored before it is answered, and without effect the second time.
`wallets` are what people have with us; `payments` puts money in, takes it out, and pays invoices from them.
`commissions` and `switches` are the managers': what that costs, and what is stopped for the moment.
`merchants' shops` are where the buyers of a merchant pay that merchant and not us.
`payouts` sends money out, one by one or by files; `corrections` moves it in the books, by two people.
"""


def build(settings: GatewaySettings, context: Context | None = None, *, bus: bool = True) -> FastAPI:
    """Build the application; `bus=False` leaves consumer and relay out, for tests of HTTP alone."""
    gateway = context or make_context(settings)
    health = Health()
    health.add("database", gateway.database.ping)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with _bus(gateway, health) if bus else _nothing():
            yield
        await gateway.close()

    app = create_app(
        settings,
        title="Copeck payments gateway",
        description=_DESCRIPTION,
        prefix=PREFIX,
        routers=[
            # Those that are called most come first: routes are tried in their order.
            payments_api.router,
            paid_api.router,
            pay_api.router,
            wallets_api.router,
            commissions_api.router,
            switches_api.router,
            merchant_shops_api.router,
            batches_api.router,
            payouts_api.router,
            corrections_api.router,
        ],
        apis=[compatibility_api.API],
        pages=pages_router,
        lifespan=lifespan,
        health=health,
        raw_prefixes=(f"{PREFIX}/paid/",),
        body_limits={f"{PREFIX}{batches_api.PATH}": batches_api.BODY_BYTES_MAX},
    )
    pages.mount(app)
    app.state.context = gateway
    app.state.paid = Paid(gateway)
    app.state.payouts = Payouts(gateway)
    app.state.wallet_requests = WalletRequests(gateway)
    return app


@asynccontextmanager
async def _nothing() -> AsyncIterator[None]:
    yield


@asynccontextmanager
async def _bus(context: Context, health: Health) -> AsyncIterator[None]:
    """Run the relay of the outbox and the consumer of events beside the HTTP server."""
    settings = context.settings
    publisher = Publisher(settings.broker_url, name="gateway-relay")
    relay = Relay(context.database, tables.outbox, publisher)
    consumer = make_consumer(context)
    context.poke_relay = relay.poke
    if settings.celery_broker_url:
        from payments_gateway.tasks import enqueue, enqueue_questions, send_batch

        context.enqueue, context.enqueue_questions, context.send_batch = enqueue, enqueue_questions, send_batch
    health.add("broker", publisher.ping)
    health.add("consumer", consumer.ping)
    running = [asyncio.create_task(relay.run(), name="relay"), asyncio.create_task(consumer.run(), name="consumer")]
    for task in running:
        task.add_done_callback(_complain)
    try:
        yield
    finally:
        health.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await consumer.stop()
                await relay.stop()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await publisher.close()


def _complain(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("a background task ended", task=task.get_name(), exc_info=task.exception())


def _settings(process: str) -> GatewaySettings:
    settings = GatewaySettings()
    configure_logging(process, settings.log_level, settings.log_format)
    return settings


@cli.command()
def serve() -> None:
    """Serve the pay page, the callbacks and the API; publish the outbox; follow the updater's events."""
    settings = _settings("gateway")
    serve_app(build(settings), settings)


@cli.command()
def worker(concurrency: int = typer.Option(0, help="Processes; 0: as the settings say.")) -> None:
    """Run the Celery worker that executes provider operations."""
    from payments_gateway.worker import run

    settings = _settings("gateway-worker")
    run(settings, concurrency or settings.worker_concurrency)


@cli.command("janitor-once")
def janitor_once() -> None:
    """Run the janitor here, once, without Celery: take up due rows and execute their operations."""
    settings = _settings("gateway-janitor")
    typer.echo(asyncio.run(_janitor_once(settings)))


@cli.command("sweep-once")
def sweep_once() -> None:
    """Reconcile with the providers' lists and keep tables in order, here, once."""
    settings = _settings("gateway-sweep")
    typer.echo(asyncio.run(_sweep_once(settings)))


@cli.command()
def migrate() -> None:
    """Bring this service's schema to its newest revision; COPECK_DATABASE_URL is the migrator's."""
    from copeck.storage.migrations import tree_of, upgrade

    settings = _settings("gateway-migrate")
    upgrade(tree_of("payments-gateway"), settings.database_url)
    typer.echo("payments-gateway: up to date")


async def _janitor_once(settings: GatewaySettings) -> str:
    from uuid import UUID

    from payments_gateway.handlers import janitor, operations

    context = make_context(settings, pool_size=2)
    taken: list[UUID] = []
    context.enqueue = context.enqueue_questions = taken.extend
    try:
        done = await janitor.run(context)
        results = await operations.execute_many(context, taken)
    finally:
        await context.close()
    return f"attempts asked about: {done.attempts}, operations executed: {len(results)}"


async def _sweep_once(settings: GatewaySettings) -> str:
    from payments_gateway.handlers import janitor

    context = make_context(settings, pool_size=2)
    try:
        done = await janitor.sweep(context)
    finally:
        await context.close()
    return ", ".join(f"{name}: {count}" for name, count in done.items())


def main() -> None:
    """Run the command line."""
    cli()


if __name__ == "__main__":
    main()
