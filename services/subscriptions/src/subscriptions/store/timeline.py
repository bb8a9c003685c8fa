"""What this service knows of an invoice, for an operator: its period, its subscription's steps, deeds by hand."""

from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from copeck.operator.timeline import Entry

_SOURCE = "subscriptions"
_LIMIT = 1000

Connection = psycopg.Connection[tuple[Any, ...]]

# A step belongs to an invoice when it names it; the first step of the subscription tells where the invoice comes from.
_STEPS = """
SELECT step.subscription_id, step.version, step.event, step.status_before, step.status, step.at, step.actor,
       step.cause_id, step.data ->> 'cause' AS cause_type
FROM subscriptions.period_invoices AS invoice
JOIN subscriptions.subscription_events AS step USING (subscription_id)
WHERE invoice.invoice_id = %(id)s
  AND (step.data ->> 'invoice_id' = %(id)s::text OR (step.version = 1 AND invoice.period_number = 1))
ORDER BY step.version
"""
_PERIOD = """
SELECT invoice.subscription_id, invoice.period_number, invoice.state, invoice.late_policy, invoice.created_at,
       invoice.expires_at, invoice.starts_at, invoice.ends_at, plan.code AS plan
FROM subscriptions.period_invoices AS invoice
JOIN subscriptions.prices AS price ON price.id = invoice.price_id
JOIN subscriptions.plans AS plan ON plan.id = price.plan_id
WHERE invoice.invoice_id = %(id)s
"""
_AUDIT = """
SELECT id, at, actor, client, action, reason, after FROM subscriptions.audit
WHERE subject_kind = 'invoice' AND subject_id = %(id)s::text ORDER BY id
"""


def entries(connection: Connection, invoice_id: UUID) -> list[Entry]:
    """Return everything that this service recorded about an invoice."""
    return [
        *(_period(row) for row in _rows(connection, _PERIOD, invoice_id)),
        *(_action(row) for row in _rows(connection, _AUDIT, invoice_id)),
        *(_step(row) for row in _rows(connection, _STEPS, invoice_id)),
    ]


def _rows(connection: Connection, query: str, invoice_id: UUID) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(f"{query} LIMIT {_LIMIT}", {"id": invoice_id}).fetchall()


def _period(row: dict[str, Any]) -> Entry:
    detail = {name: row[name] for name in ("plan", "late_policy", "expires_at", "starts_at", "ends_at")}
    what = f"asked for period {row['period_number']} of subscription {row['subscription_id']}"
    return Entry(row["created_at"], _SOURCE, "command", what, row["state"], f"service:{_SOURCE}", detail=detail)


def _action(row: dict[str, Any]) -> Entry:
    detail = {"client": row["client"], "reason": row["reason"], **(row["after"] or {})}
    return Entry(row["at"], _SOURCE, "command", f"{row['action']} by hand", "", row["actor"], detail=detail)


def _step(row: dict[str, Any]) -> Entry:
    return Entry(
        row["at"],
        _SOURCE,
        "subscription",
        f"subscription {row['subscription_id']} {row['event']}",
        row["status"],
        row["actor"],
        row["cause_id"],
        row["cause_type"] or "",
        step=row["version"],
        detail={"status_before": row["status_before"]},
    )
