"""`copeck outbox`: what was committed and is not published yet, of every service."""

from typing import Annotated

import typer
from rich.console import Console

from copeck.operator import store
from copeck.operator.context import database
from copeck.operator.errors import FINDINGS
from copeck.operator.output import Json, emit, moment, table

app = typer.Typer(help="What was committed and is not published yet.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """What was committed and is not published yet."""


@app.command()
def status(
    older_than: Annotated[
        int | None, typer.Option(help="Exit with status 4 when something waits for longer than this many seconds.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show every service's outbox and the updater's cursors: how many wait, and since when.

    Example: copeck outbox status --older-than 60
    """
    with database() as connection:
        outboxes, cursors = store.outboxes(connection), store.cursors(connection)
    behind = [row for row in cursors if row["waiting"]]
    updater = {
        "service": "state",
        "waiting": sum(row["waiting"] for row in cursors),
        "oldest_at": min((row["oldest_at"] for row in behind if row["oldest_at"]), default=None),
        "oldest_age_s": max((row["oldest_age_s"] for row in behind), default=0.0),
    }
    rows = [*outboxes, updater]
    waiting = sum(row["waiting"] for row in rows)
    oldest = max((row["oldest_age_s"] for row in rows), default=0.0)

    def show(console: Console) -> None:
        columns = ("service", "waiting", "oldest", "age, s")
        cells = [(r["service"], r["waiting"], moment(r["oldest_at"]), f"{r['oldest_age_s']:.1f}") for r in rows]
        console.print(table("Outboxes", columns, cells, right=("waiting", "age, s")))
        shards = [
            (r["shard"], r["published_seq"], r["written_seq"], r["waiting"], moment(r["oldest_at"])) for r in cursors
        ]
        places = ("shard", "published", "written", "waiting", "oldest")
        console.print(table("The updater's cursors", places, shards, right=places[:4]))
        console.print(f"{waiting} messages wait, the oldest for {oldest:.1f} s")

    document = {"waiting": waiting, "oldest_age_s": oldest, "outboxes": rows, "cursors": cursors}
    emit(document, as_json, show)
    if older_than is not None and oldest > older_than:
        raise typer.Exit(FINDINGS)
