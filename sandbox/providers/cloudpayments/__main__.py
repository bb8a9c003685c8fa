"""Commands: ``python -m sandbox.providers.cloudpayments serve|sign|cards``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import uvicorn

from sandbox.providers.cloudpayments.app import create_app
from sandbox.providers.cloudpayments.cards import TEST_CARDS
from sandbox.providers.cloudpayments.settings import Settings
from sandbox.providers.cloudpayments.signing import signature_headers

cli = typer.Typer(help="CloudPayments emulator.", no_args_is_help=True, add_completion=False)


@cli.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where the state and the log are kept.")] = None,
    shops_file: Annotated[Path | None, typer.Option(help="JSON list of terminals.")] = None,
    notify_url: Annotated[str | None, typer.Option(help="Where to notify, with {shop} and {type}.")] = None,
    public_url: Annotated[str | None, typer.Option(help="Address that browsers use.")] = None,
    time_scale: Annotated[float | None, typer.Option(help="Scale of the pauses between attempts.")] = None,
    log_level: Annotated[str, typer.Option(help="Level of the server's own log.")] = "warning",
) -> None:
    """Run the emulator. Options win over the environment (SANDBOX_CLOUDPAYMENTS_*)."""
    given: dict[str, Any] = {
        "host": host, "port": port, "data_dir": data_dir, "shops_file": shops_file, "notify_url": notify_url,
        "public_url": public_url, "time_scale": time_scale,
    }  # fmt: skip
    settings = Settings(**{name: value for name, value in given.items() if value is not None})
    uvicorn.run(
        create_app(settings), host=settings.host, port=settings.port, log_level=log_level, access_log=False,
        timeout_graceful_shutdown=3, server_header=False,
    )  # fmt: skip


@cli.command()
def sign(secret: Annotated[str, typer.Argument(help="API secret; the raw body is read from standard input.")]) -> None:
    """Print both signatures of a form body."""
    body = sys.stdin.buffer.read()
    for name, value in signature_headers(secret, body, url_encoded=True).items():
        typer.echo(f"{name}: {value}")


@cli.command()
def cards() -> None:
    """List the test cards."""
    for card in TEST_CARDS:
        typer.echo(f"{card.number}  {card.note}")


if __name__ == "__main__":
    cli()
