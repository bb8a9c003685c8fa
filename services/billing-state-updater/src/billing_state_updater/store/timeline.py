"""What the State Storage knows of an invoice: commands, transitions, attempts, transfers, refunds, refusals."""

from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from copeck.kernel.ids import id_time
from copeck.operator.timeline import Entry, amount_of

_SOURCE = "state"
_LIMIT = 1000

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
    transitions = _rows(
        connection,
        "SELECT version, event, status, changes, cause_id, cause_type, actor, at, shard, epoch "
        "FROM state_api.invoice_events_v1 WHERE invoice_id = %s ORDER BY version",
        invoice_id,
    )
    refusals = _rows(
        connection,
        "SELECT command_id, command_type, outcome, code, detail, actor, at FROM state_api.refusals_v1 "
        "WHERE aggregate = %s::text ORDER BY at",
        invoice_id,
    )
    names = {row["cause_id"]: row["cause_type"] for row in transitions}
    currency = _currency(connection, invoice_id)
    found = [
        _command(row["cause_id"], row["cause_type"], row["actor"], "applied", row["at"]) for row in _first(transitions)
    ]
    found += [
        _command(row["command_id"], row["command_type"], row["actor"], row["outcome"], row["at"]) for row in refusals
    ]
    found += [_transition(row, currency) for row in transitions]
    found += [_refusal(row) for row in refusals]
    found += _transfers(connection, invoice_id, names)
    found += _parts(transitions, names)
    found += _quarantined(connection, invoice_id)
    return found


def _rows(connection: Connection, query: str, invoice_id: UUID) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(f"{query} LIMIT {_LIMIT}", [invoice_id]).fetchall()


def _currency(connection: Connection, invoice_id: UUID) -> str:
    row = connection.execute("SELECT currency FROM state_api.invoices_v1 WHERE id = %s", [invoice_id]).fetchone()
    return str(row[0]) if row else ""


def _first(transitions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    seen: dict[UUID, dict[str, Any]] = {}
    for row in transitions:
        seen.setdefault(row["cause_id"], row)
    return list(seen.values())


def _command(identity: UUID, type_name: str, actor: str, outcome: str, judged_at: datetime) -> Entry:
    """Return the command itself, at the moment that its id holds: when its sender made it."""
    try:
        sent_at = min(id_time(identity), judged_at)
    except ValueError:
        sent_at = judged_at
    return Entry(sent_at, _SOURCE, "command", type_name, outcome, actor, identity, type_name)


def _transition(row: dict[str, Any], currency: str) -> Entry:
    changes: dict[str, Any] = row["changes"]
    attempt = changes.get("attempt") or {}
    minor = attempt.get("amount_minor", changes.get("amount_minor"))
    return Entry(
        row["at"],
        _SOURCE,
        "transition",
        row["event"],
        row["status"],
        row["actor"],
        row["cause_id"],
        row["cause_type"],
        amount_of(minor, attempt.get("currency") or currency),
        row["version"],
        {"version": row["version"], "shard": row["shard"], "epoch": row["epoch"], "changes": changes},
    )


def _refusal(row: dict[str, Any]) -> Entry:
    return Entry(
        row["at"],
        _SOURCE,
        "refusal",
        f"{row['code']}: {row['detail']}",
        row["outcome"],
        row["actor"],
        row["command_id"],
        row["command_type"],
    )


def _transfers(connection: Connection, invoice_id: UUID, names: dict[UUID, str]) -> list[Entry]:
    rows = _rows(
        connection,
        "SELECT cause_id, n, debit_account, credit_account, amount_minor, currency, kind, debit_balance_minor, "
        "credit_balance_minor, at FROM state_api.transfers_v1 WHERE aggregate_id = %s ORDER BY at, cause_id, n",
        invoice_id,
    )
    return [
        Entry(
            row["at"],
            _SOURCE,
            "transfer",
            f"{row['debit_account']} → {row['credit_account']}",
            row["kind"],
            "",
            row["cause_id"],
            names.get(row["cause_id"], ""),
            amount_of(row["amount_minor"], row["currency"]),
            row["n"],
            {
                "debit": row["debit_account"],
                "credit": row["credit_account"],
                "debit_balance_minor": row["debit_balance_minor"],
                "credit_balance_minor": row["credit_balance_minor"],
            },
        )
        for row in rows
    ]


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
                    _SOURCE,
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


def _quarantined(connection: Connection, invoice_id: UUID) -> list[Entry]:
    rows = _rows(
        connection,
        "SELECT id, message_id, sender, reason, headers ->> 'cloudEvents:type' AS type, at, resolution "
        "FROM state_api.quarantine_v1 WHERE headers ->> 'cloudEvents:subject' = %s::text ORDER BY at",
        invoice_id,
    )
    return [
        Entry(
            row["at"],
            _SOURCE,
            "quarantine",
            f"{row['type'] or 'a message'} was set aside: {row['reason']}",
            "resolved" if row["resolution"] else "open",
            row["sender"],
            detail={"quarantine_id": row["id"], "message_id": row["message_id"], "resolution": row["resolution"]},
        )
        for row in rows
    ]
