"""Commands: ``python -m sandbox.machines serve|simulate``."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Annotated, Any

import typer
import uvicorn

from sandbox.machines import commands
from sandbox.machines.app import create_app
from sandbox.machines.settings import Settings

cli = typer.Typer(
    help="Virtual coffee machines, their telemetry, and a mail sink.", no_args_is_help=True, add_completion=False
)
cli.command("simulate")(commands.simulate)
_OPEN_FILES = 16_384


def allow_many_connections() -> None:
    """Raise the limit of open files as far as it may be: every machine is a connection."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(_OPEN_FILES, hard) if hard != resource.RLIM_INFINITY else _OPEN_FILES
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@cli.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where machines' memory and the log are kept.")] = None,
    mqtt_url: Annotated[str | None, typer.Option(help="Broker of machines that name none.")] = None,
    shop_url: Annotated[str | None, typer.Option(help="Where the buyers' pages are.")] = None,
    mail_port: Annotated[int | None, typer.Option(help="SMTP port of the mail sink.")] = None,
    log_level: Annotated[str, typer.Option(help="Level of the server's own log.")] = "warning",
) -> None:
    """Run the fleet. Options win over the environment (SANDBOX_MACHINES_*)."""
    given: dict[str, Any] = {
        "host": host, "port": port, "data_dir": data_dir, "mqtt_url": mqtt_url, "shop_url": shop_url,
        "mail_port": mail_port,
    }  # fmt: skip
    settings = Settings(**{name: value for name, value in given.items() if value is not None})
    allow_many_connections()
    uvicorn.run(
        create_app(settings), host=settings.host, port=settings.port, log_level=log_level, access_log=False,
        timeout_graceful_shutdown=3, server_header=False,
    )  # fmt: skip


if __name__ == "__main__":
    cli()
