"""A story put together from what every service recorded of an invoice or a payout, and told as a table."""

from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID

import psycopg
from rich.console import Console

from copeck.kernel.ids import first_id_at
from copeck.operator import registry
from copeck.operator.context import Connection
from copeck.operator.output import clock, moment, spoken, table
from copeck.operator.timeline import Entry


def gather(connection: Connection, timelines: Iterable[str], aggregate_id: UUID) -> tuple[list[Entry], dict[str, str]]:
    """Ask every service's part; one that cannot answer is named, and the others still tell what they know."""
    entries: list[Entry] = []
    missing: dict[str, str] = {}
    for reference in timelines:
        name = reference.partition(".")[0]
        try:
            ask = registry.load_function(reference)
            with connection.transaction():
                entries += ask(connection, aggregate_id)
        except ImportError as error:
            missing[name] = f"not installed here ({error.name})"
        except (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege) as error:
            missing[name] = str(error).splitlines()[0]
    return sorted(entries, key=Entry.place), missing


def show(console: Console, entries: list[Entry], missing: dict[str, str]) -> None:
    """Print a story, and which services could not tell their part of it."""
    day = moment(entries[0].at).partition("T")[0] if entries else ""
    cells = [
        (clock(entry.at, day), entry.source, entry.kind, entry.what, entry.status, spoken(entry.amount), _cause(entry))
        for entry in entries
    ]
    columns = ("when (UTC)", "where", "kind", "what", "status", "amount", "by / because of")
    console.print(table(f"Timeline of {day}", columns, cells, right=("amount",)))
    for name, reason in missing.items():
        console.print(f"not available: {name}: {reason}", markup=False)


def _cause(entry: Entry) -> str:
    # The end of an id tells messages of one story apart; --json has it whole.
    cause = f"{entry.cause} …{str(entry.cause_id)[-8:]}".strip() if entry.cause_id else entry.cause
    return " / ".join(part for part in (entry.actor, cause) if part)


def bound(moment_in_utc: datetime | None) -> UUID | None:
    """Return the least id of a moment: ids sort by time, and so does their index."""
    return first_id_at(moment_in_utc.replace(tzinfo=moment_in_utc.tzinfo or UTC)) if moment_in_utc else None
