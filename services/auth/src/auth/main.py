"""Composition and commands of `auth`."""

import asyncio
import contextlib
import secrets
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Annotated, TypeVar

import typer
from fastapi import FastAPI

from auth.api import edge, me, sessions, users
from auth.context import Context
from auth.domain.errors import EmailTakenError
from auth.domain.passwords import check_password
from auth.domain.roles import ROLES
from auth.handlers import accounts, housekeeping, rotation
from auth.settings import AuthSettings
from auth.signing import Sealer
from auth.tables import outbox
from copeck.kernel.errors import DomainError
from copeck.messaging.outbox import Relay
from copeck.messaging.publisher import Publisher
from copeck.observability.health import Health
from copeck.observability.logs import configure_logging
from copeck.storage.engine import Database
from copeck.web.app import create_app
from copeck.web.server import serve as serve_app

PREFIX = "/auth/api/v1"

cli = typer.Typer(no_args_is_help=True, add_completion=False, help="Users, sessions, roles, API keys and tokens.")
keys_cli = typer.Typer(no_args_is_help=True, help="Signing keys and their rotation.")
cli.add_typer(keys_cli, name="keys")

T = TypeVar("T")

Existing = Annotated[
    bool,
    typer.Option(
        "--existing",
        help="Take over the account that the address has: a new password, and its sessions and API keys are over.",
    ),
]


def build_app(settings: AuthSettings, context: Context | None = None) -> FastAPI:
    """Put the service together; without a broker URL events wait in the outbox."""
    context = context or Context.build(
        settings, Database(settings.database_url, settings.database_pool_size, application="auth")
    )
    health = Health()
    health.add("database", context.database.ping)
    publisher = Publisher(settings.broker_url, name="auth") if settings.broker_url else None
    if publisher is not None:
        health.add("broker", publisher.ping)
        context.relay = Relay(context.database, outbox, publisher)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await rotation.ensure_key(context)
        tasks = [asyncio.create_task(housekeeping.run(context), name="housekeeping")]
        if context.relay is not None:
            tasks.append(asyncio.create_task(context.relay.run(), name="relay"))
        try:
            yield
        finally:
            health.stop()
            if context.relay is not None:
                await context.relay.stop()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.shield(tasks[-1]), 5)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if publisher is not None:
                await publisher.close()
            await context.database.close()

    app = create_app(
        settings,
        title="Copeck auth",
        description="Accounts, sessions, tokens, roles and API keys.",
        prefix=PREFIX,
        routers=[sessions.router, me.router, users.router, edge.router],
        lifespan=lifespan,
        health=health,
        keys=context.ring,
    )
    app.state.context = context
    return app


@cli.command()
def serve() -> None:
    """Serve the API until SIGTERM."""
    settings = _settings()
    serve_app(build_app(settings), settings)


@cli.command()
def migrate(
    database_url: Annotated[str, typer.Option(envvar="COPECK_DATABASE_URL", help="The migrator's URL.")],
) -> None:
    """Bring the schema `auth` to its newest revision."""
    from copeck.storage.engine import libpq_url
    from copeck.storage.migrations import tree_of, upgrade

    upgrade(tree_of("auth"), libpq_url(database_url))
    typer.echo("auth: up to date")


@cli.command("create-operator")
def create_operator(
    email: Annotated[str, typer.Option(help="The operator's e-mail address.")],
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin.")] = False,
    existing: Existing = False,
) -> None:
    """Make the first operator. An address that has an account is refused: anybody may have registered it.

    Without --password-stdin a password is made up and printed, once.
    """
    _create(email, {"operator"}, password_stdin, existing)


@cli.command("create-user")
def create_user(
    email: Annotated[str, typer.Option(help="The user's e-mail address.")],
    role: Annotated[list[str], typer.Option(help=f"A role; may be repeated: {', '.join(ROLES)}.")],
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin.")] = False,
    existing: Existing = False,
) -> None:
    """Make an account with roles; an address that has an account is refused."""
    unknown = set(role) - set(ROLES)
    if unknown:
        raise typer.BadParameter(f"no such role: {', '.join(sorted(unknown))}; there are {', '.join(ROLES)}")
    _create(email, set(role), password_stdin, existing)


@cli.command()
def purge() -> None:
    """Delete what ended longer ago than the retention; the service does it by itself, every hour."""
    count = _run(housekeeping.purge_all)
    typer.echo(f"deleted {count} rows")


@keys_cli.command("list")
def list_keys() -> None:
    """List signing keys, the newest first."""
    for key in _run(rotation.listing):
        typer.echo(f"{key.kid}  {key.state:<9}  published {key.published_at:%Y-%m-%d %H:%M:%S}")


@keys_cli.command("rotate")
def rotate_keys(
    age_days_min: Annotated[int, typer.Option(help="Leave an active key alone that is younger than this.")] = 0,
    force: Annotated[
        bool, typer.Option("--force", help="Wait for nothing: for a key that leaked. Tokens become invalid.")
    ] = False,
) -> None:
    """Take the next step of a rotation if it is due: publish a key, activate it, retire the old one.

    Run it from a timetable, every ten minutes with --age-days-min 90, or by hand until it says that nothing is due.
    """
    step = _run(lambda context: rotation.rotate(context, force=force, age_min=timedelta(days=age_days_min)))
    typer.echo(f"{step.action or 'nothing is due'}{f' {step.kid}' if step.kid else ''}: {step.reason}")


def _create(email: str, roles: set[str], password_stdin: bool, existing: bool) -> None:
    from pydantic import TypeAdapter, ValidationError

    from auth.api.models import Email

    try:
        address = TypeAdapter(Email).validate_python(email)
        password = sys.stdin.readline().rstrip("\n") if password_stdin else secrets.token_urlsafe(18)
        check_password(password, address)
    except (ValidationError, DomainError) as error:
        typer.echo(f"{email}: {error}" if isinstance(error, DomainError) else f"{email} is no e-mail address", err=True)
        raise typer.Exit(2) from error
    try:
        user, created = _run(
            lambda context: accounts.ensure_user(
                context, email=address, password=password, roles=frozenset(roles), existing=existing
            )
        )
    except EmailTakenError as error:
        typer.echo(f"{address} has an account; --existing takes it over, whoever registered it", err=True)
        raise typer.Exit(1) from error
    typer.echo(
        f"{'created' if created else 'taken over'}: {user.email} {user.id} roles: {', '.join(sorted(user.roles))}"
    )
    if not password_stdin:
        typer.echo(f"password: {password}")


def _run(work: Callable[[Context], Awaitable[T]]) -> T:
    """Run one piece of work with the parts of the service."""

    async def run() -> T:
        settings = _settings()
        database = Database(settings.database_url, 2, application="auth-command")
        try:
            return await work(Context.build(settings, database))
        finally:
            await database.close()

    return asyncio.run(run())


def _settings() -> AuthSettings:
    settings = AuthSettings()
    configure_logging(settings.service, settings.log_level, settings.log_format)
    try:
        Sealer(settings.signing_secret.get_secret_value())
    except ValueError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    return settings


def main() -> None:
    """Run the command line."""
    cli()
