"""What the State Storage knows of an invoice: commands, transitions, attempts, transfers, refunds, refusals."""

from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from billing_state_updater.store import story
from copeck.operator.timeline import Entry, amount_of

Connection = psycopg.Connection[tuple[Any, ...]]

_INVOICE = """
SELECT id, version, status, kind, product, account, payer, beneficiary, amount_minor, commission_minor, refunded_minor,
       refunding_minor, currency, description, late_policy, capture, expires_at, "references" AS refs, payment_id,
       provider, shop, transaction, method, failure_code, failure_reason, reason, issued_at, updated_at
FROM state_api.invoices_v1
"""


def invoice(connection: Connection, invoice_id: UUID) -> dict[str, Any] | None:
    """Return an invoice as it is now."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(f"{_INVOICE} WHERE id = %s", [invoice_id]).fetchone()


def search(connection: Connection, wanted: dict[str, Any], limit: int) -> list[dict[str, Any]]:
    """Return the newest invoices that fit everything that is wanted."""
    filters = {
        "status": "status = %(status)s",
        "payer": "payer = %(payer)s AND payer <> ''",
        "account": "account = %(account)s",
        "product": "product = %(product)s",
        "kind": "kind = %(kind)s",
        "transaction": "id IN (SELECT invoice_id FROM state.payments WHERE transaction = %(transaction)s "
        "AND transaction <> '')",
        "reference": '"references" ->> %(reference_name)s = %(reference)s',
        "since": "id >= %(since)s",
        "until": "id < %(until)s",
    }
    conditions = [text for name, text in filters.items() if wanted.get(name) is not None]
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            f"{_INVOICE}{where} ORDER BY id DESC LIMIT %(limit)s", wanted | {"limit": limit}
        ).fetchall()


def entries(connection: Connection, invoice_id: UUID) -> list[Entry]:
    """Return everything that the State Storage recorded about an invoice."""
    transitions = story.rows(
        connection,
        "SELECT version, event, status, changes, cause_id, cause_type, actor, at, shard, epoch "
        "FROM state_api.invoice_events_v1 WHERE invoice_id = %s ORDER BY version",
        invoice_id,
    )
    names = {row["cause_id"]: row["cause_type"] for row in transitions}
    return [
        *story.chain(connection, invoice_id, transitions, _currency(connection, invoice_id)),
        *_parts(transitions, names),
    ]


def _currency(connection: Connection, invoice_id: UUID) -> str:
    row = connection.execute("SELECT currency FROM state_api.invoices_v1 WHERE id = %s", [invoice_id]).fetchone()
    return str(row[0]) if row else ""


def _parts(transitions: list[dict[str, Any]], names: dict[UUID, str]) -> list[Entry]:
    """Return what the chain says of attempts and refunds: their own stories, told beside the invoice's."""
    found = []
    for row in transitions:
        for kind, name in (("payment", "attempt"), ("refund", "refund")):
            part = row["changes"].get(name)
            if not part:
                continue
            what = f"{kind} {part['id']} at {part['provider']}:{part['shop']}"
            if part.get("failure_reason"):
                what += f": {part['failure_reason']}"
            found.append(
                Entry(
                    row["at"],
                    story.SOURCE,
                    kind,
                    what,
                    part["status"],
                    row["actor"],
                    row["cause_id"],
                    names.get(row["cause_id"], ""),
                    amount_of(part["amount_minor"], part["currency"]),
                    row["version"],
                    part,
                )
            )
    return found
