"""Statements: what was sold is told by our orders, what went back by the State Storage's refunds."""

from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.kernel.ids import first_id_at
from device_bridge.domain.statements import Figures, StatementLine

# A cup counts on the day on which it was paid, a refund on the day on which it left the merchant's account, each by the
# clock of the machine's place. A refund that failed has come back to that account, so it does not count. Money that
# came too late was never the merchant's, nor is its refund: that one's source is another account. Orders are found by
# their ids, which say when they were made: no order is paid a day after that, nor given back a quarter of a year later.
_LINES = sa.text("""
WITH machines AS (
    SELECT id, name, time_zone,
           (CAST(:since AS date)::timestamp AT TIME ZONE time_zone) AS begins,
           ((CAST(:until AS date) + 1)::timestamp AT TIME ZONE time_zone) AS ends
    FROM devices.devices
    WHERE merchant_id = :merchant AND (CAST(:device AS text) IS NULL OR id = :device)
), moved AS (
    SELECT m.id, (o.paid_at AT TIME ZONE m.time_zone)::date AS day, 1 AS paid,
           (o.status = 'successful')::integer AS successful, (o.status = 'failed')::integer AS failed, 0 AS refunded,
           o.price_minor AS gross, o.commission_minor AS commission, 0::bigint AS refunds
    FROM machines AS m
    JOIN devices.orders AS o
      ON o.device_id = m.id AND o.id BETWEEN :first AND :last AND o.paid_at >= m.begins AND o.paid_at < m.ends
    UNION ALL
    SELECT m.id, (r.created_at AT TIME ZONE m.time_zone)::date, 0, 0, 0, 1, 0, -r.commission_minor, r.amount_minor
    FROM machines AS m
    JOIN devices.orders AS o
      ON o.device_id = m.id AND o.id BETWEEN :first_refunded AND :last AND o.paid_at IS NOT NULL
    JOIN state_api.refunds_v1 AS r
      ON r.invoice_id = o.invoice_id AND r.created_at >= m.begins AND r.created_at < m.ends
    WHERE r.status <> 'failed' AND r.source IN (:balance, :receivable)
)
SELECT moved.day, m.id, m.name, m.time_zone, sum(paid)::integer AS paid, sum(successful)::integer AS successful,
       sum(failed)::integer AS failed, sum(refunded)::integer AS refunded, sum(gross)::bigint AS gross,
       sum(commission)::bigint AS commission, sum(refunds)::bigint AS refunds
FROM moved JOIN machines AS m ON m.id = moved.id
GROUP BY moved.day, m.id, m.name, m.time_zone
ORDER BY moved.day, m.id
LIMIT :limit
""").bindparams(
    *(sa.bindparam(name, type_=PG_UUID(as_uuid=True)) for name in ("merchant", "first", "last", "first_refunded"))
)
# A day in any time zone begins and ends within this of the same day in UTC; orders are payable for a day at most.
_MARGIN = timedelta(days=2)
_REFUNDED_WITHIN = timedelta(days=92)


async def lines(
    tx: AsyncConnection, merchant_id: UUID, device_id: str | None, since: date, until: date, limit: int
) -> list[StatementLine]:
    """Return a merchant's machines' days from `since` to `until`, both included; days without a movement have none."""
    begins = datetime.combine(since, time(), UTC) - _MARGIN
    given = {
        "first": first_id_at(begins),
        "first_refunded": first_id_at(begins - _REFUNDED_WITHIN),
        "last": first_id_at(datetime.combine(until, time(), UTC) + _MARGIN),
        "merchant": merchant_id,
        "device": device_id,
        "since": since,
        "until": until,
        "balance": f"merchant:{merchant_id}",
        "receivable": f"receivable:{merchant_id}",
        "limit": limit,
    }
    return [
        StatementLine(
            day=row.day,
            device_id=row.id,
            device_name=row.name,
            time_zone=row.time_zone,
            figures=Figures(
                paid=row.paid,
                successful=row.successful,
                failed=row.failed,
                refunded=row.refunded,
                gross_minor=row.gross,
                commission_minor=row.commission,
                refunds_minor=row.refunds,
            ),
        )
        for row in await tx.execute(_LINES, given)
    ]
