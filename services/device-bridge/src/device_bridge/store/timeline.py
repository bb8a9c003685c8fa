"""What this service knows of an invoice, for an operator: the order's history, what its machine heard and said."""

from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from copeck.operator.timeline import Entry, amount_of

_SOURCE = "devices"
_LIMIT = 1000

Connection = psycopg.Connection[tuple[Any, ...]]

_HISTORY = """
SELECT history.n, history.at, history.event, history.status, history.reason, history.actor, orders.id AS order_id,
       orders.device_id, orders.drink_id, orders.size, orders.price_minor, orders.currency
FROM devices.orders JOIN devices.order_history AS history ON history.order_id = orders.id
WHERE orders.invoice_id = %s ORDER BY history.n
"""
_COMMANDS = """
SELECT command.id, command.device_id, command.model, command.state, command.issued_at, command.expires_at,
       command.sent_count, command.last_code
FROM devices.orders JOIN devices.brew_commands AS command ON command.order_id = orders.id
WHERE orders.invoice_id = %s
"""
_REPORTS = """
SELECT report.command_id, report.device_id, report.state, report.code, report.at, report.received_at
FROM devices.orders JOIN devices.brew_commands AS command ON command.order_id = orders.id
JOIN devices.brew_reports AS report ON report.command_id = command.id
WHERE orders.invoice_id = %s ORDER BY report.received_at
"""
_INCIDENTS = """
SELECT incident.id, incident.kind, incident.device_id, incident.at, incident.closed_at, incident.note
FROM devices.orders JOIN devices.incidents AS incident ON incident.order_id = orders.id
WHERE orders.invoice_id = %s ORDER BY incident.at
"""


def entries(connection: Connection, invoice_id: UUID) -> list[Entry]:
    """Return everything that was recorded of the order that an invoice is for; nothing when it is for no order."""
    return [
        *(_step(row) for row in _rows(connection, _HISTORY, invoice_id)),
        *(_command(row) for row in _rows(connection, _COMMANDS, invoice_id)),
        *(_report(row) for row in _rows(connection, _REPORTS, invoice_id)),
        *(_incident(row) for row in _rows(connection, _INCIDENTS, invoice_id)),
    ]


def _rows(connection: Connection, query: str, invoice_id: UUID) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(f"{query} LIMIT {_LIMIT}", [invoice_id]).fetchall()


def _step(row: dict[str, Any]) -> Entry:
    what = str(row["event"])
    if row["n"] == 1:
        what = f"{what}: {row['drink_id']}, {row['size']}, at {row['device_id']}; order {row['order_id']}"
    return Entry(
        row["at"],
        _SOURCE,
        "order",
        f"{what} ({row['reason']})" if row["reason"] and row["reason"] != row["event"] else what,
        row["status"],
        row["actor"],
        amount=amount_of(row["price_minor"], row["currency"]) if row["n"] == 1 else None,
        step=row["n"],
        detail=row,
    )


def _command(row: dict[str, Any]) -> Entry:
    what = f"brew command {row['id']} to {row['device_id']} ({row['model']}), sent {row['sent_count']} times"
    return Entry(
        row["issued_at"],
        _SOURCE,
        "brew command",
        f"{what}: {row['last_code']}" if row["last_code"] else what,
        row["state"],
        detail=row,
    )


def _report(row: dict[str, Any]) -> Entry:
    what = f"machine {row['device_id']} reports"
    return Entry(
        row["received_at"],
        _SOURCE,
        "brew report",
        f"{what}: {row['code']}" if row["code"] else what,
        row["state"],
        f"machine:{row['device_id']}",
        row["command_id"],
        "brew command",
        detail=row,
    )


def _incident(row: dict[str, Any]) -> Entry:
    return Entry(
        row["at"],
        _SOURCE,
        "incident",
        f"{row['kind']} at {row['device_id']}: {row['note']}"
        if row["note"]
        else f"{row['kind']} at {row['device_id']}",
        "closed" if row["closed_at"] else "open",
        cause_id=row["id"],
        detail=row,
    )
