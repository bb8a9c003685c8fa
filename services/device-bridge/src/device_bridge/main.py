"""Composition root and command line: `python -m device_bridge --help`."""

import os
import signal
from typing import Annotated

import typer

from copeck.observability.logs import configure_logging
from device_bridge.settings import DevicesSettings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Coffee machines: what they sell, to whom, and whether it was brewed.",
)


def _settings(process: str = "device-bridge") -> DevicesSettings:
    settings = DevicesSettings()
    configure_logging(process, settings.log_level, settings.log_format)
    return settings


@app.command("serve")
def serve_command() -> None:
    """Serve the pages and the API, consume the queue, speak to machines and keep deadlines, until SIGTERM or SIGINT."""
    from copeck.web.server import serve
    from device_bridge.service import build_app

    settings, failures = _settings(), list[int]()

    def end() -> None:
        failures.append(1)
        os.kill(os.getpid(), signal.SIGTERM)

    serve(build_app(settings, on_failure=end), settings)
    if failures:
        raise typer.Exit(1)


@app.command("worker")
def worker_command(
    concurrency: Annotated[int, typer.Option(help="Processes; 0: as the settings say.")] = 0,
) -> None:
    """Run the Celery worker: calls of telemetry over HTTP, and receipts by e-mail."""
    from device_bridge.worker import run

    settings = _settings("device-worker")
    run(settings, concurrency or settings.worker_concurrency)


@app.command("migrate")
def migrate_command(
    database_url: Annotated[str, typer.Option(envvar="COPECK_DATABASE_URL", help="The migrator's URL.")],
) -> None:
    """Bring only this service's schema to its newest revision; `python -m copeck.storage migrate` does all."""
    from copeck.storage.engine import libpq_url
    from copeck.storage.migrations import tree_of, upgrade

    upgrade(tree_of("device-bridge"), libpq_url(database_url))
    typer.echo("device-bridge: up to date")


@app.command("run-due")
def run_due_command() -> None:
    """Do once what time has made due, and catch up with missed events; machines are not spoken to."""
    import asyncio

    from copeck.storage.engine import Database
    from device_bridge.clockwork import decide_due
    from device_bridge.drivers.registry import build_drivers
    from device_bridge.handlers.catch_up import catch_up
    from device_bridge.handlers.context import Context

    settings = _settings()

    async def run() -> tuple[int, int]:
        database = Database(settings.database_url, 2, application="device-bridge:due")
        try:
            context = Context(database, settings, drivers=build_drivers(settings, None))
            return await decide_due(context), await catch_up(context)
        finally:
            await database.close()

    decided, caught_up = asyncio.run(run())
    typer.echo(f"looked at {decided} commands, caught up with {caught_up} events")


@app.command("openapi")
def openapi_command() -> None:
    """Print the OpenAPI document."""
    import json

    from device_bridge.api import PREFIX
    from device_bridge.service import build_app

    documents = build_app(_settings(), with_bus=False).state.openapi_documents
    typer.echo(json.dumps(documents[PREFIX](), ensure_ascii=False, indent=2))


def main() -> None:
    """Run the command line."""
    app()
