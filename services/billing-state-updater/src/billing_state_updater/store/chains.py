"""Event chains and stored rows as streams in the order of their ids, for `copeck replay`."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from billing_state_updater.tables import INVOICE_HOT, INVOICE_TERMS, PAYOUT

Connection = psycopg.Connection[tuple[Any, ...]]
_FETCH = 5000

PAYMENT = (
    "provider",
    "shop",
    "transaction",
    "status",
    "amount_minor",
    "currency",
    "method",
    "failure_code",
    "failure_reason",
    "late",
)
REFUND = (
    "version",
    "status",
    "origin",
    "source",
    "amount_minor",
    "commission_minor",
    "currency",
    "payment_id",
    "provider",
    "shop",
    "transaction",
    "refund_transaction",
    "reason",
    "failure_code",
    "failure_reason",
)
_TABLES: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "invoice": ("invoices", ("id",), ("status", *(name for name in INVOICE_HOT if name != "status"), *INVOICE_TERMS)),
    "payout": ("payouts", ("id",), PAYOUT),
    "payment": ("payments", ("invoice_id", "id"), PAYMENT),
    "refund": ("refunds", ("invoice_id", "id"), REFUND),
}

Row = tuple[UUID, dict[str, Any]]


def count(connection: Connection, since: UUID | None) -> int:
    """Return how many invoices and payouts there are, for the progress bar."""
    total = 0
    for table in ("invoices", "payouts"):
        where, parameters = _where(("id",), since, None)
        query = sql.SQL("SELECT count(*) FROM state.{} {}").format(sql.Identifier(table), where)
        row = connection.execute(query, parameters).fetchone()
        total += row[0] if row else 0
    return total


def chains(
    connection: Connection, since: UUID | None = None, only: list[UUID] | None = None
) -> Iterator[tuple[UUID, str, int, str, str, dict[str, Any]]]:
    """Stream every link of every chain: aggregate's id and kind, version, event, status after it, changes."""
    where, parameters = _where(("aggregate_id",), since, only)
    query = sql.SQL(
        "SELECT aggregate_id, aggregate, version, event, status, changes FROM state.transitions {} "
        "ORDER BY aggregate_id, version"
    ).format(where)
    with connection.cursor(name="chains") as cursor:
        cursor.itersize = _FETCH
        yield from cursor.execute(query, parameters)


def stored(
    connection: Connection, kind: str, since: UUID | None = None, only: list[UUID] | None = None
) -> Iterator[Row]:
    """Stream the stored rows of one kind by their aggregate's id; payments and refunds carry their own `id` too."""
    table, keys, fields = _TABLES[kind]
    where, parameters = _where(keys, since, only)
    query = sql.SQL("SELECT {} FROM state.{} {} ORDER BY {}").format(
        sql.SQL(", ").join(map(sql.Identifier, (*keys, *fields))),
        sql.Identifier(table),
        where,
        sql.SQL(", ").join(map(sql.Identifier, keys)),
    )
    with connection.cursor(name=f"stored_{kind}") as cursor:
        cursor.itersize = _FETCH
        for row in cursor.execute(query, parameters):
            yield row[0], dict(zip((*keys, *fields), row, strict=True))


def _where(keys: tuple[str, ...], since: UUID | None, only: list[UUID] | None) -> tuple[sql.Composable, list[Any]]:
    if only is not None:
        return sql.SQL("WHERE {} = ANY(%s)").format(sql.Identifier(keys[0])), [only]
    if since is not None:
        return sql.SQL("WHERE {} >= %s").format(sql.Identifier(keys[0])), [since]
    return sql.SQL(""), []
