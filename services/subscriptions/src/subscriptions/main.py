"""Composition root and command line: `python -m subscriptions --help`."""

import os
import signal
from typing import Annotated

import typer

from copeck.observability.logs import configure_logging
from subscriptions.settings import SubscriptionsSettings

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Plans, prices and subscriptions."
)


def _settings() -> SubscriptionsSettings:
    settings = SubscriptionsSettings()
    configure_logging(settings.service, settings.log_level, settings.log_format)
    return settings


@app.command("serve")
def serve_command(
    listener: Annotated[
        str,
        typer.Option(
            help="What to serve: the client API and the cabinet (client), the admin API (admin), or both (all). "
            "Queues are consumed by client and all."
        ),
    ] = "all",
) -> None:
    """Serve HTTP, consume the queues and watch the clock until SIGTERM or SIGINT."""
    from copeck.web.server import serve
    from subscriptions.service import build_app

    if listener not in ("client", "admin", "all"):
        raise typer.BadParameter("choose client, admin or all", param_hint="--listener")
    settings, failures = _settings(), list[int]()

    def end() -> None:
        failures.append(1)
        os.kill(os.getpid(), signal.SIGTERM)

    serve(build_app(settings, listener, on_failure=end), settings)  # type: ignore[arg-type]
    if failures:
        raise typer.Exit(1)


@app.command("migrate")
def migrate_command(
    database_url: Annotated[str, typer.Option(envvar="COPECK_DATABASE_URL", help="The migrator's URL.")],
) -> None:
    """Bring only this service's schema to its newest revision; `python -m copeck.storage migrate` does all."""
    from copeck.storage.engine import libpq_url
    from copeck.storage.migrations import tree_of, upgrade

    upgrade(tree_of("subscriptions"), libpq_url(database_url))
    typer.echo("subscriptions: up to date")


@app.command("seed-demo")
def seed_demo_command() -> None:
    """Put the demo cinema's plans on sale; run again, it changes nothing."""
    import asyncio

    from subscriptions.demo import seed

    for line in asyncio.run(seed(_settings())):
        typer.echo(line)


@app.command("run-due")
def run_due_command() -> None:
    """Do once what time has made due: end periods, carry out scheduled cancellations, give up what stays unpaid."""
    import asyncio

    from copeck.storage.engine import Database
    from subscriptions.clockwork import run_due
    from subscriptions.handlers.context import Context

    settings = _settings()

    async def run() -> int:
        database = Database(settings.database_url, 2, application="subscriptions:due")
        try:
            return await run_due(Context(database, settings))
        finally:
            await database.close()

    typer.echo(f"looked at {asyncio.run(run())} subscriptions")


@app.command("openapi")
def openapi_command(
    api: Annotated[str, typer.Option(help="Which document: client or admin.")] = "client",
) -> None:
    """Print an OpenAPI document."""
    import json

    from subscriptions.api.dependencies import ADMIN_PREFIX, CLIENT_PREFIX
    from subscriptions.service import build_app

    documents = build_app(SubscriptionsSettings(), "all", with_bus=False).state.openapi_documents
    typer.echo(json.dumps(documents[ADMIN_PREFIX if api == "admin" else CLIENT_PREFIX](), ensure_ascii=False, indent=2))


def main() -> None:
    """Run the command line."""
    app()
