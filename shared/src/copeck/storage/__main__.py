"""Command line: prepare a database (`bootstrap`), bring every service's schema to its newest revision (`migrate`)."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from copeck.storage.engine import libpq_url
from copeck.storage.migrations import upgrade_all
from copeck.storage.roles import LOGINS, bootstrap

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)


@app.command("bootstrap")
def bootstrap_command(
    admin_url: Annotated[str, typer.Option(envvar="COPECK_ADMIN_DATABASE_URL", help="A superuser's URL.")],
    passwords_file: Annotated[
        Path | None, typer.Option(envvar="COPECK_DATABASE_PASSWORDS_FILE", help="JSON: login → password.")
    ] = None,
) -> None:
    """Create roles, schemas and their rights; may be run again at any time.

    A password comes from the file, or from COPECK_DATABASE_PASSWORD_<ROLE>, or stays as it is.
    """
    passwords: dict[str, str] = {}
    for name in LOGINS:
        value = os.environ.get(f"COPECK_DATABASE_PASSWORD_{name.upper()}")
        if value:
            passwords[name] = value
    if passwords_file is not None:
        passwords.update(json.loads(passwords_file.read_text(encoding="utf-8")))
    bootstrap(libpq_url(admin_url), passwords)
    typer.echo(f"roles and schemas are ready ({len(passwords)} passwords set)")


@app.command("migrate")
def migrate_command(
    database_url: Annotated[str, typer.Option(envvar="COPECK_DATABASE_URL", help="The migrator's URL.")],
) -> None:
    """Upgrade the schemas of all services."""
    for name in upgrade_all(libpq_url(database_url)):
        typer.echo(f"{name}: up to date")


if __name__ == "__main__":
    app()
