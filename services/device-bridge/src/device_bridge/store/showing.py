"""What a buyer's page shows of an order: the order, its brew command and its receipt, read by one statement.

One statement sees one moment: a page never says that a drink is ready while the order is still being paid.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.kernel.money import Money


@dataclass(frozen=True, slots=True)
class ShownOrder:
    """An order as its buyer sees it."""

    id: UUID
    device_id: str
    device_name: str
    location: str
    time_zone: str
    merchant_name: str
    drink_id: str
    drink_name: str
    size: str
    price: Money
    status: str
    reason: str
    brew_state: str | None
    refund_status: str | None
    receipt_address: str | None
    receipt_status: str | None
    language: str
    invoice_id: UUID
    version: int
    created_at: datetime
    expires_at: datetime
    paid_at: datetime | None


_ORDERS = sa.text("""
SELECT o.id, o.device_id, d.name AS device_name, d.location, d.time_zone, m.name AS merchant_name,
    o.drink_id, o.drink_name, o.size,
    o.price_minor, o.currency, o.status, o.reason, c.state AS brew_state, o.refund_status, o.receipt_address,
    r.status AS receipt_status, o.language, o.invoice_id, o.version, o.created_at, o.expires_at, o.paid_at
FROM devices.orders o
JOIN devices.devices d ON d.id = o.device_id
JOIN devices.merchants m ON m.id = o.merchant_id
LEFT JOIN devices.brew_commands c ON c.order_id = o.id
LEFT JOIN devices.receipts r ON r.order_id = o.id AND r.kind = 'receipt'
WHERE o.id = ANY(:ids)
""").bindparams(sa.bindparam("ids", type_=ARRAY(PG_UUID(as_uuid=True))))


async def orders(tx: AsyncConnection, order_ids: Collection[UUID]) -> dict[UUID, ShownOrder]:
    """Return orders by their ids, all as of one moment; those that do not exist are left out."""
    if not order_ids:
        return {}
    rows = await tx.execute(_ORDERS, {"ids": list(order_ids)})
    return {row.id: _shown(row) for row in rows}


async def order(tx: AsyncConnection, order_id: UUID) -> ShownOrder | None:
    """Return one order, or None."""
    return (await orders(tx, [order_id])).get(order_id)


def _shown(row: Any) -> ShownOrder:
    values = row._asdict()
    price = Money(values.pop("price_minor"), values.pop("currency"))
    return ShownOrder(price=price, **values)
