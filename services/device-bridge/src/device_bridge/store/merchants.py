"""Merchants: who owns machines."""

from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.storage.search import contains
from device_bridge.domain.model import Merchant
from device_bridge.tables import merchants

FIELDS = tuple(Merchant.__slots__)


def merchant_of(row: Any, prefix: str = "") -> Merchant:
    """Return a merchant from a row whose columns may carry a prefix."""
    return Merchant(**{name: getattr(row, prefix + name) for name in FIELDS})


def _values(merchant: Merchant) -> dict[str, Any]:
    return {name: getattr(merchant, name) for name in FIELDS}


async def insert(tx: AsyncConnection, merchant: Merchant) -> bool:
    """Add a merchant; False when the id or the owner has one already."""
    statement = pg.insert(merchants).values(**_values(merchant)).on_conflict_do_nothing().returning(merchants.c.id)
    return (await tx.execute(statement)).first() is not None


async def update(tx: AsyncConnection, merchant: Merchant) -> None:
    """Store a merchant that was locked and changed."""
    await tx.execute(sa.update(merchants).where(merchants.c.id == merchant.id).values(**_values(merchant)))


async def find(tx: AsyncConnection, merchant_id: UUID, *, lock: bool = False) -> Merchant | None:
    """Return a merchant, locked if asked for."""
    query = sa.select(merchants).where(merchants.c.id == merchant_id)
    if lock:
        query = query.with_for_update(key_share=True)
    row = (await tx.execute(query)).first()
    return merchant_of(row) if row else None


async def list_(
    tx: AsyncConnection,
    *,
    merchant_id: UUID | None = None,
    text: str | None = None,
    mode: str | None = None,
    after: tuple[Any, ...] | None = None,
    limit: int,
) -> list[Merchant]:
    """Return merchants that match everything that is given, the newest id first."""
    query = sa.select(merchants).order_by(merchants.c.id.desc()).limit(limit)
    if merchant_id is not None:
        query = query.where(merchants.c.id == merchant_id)
    if text:
        query = query.where(contains(merchants.c.name, text))
    if mode:
        query = query.where(merchants.c.mode == mode)
    if after is not None:
        query = query.where(merchants.c.id < after[0])
    return [merchant_of(row) for row in await tx.execute(query)]
