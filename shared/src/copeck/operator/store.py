"""The SQL of the commands that look at every service alike: outboxes, and why messages were set aside."""

from typing import Any

from psycopg import sql

from copeck.operator.context import Connection

_LAYOUT = """
SELECT namespace.nspname FROM pg_class AS class JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
WHERE class.relname = %s AND class.relkind IN ('r', 'p', 'v')
  AND has_schema_privilege(namespace.oid, 'USAGE') AND has_table_privilege(class.oid, 'SELECT')
  AND EXISTS (SELECT 1 FROM pg_attribute WHERE attrelid = class.oid AND attname = %s)
ORDER BY 1
"""


def _schemas(connection: Connection, table: str, column: str) -> list[str]:
    return [row[0] for row in connection.execute(_LAYOUT, [table, column]).fetchall()]


def outboxes(connection: Connection) -> list[dict[str, Any]]:
    """Return what waits in each service's outbox: how many messages, and since when."""
    found = []
    for schema in _schemas(connection, "outbox", "routing_key"):
        query = sql.SQL("SELECT count(*), min(created_at), now() FROM {}.outbox").format(sql.Identifier(schema))
        found.append(_outbox(schema, connection.execute(query).fetchone()))
    # Who may not be read offers its figures alone.
    for schema in _schemas(connection, "outbox_status", "waiting"):
        query = sql.SQL("SELECT waiting, oldest_at, now() FROM {}.outbox_status").format(sql.Identifier(schema))
        found.append(_outbox(schema, connection.execute(query).fetchone()))
    return sorted(found, key=lambda row: str(row["service"]))


def _outbox(schema: str, row: tuple[Any, ...] | None) -> dict[str, Any]:
    waiting, oldest, now = row or (0, None, None)
    age = (now - oldest).total_seconds() if oldest and now else 0.0
    return {"service": schema, "waiting": waiting, "oldest_at": oldest, "oldest_age_s": round(max(age, 0.0), 3)}


def cursors(connection: Connection) -> list[dict[str, Any]]:
    """Return the updater's outbox: its cursor and what lies beyond it, a row for each shard."""
    rows = connection.execute(
        "SELECT shard, published_seq, written_seq, oldest_unpublished_at, "
        "coalesce(extract(epoch FROM now() - oldest_unpublished_at), 0)::float8 "
        "FROM state_api.outbox_v1 ORDER BY shard"
    ).fetchall()
    return [
        {
            "shard": shard,
            "published_seq": published,
            "written_seq": written,
            "waiting": written - published,
            "oldest_at": oldest,
            "oldest_age_s": round(max(age, 0.0), 3),
        }
        for shard, published, written, oldest, age in rows
    ]


def reasons(connection: Connection, message_ids: list[str]) -> dict[str, str]:
    """Return why messages were rejected, by message id, from the services' own records."""
    found: dict[str, str] = {}
    for schema in _schemas(connection, "dead_letter_reasons", "reason"):
        query = sql.SQL("SELECT message_id, reason FROM {}.dead_letter_reasons WHERE message_id = ANY(%s) ORDER BY id")
        found |= dict(connection.execute(query.format(sql.Identifier(schema)), [message_ids]).fetchall())
    return found
