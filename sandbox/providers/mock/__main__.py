"""Commands: ``python -m sandbox.providers.mock serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import uvicorn

from sandbox.providers.mock.app import create_app
from sandbox.providers.mock.settings import Settings

cli = typer.Typer(help="Emulator of the mock gateway.", no_args_is_help=True, add_completion=False)


@cli.callback()
def main() -> None:
    """Emulator of the mock gateway."""


@cli.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where the state and the log are kept.")] = None,
    shops_file: Annotated[Path | None, typer.Option(help="JSON list of clients.")] = None,
    opening_balance: Annotated[str | None, typer.Option(help="In roubles, of a new or emptied gateway.")] = None,
    log_level: Annotated[str, typer.Option(help="Level of the server's own log.")] = "warning",
) -> None:
    """Run the emulator. Options win over the environment (SANDBOX_MOCK_*)."""
    given: dict[str, Any] = {
        "host": host, "port": port, "data_dir": data_dir, "shops_file": shops_file,
        "opening_balance": opening_balance,
    }  # fmt: skip
    settings = Settings(**{name: value for name, value in given.items() if value is not None})
    uvicorn.run(
        create_app(settings), host=settings.host, port=settings.port, log_level=log_level, access_log=False,
        timeout_graceful_shutdown=3, server_header=False,
    )  # fmt: skip


if __name__ == "__main__":
    cli()
