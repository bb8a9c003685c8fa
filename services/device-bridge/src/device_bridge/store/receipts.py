"""Receipts that are to be e-mailed: rows with a lease, so that a worker that dies in the middle holds up nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.ext.asyncio import AsyncConnection

Kind = Literal["receipt", "refund"]


@dataclass(frozen=True, slots=True)
class Claimed:
    """A receipt that this worker may send now. `tries` counts this try too, and is the token of its lease."""

    order_id: UUID
    kind: Kind
    address: str
    tries: int


_CLAIM = sa.text("""
UPDATE devices.receipts AS r SET tries = r.tries + 1, next_try_at = :leased_until
FROM (
    SELECT order_id, kind FROM devices.receipts
    WHERE status = 'waiting' AND next_try_at <= :now AND (:any OR order_id = ANY(:ids))
    ORDER BY next_try_at LIMIT :limit FOR UPDATE SKIP LOCKED
) AS due
WHERE r.order_id = due.order_id AND r.kind = due.kind
RETURNING r.order_id, r.kind, r.address, r.tries
""").bindparams(
    sa.bindparam("ids", type_=ARRAY(PG_UUID(as_uuid=True))),
    sa.bindparam("any", type_=sa.Boolean),
    sa.bindparam("now", type_=sa.DateTime(timezone=True)),
    sa.bindparam("leased_until", type_=sa.DateTime(timezone=True)),
)


async def claim(
    tx: AsyncConnection, now: datetime, lease: timedelta, limit: int, order_ids: Sequence[UUID] | None = None
) -> list[Claimed]:
    """Take receipts whose time has come, of some orders or of all, for as long as the lease."""
    values = {"now": now, "leased_until": now + lease, "limit": limit, "any": order_ids is None}
    rows = await tx.execute(_CLAIM, values | {"ids": list(order_ids or [])})
    return [Claimed(row.order_id, row.kind, row.address, row.tries) for row in rows]


_DUE = sa.text("""
SELECT DISTINCT order_id FROM devices.receipts WHERE status = 'waiting' AND next_try_at <= :now LIMIT :limit
""").bindparams(sa.bindparam("now", type_=sa.DateTime(timezone=True)))


async def due(tx: AsyncConnection, now: datetime, limit: int) -> list[UUID]:
    """Return orders whose receipts wait to be sent."""
    return [row.order_id for row in await tx.execute(_DUE, {"now": now, "limit": limit})]


_SETTLE = sa.text("""
UPDATE devices.receipts SET status = :status, next_try_at = :next_try_at, sent_at = :sent_at, last_error = :error
WHERE order_id = :order_id AND kind = :kind AND tries = :tries AND status = 'waiting'
RETURNING order_id
""").bindparams(
    sa.bindparam("next_try_at", type_=sa.DateTime(timezone=True)),
    sa.bindparam("sent_at", type_=sa.DateTime(timezone=True)),
    sa.bindparam("order_id", type_=PG_UUID(as_uuid=True)),
)


async def settle(
    tx: AsyncConnection,
    claimed: Claimed,
    status: Literal["waiting", "sent", "failed"],
    *,
    next_try_at: datetime | None = None,
    sent_at: datetime | None = None,
    error: str = "",
) -> bool:
    """Write what came of a try; False when the lease was over and somebody else has the receipt now."""
    values = {
        "order_id": claimed.order_id,
        "kind": claimed.kind,
        "tries": claimed.tries,
        "status": status,
        "next_try_at": next_try_at,
        "sent_at": sent_at,
        "error": error,
    }
    return (await tx.execute(_SETTLE, values)).first() is not None
