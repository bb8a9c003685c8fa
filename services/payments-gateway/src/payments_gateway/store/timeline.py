"""What this service knows of an invoice, for an operator: attempts, callbacks, operations, and what was said when."""

from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from copeck.operator.timeline import Entry, amount_of

_SOURCE = "gateway"
_LIMIT = 1000

Connection = psycopg.Connection[tuple[Any, ...]]

_ATTEMPTS = """
SELECT payment_id, provider, shop, amount_minor, currency, status, transaction_id, method, failure_code, failure_reason,
       idempotency_key, created_at
FROM gateway.attempts WHERE invoice_id = %s ORDER BY created_at
"""
_CALLBACKS = """
SELECT id, received_at, provider, shop, kind, verdict, answer, reason, transaction_id, report_id
FROM gateway.callbacks WHERE invoice_id = %s ORDER BY received_at
"""
_OPERATIONS = """
SELECT id, kind, status, outcome, provider, shop, amount_minor, currency, attempts, idempotency_key, failure_reason,
       result_transaction_id, cause_id, created_at, updated_at
FROM gateway.operations WHERE invoice_id = %s ORDER BY created_at
"""
_REQUESTS = """
SELECT id, operation_id, at, provider, shop, method, path, status_code, error, duration_ms, idempotency_key
FROM gateway.requests WHERE invoice_id = %s ORDER BY at
"""


def entries(connection: Connection, invoice_id: UUID) -> list[Entry]:
    """Return everything that the gateway recorded about an invoice."""
    return [
        *(_attempt(row) for row in _rows(connection, _ATTEMPTS, invoice_id)),
        *(_callback(row) for row in _rows(connection, _CALLBACKS, invoice_id)),
        *(_operation(row) for row in _rows(connection, _OPERATIONS, invoice_id)),
        *(_request(row) for row in _rows(connection, _REQUESTS, invoice_id)),
    ]


def _rows(connection: Connection, query: str, invoice_id: UUID) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(f"{query} LIMIT {_LIMIT}", [invoice_id]).fetchall()


def _place(row: dict[str, Any]) -> str:
    return f"{row['provider']}:{row['shop']}"


def _attempt(row: dict[str, Any]) -> Entry:
    what = f"attempt {row['payment_id']} at {_place(row)}"
    return Entry(
        row["created_at"],
        _SOURCE,
        "attempt",
        f"{what}: {row['failure_reason']}" if row["failure_reason"] else what,
        row["status"],
        "payer",
        amount=amount_of(row["amount_minor"], row["currency"]),
        detail=row,
    )


def _callback(row: dict[str, Any]) -> Entry:
    what = f"{row['kind']} from {_place(row)}, answered {row['answer']}"
    return Entry(
        row["received_at"],
        _SOURCE,
        "callback",
        f"{what}: {row['reason']}" if row["reason"] else what,
        row["verdict"],
        row["provider"],
        row["report_id"],
        "transaction " + row["transaction_id"] if row["transaction_id"] else "",
        detail=row,
    )


def _operation(row: dict[str, Any]) -> Entry:
    what = f"{row['kind']} at {_place(row)}, {row['attempts']} tries"
    return Entry(
        row["created_at"],
        _SOURCE,
        "operation",
        f"{what}: {row['failure_reason']}" if row["failure_reason"] else what,
        row["outcome"] or row["status"],
        "",
        row["cause_id"],
        "",
        amount_of(row["amount_minor"], row["currency"]),
        detail=row,
    )


def _request(row: dict[str, Any]) -> Entry:
    answer = f"status {row['status_code']}" if row["status_code"] else "no answer"
    return Entry(
        row["at"],
        _SOURCE,
        "request",
        f"{row['method']} {row['path']} at {_place(row)}, {row['duration_ms']} ms",
        f"{answer}: {row['error']}" if row["error"] else answer,
        "",
        row["operation_id"],
        "operation" if row["operation_id"] else "",
        detail=row,
    )
