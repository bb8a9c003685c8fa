"""What the State Storage recorded of an aggregate, as entries of its story: an invoice's and a payout's alike."""

from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from copeck.kernel.ids import id_time
from copeck.operator.timeline import Entry, amount_of

SOURCE = "state"
_LIMIT = 1000

Connection = psycopg.Connection[tuple[Any, ...]]


def refusals(connection: Connection, aggregate_id: UUID) -> list[dict[str, Any]]:
    """Return the commands that changed nothing."""
    return rows(
        connection,
        "SELECT command_id, command_type, outcome, code, detail, actor, at FROM state_api.refusals_v1 "
        "WHERE aggregate = %s::text ORDER BY at",
        aggregate_id,
    )


def chain(connection: Connection, aggregate_id: UUID, transitions: list[dict[str, Any]], currency: str) -> list[Entry]:
    """Return what every aggregate has: commands, transitions, refusals, transfers, and what was set aside."""
    refused = refusals(connection, aggregate_id)
    names = {row["cause_id"]: row["cause_type"] for row in transitions}
    return [
        *(
            _command(row["cause_id"], row["cause_type"], row["actor"], "applied", row["at"])
            for row in _first(transitions)
        ),
        *(_command(row["command_id"], row["command_type"], row["actor"], row["outcome"], row["at"]) for row in refused),
        *(_transition(row, currency) for row in transitions),
        *(_refusal(row) for row in refused),
        *_transfers(connection, aggregate_id, names),
        *_quarantined(connection, aggregate_id),
    ]


def rows(connection: Connection, query: str, aggregate_id: UUID) -> list[dict[str, Any]]:
    """Return the rows of a query about one aggregate, at most a thousand."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(f"{query} LIMIT {_LIMIT}", [aggregate_id]).fetchall()


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
    return Entry(sent_at, SOURCE, "command", type_name, outcome, actor, identity, type_name)


def _transition(row: dict[str, Any], currency: str) -> Entry:
    changes: dict[str, Any] = row["changes"]
    # An invoice's step tells of an attempt to pay it; a payout's `attempt` is a number.
    told = changes.get("attempt")
    attempt: dict[str, Any] = told if isinstance(told, dict) else {}
    minor = attempt.get("amount_minor", changes.get("amount_minor"))
    return Entry(
        row["at"],
        SOURCE,
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
        SOURCE,
        "refusal",
        f"{row['code']}: {row['detail']}",
        row["outcome"],
        row["actor"],
        row["command_id"],
        row["command_type"],
    )


def _transfers(connection: Connection, aggregate_id: UUID, names: dict[UUID, str]) -> list[Entry]:
    found = rows(
        connection,
        "SELECT cause_id, n, debit_account, credit_account, amount_minor, currency, kind, debit_balance_minor, "
        "credit_balance_minor, at FROM state_api.transfers_v1 WHERE aggregate_id = %s ORDER BY at, cause_id, n",
        aggregate_id,
    )
    return [
        Entry(
            row["at"],
            SOURCE,
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
        for row in found
    ]


def _quarantined(connection: Connection, aggregate_id: UUID) -> list[Entry]:
    found = rows(
        connection,
        "SELECT id, message_id, sender, reason, headers ->> 'cloudEvents:type' AS type, at, resolution "
        "FROM state_api.quarantine_v1 WHERE headers ->> 'cloudEvents:subject' = %s::text ORDER BY at",
        aggregate_id,
    )
    return [
        Entry(
            row["at"],
            SOURCE,
            "quarantine",
            f"{row['type'] or 'a message'} was set aside: {row['reason']}",
            "resolved" if row["resolution"] else "open",
            row["sender"],
            detail={"quarantine_id": row["id"], "message_id": row["message_id"], "resolution": row["resolution"]},
        )
        for row in found
    ]
