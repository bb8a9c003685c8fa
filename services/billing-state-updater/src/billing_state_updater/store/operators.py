"""What an operator may do: each deed is one function of the database, which records it."""

from typing import Any
from uuid import UUID

import psycopg

Connection = psycopg.Connection[tuple[Any, ...]]

_QUARANTINE = (
    "SELECT id, shard, message_id, sender, reason, headers, body, at, resolved_at, resolution, replay_id, resolved_by "
    "FROM state_api.quarantine_v1"
)
_FIELDS = (
    "id",
    "shard",
    "message_id",
    "sender",
    "reason",
    "headers",
    "body",
    "at",
    "resolved_at",
    "resolution",
    "replay_id",
    "resolved_by",
)


def record(connection: Connection, actor: str, action: str, subject: str, detail: str) -> None:
    """Write down what an operator did."""
    connection.execute("SELECT state_api.record_operator_action(%s, %s, %s, %s)", [actor, action, subject, detail])


def quarantined(connection: Connection, *, resolved: bool, limit: int) -> list[dict[str, Any]]:
    """Return messages that were set aside, the oldest first."""
    where = "" if resolved else " WHERE resolved_at IS NULL"
    rows = connection.execute(f"{_QUARANTINE}{where} ORDER BY at, id LIMIT %s", [limit]).fetchall()
    return [dict(zip(_FIELDS, row, strict=True)) for row in rows]


def quarantined_one(connection: Connection, identity: UUID) -> dict[str, Any] | None:
    """Return one message that was set aside."""
    row = connection.execute(f"{_QUARANTINE} WHERE id = %s", [identity]).fetchone()
    return dict(zip(_FIELDS, row, strict=True)) if row else None


def begin_replay(connection: Connection, identity: UUID, new_message_id: UUID, actor: str) -> UUID | None:
    """Fix the id under which a message is sent again; the one of an earlier try that broke off, if there was any."""
    row = connection.execute(
        "SELECT state_api.begin_quarantine_replay(%s, %s, %s)", [identity, new_message_id, actor]
    ).fetchone()
    return row[0] if row else None


def resolve(connection: Connection, identity: UUID, resolution: str, actor: str) -> bool:
    """Close a message that was set aside; False when it is closed already or not there."""
    row = connection.execute(
        "SELECT state_api.resolve_quarantine(%s, %s, %s)", [identity, resolution, actor]
    ).fetchone()
    return bool(row and row[0])
