"""Merchants' own shops as rows."""

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from payments_gateway.domain.merchant_shops import MerchantShop
from payments_gateway.tables import merchant_shops, reconciled

_ALL = tuple(merchant_shops.columns)
_BY_NAME = sa.select(*_ALL).where(
    merchant_shops.c.provider == sa.bindparam("provider"), merchant_shops.c.shop == sa.bindparam("shop")
)
_CURRENT = sa.select(*_ALL).where(
    merchant_shops.c.merchant_id == sa.bindparam("merchant_id"), merchant_shops.c.retired_at.is_(None)
)


async def by_name(tx: AsyncConnection, provider: str, shop: str) -> MerchantShop | None:
    """Return a shop, also one that takes no new payments: old ones may be refunded there."""
    row = (await tx.execute(_BY_NAME, {"provider": provider, "shop": shop})).first()
    return None if row is None else MerchantShop(**row._asdict())


async def current(tx: AsyncConnection, merchant_id: UUID) -> MerchantShop | None:
    """Return the shop at which a merchant's customers pay now."""
    row = (await tx.execute(_CURRENT, {"merchant_id": merchant_id})).first()
    return None if row is None else MerchantShop(**row._asdict())


async def of_merchant(tx: AsyncConnection, merchant_id: UUID) -> list[MerchantShop]:
    """Return all shops that a merchant ever had, locked for a change."""
    query = (
        sa.select(*_ALL)
        .where(merchant_shops.c.merchant_id == merchant_id)
        .order_by(merchant_shops.c.created_at, merchant_shops.c.shop)
        .with_for_update()
    )
    return [MerchantShop(**row._asdict()) for row in await tx.execute(query)]


async def to_compare(tx: AsyncConnection, limit: int) -> list[MerchantShop]:
    """Return the shops that had their turn to be compared the longest ago, whatever came of it."""
    query = (
        sa.select(*_ALL)
        .outerjoin(
            reconciled, sa.and_(reconciled.c.provider == merchant_shops.c.provider,
                                reconciled.c.shop == merchant_shops.c.shop)
        )
        .order_by(reconciled.c.tried_at.asc().nulls_first(), merchant_shops.c.shop)
        .limit(limit)
    )  # fmt: skip
    return [MerchantShop(**row._asdict()) for row in await tx.execute(query)]


async def put(tx: AsyncConnection, shop: MerchantShop) -> bool:
    """Keep a shop as it is now; False when its public id, or the place of the merchant's shop, is taken."""
    values = {column.name: getattr(shop, column.name) for column in merchant_shops.columns}
    changes = {
        name: values[name] for name in ("secret_sealed", "version", "updated_at", "updated_by", "retired_at")
    }  # fmt: skip
    if shop.version > 1:
        update = (
            sa.update(merchant_shops)
            .where(merchant_shops.c.shop == shop.shop, merchant_shops.c.version == shop.version - 1)
            .values(**changes)
            .returning(merchant_shops.c.shop)
        )
        return (await tx.execute(update)).first() is not None
    added = insert(merchant_shops).values(**values).on_conflict_do_nothing().returning(merchant_shops.c.shop)
    return (await tx.execute(added)).first() is not None


async def retire(tx: AsyncConnection, shop: str, actor: str, now: datetime) -> None:
    """Let a shop take no new payments."""
    await tx.execute(
        sa.update(merchant_shops)
        .where(merchant_shops.c.shop == shop, merchant_shops.c.retired_at.is_(None))
        .values(retired_at=now, updated_at=now, updated_by=actor, version=merchant_shops.c.version + 1)
    )
