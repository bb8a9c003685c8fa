"""What this service knows of a payout, for an operator: the request, people's deeds, operations and what was said.

The recipient is shown masked, as everywhere; the sealed details are read by nobody here.
"""

from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from copeck.operator.timeline import Entry, amount_of

_SOURCE = "gateway"
_LIMIT = 1000

Connection = psycopg.Connection[tuple[Any, ...]]

_REQUESTED = """
SELECT payout_id, origin, account, requested_by, amount_minor, commission_minor, currency, provider, shop,
       recipient_kind, recipient_masked, description, draft, needs_approval, batch_id, batch_line, version,
       refused_code, refused_reason, requested_at, deleted_at, deleted_by
FROM gateway.payout_requests WHERE payout_id = %s
"""
_DEEDS = """
SELECT id, action, actor, detail, at FROM gateway.audit
WHERE subject_kind = 'payout' AND subject_id = %s::text ORDER BY id
"""
_OPERATIONS = """
SELECT id, kind, status, outcome, provider, shop, amount_minor, currency, payout_attempt, attempts, idempotency_key,
       failure_code, failure_reason, result_transaction_id, cause_id, next_at, created_at, updated_at
FROM gateway.operations WHERE payout_id = %s ORDER BY created_at
"""
_SAID = """
SELECT id, operation_id, at, provider, shop, method, path, status_code, error, duration_ms, idempotency_key
FROM gateway.requests WHERE payout_id = %s ORDER BY at
"""


def entries(connection: Connection, payout_id: UUID) -> list[Entry]:
    """Return everything that the gateway recorded about a payout."""
    found = []
    for row in _rows(connection, _REQUESTED, payout_id):
        found.append(_request(row))
        if row["deleted_at"]:
            found.append(Entry(row["deleted_at"], _SOURCE, "deed", "deleted", "", row["deleted_by"] or ""))
    found += [_deed(row) for row in _rows(connection, _DEEDS, payout_id)]
    found += [_operation(row) for row in _rows(connection, _OPERATIONS, payout_id)]
    found += [_said(row) for row in _rows(connection, _SAID, payout_id)]
    return found


def _rows(connection: Connection, query: str, payout_id: UUID) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(f"{query} LIMIT {_LIMIT}", [payout_id]).fetchall()


def _place(row: dict[str, Any]) -> str:
    return f"{row['provider']}:{row['shop']}"


def _request(row: dict[str, Any]) -> Entry:
    kinds = [row["origin"], *(name for name in ("draft", "needs_approval") if row[name])]
    batch = f", line {row['batch_line']} of batch {row['batch_id']}" if row["batch_id"] else ""
    refused = f"{row['refused_code']}: {row['refused_reason']}" if row["refused_code"] else ""
    return Entry(
        row["requested_at"],
        _SOURCE,
        "intent",
        f"{' '.join(kinds)} to {row['recipient_masked']} by {_place(row)}{batch}",
        refused,
        row["requested_by"],
        amount=amount_of(row["amount_minor"], row["currency"]),
        detail=row,
    )


def _deed(row: dict[str, Any]) -> Entry:
    return Entry(row["at"], _SOURCE, "deed", row["action"], "", row["actor"], step=row["id"], detail=row)


def _operation(row: dict[str, Any]) -> Entry:
    attempt = f" attempt {row['payout_attempt']}" if row["payout_attempt"] else ""
    what = f"{row['kind']}{attempt} at {_place(row)}, {row['attempts']} tries"
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


def _said(row: dict[str, Any]) -> Entry:
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
