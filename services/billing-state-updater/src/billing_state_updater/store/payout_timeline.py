"""What the State Storage knows of a payout: as it is now, its story, and search."""

from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from billing_state_updater.store import story
from copeck.operator.timeline import Entry

Connection = psycopg.Connection[tuple[Any, ...]]

_PAYOUT = """
SELECT id, version, status, account, amount_minor, commission_minor, currency, provider, shop, recipient, description,
       attempt, outcome_unknown, transaction, last_error, requested_by, approved_by, "references" AS refs, requested_at,
       updated_at
FROM state_api.payouts_v1
"""
_FILTERS = {
    "status": "status = %(status)s",
    "account": "account = %(account)s",
    "since": "id >= %(since)s",
    "until": "id < %(until)s",
}


def payout(connection: Connection, payout_id: UUID) -> dict[str, Any] | None:
    """Return a payout as it is now."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(f"{_PAYOUT} WHERE id = %s", [payout_id]).fetchone()


def search(connection: Connection, wanted: dict[str, Any], limit: int) -> list[dict[str, Any]]:
    """Return the newest payouts that fit everything that is wanted."""
    conditions = [text for name, text in _FILTERS.items() if wanted.get(name) is not None]
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            f"{_PAYOUT}{where} ORDER BY id DESC LIMIT %(limit)s", wanted | {"limit": limit}
        ).fetchall()


def entries(connection: Connection, payout_id: UUID) -> list[Entry]:
    """Return everything that the State Storage recorded about a payout."""
    transitions = story.rows(
        connection,
        "SELECT version, event, status, changes, cause_id, cause_type, actor, at, shard, epoch "
        "FROM state_api.payout_events_v1 WHERE payout_id = %s ORDER BY version",
        payout_id,
    )
    found = payout(connection, payout_id)
    return story.chain(connection, payout_id, transitions, found["currency"] if found else "")
