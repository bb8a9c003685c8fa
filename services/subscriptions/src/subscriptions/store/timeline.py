"""What this service knows of an invoice, for an operator: who asked for what, and what became of the subscription."""

from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from copeck.operator.timeline import Entry

_SOURCE = "subscriptions"
_LIMIT = 1000

Connection = psycopg.Connection[tuple[Any, ...]]

_PERIOD = """
SELECT invoice_id, subscription_id, period_number, state, created_at, starts_at, ends_at
FROM subscriptions.period_invoices WHERE invoice_id = %s
"""
_COMMANDS = """
SELECT id, type, actor, sent_at FROM subscriptions.commands WHERE invoice_id = %s ORDER BY sent_at
"""
_EVENTS = """
SELECT event.subscription_id, event.version, event.event, event.status_before, event.status, event.at, event.actor,
       event.cause_id, event.data
FROM subscriptions.subscription_events AS event
JOIN subscriptions.period_invoices AS period ON period.subscription_id = event.subscription_id
WHERE period.invoice_id = %s ORDER BY event.version
"""


def entries(connection: Connection, invoice_id: UUID) -> list[Entry]:
    """Return everything that the subscriptions service recorded about an invoice and its subscription."""
    return [
        *(_asked(row) for row in _rows(connection, _COMMANDS, invoice_id)),
        *(_period(row) for row in _rows(connection, _PERIOD, invoice_id)),
        *(_event(row, invoice_id) for row in _rows(connection, _EVENTS, invoice_id)),
    ]


def _rows(connection: Connection, query: str, invoice_id: UUID) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(f"{query} LIMIT {_LIMIT}", [invoice_id]).fetchall()


def _asked(row: dict[str, Any]) -> Entry:
    return Entry(row["sent_at"], _SOURCE, "command", f"{row['type']} asked for", "sent", row["actor"], row["id"])


def _period(row: dict[str, Any]) -> Entry:
    what = f"period {row['period_number']} of subscription {row['subscription_id']} is charged by this invoice"
    return Entry(row["created_at"], _SOURCE, "subscription", what, row["state"], detail=row)


def _event(row: dict[str, Any], invoice_id: UUID) -> Entry:
    own = row["data"].get("invoice_id") in (None, str(invoice_id))
    what = f"subscription {row['event']}" if own else f"subscription {row['event']} (by another invoice)"
    return Entry(
        row["at"],
        _SOURCE,
        "subscription",
        what,
        row["status"],
        row["actor"],
        row["cause_id"],
        step=row["version"],
        detail={"status_before": row["status_before"], **row["data"]},
    )
