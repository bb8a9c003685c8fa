"""Products, plans and prices."""

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.kernel.money import Money
from copeck.storage.search import contains
from subscriptions.domain.catalogue import Plan, Price, Product, Texts
from subscriptions.domain.periods import Period, PeriodUnit
from subscriptions.tables import plans, prices, products


def _product(row: Any) -> Product:
    return Product(row.code, Texts(row.title_ru, row.title_en), row.late_policy, row.version, row.created_at)


def price_of(row: Any) -> Price:
    """Build a price of a row of the table `prices`."""
    return Price(
        id=row.id,
        plan_id=row.plan_id,
        amount=Money(row.amount_minor, row.currency),
        period=Period(PeriodUnit(row.period_unit), row.period_count),
        trial_days=row.trial_days,
        active_from=row.active_from,
        created_at=row.created_at,
        created_by=row.created_by,
    )


def _plan(row: Any, price: Price | None) -> Plan:
    return Plan(
        id=row.id,
        code=row.code,
        product=row.product,
        title=Texts(row.title_ru, row.title_en),
        description=Texts(row.description_ru, row.description_en),
        on_sale=row.on_sale,
        version=row.version,
        created_at=row.created_at,
        price=price,
    )


async def list_products(tx: AsyncConnection) -> list[Product]:
    """Return every product; there are few."""
    rows = await tx.execute(sa.select(products).order_by(products.c.code).limit(1000))
    return [_product(row) for row in rows]


async def find_product(tx: AsyncConnection, code: str, *, lock: bool = False) -> Product | None:
    """Return a product, locked against other edits if it is going to be changed."""
    query = sa.select(products).where(products.c.code == code)
    row = (await tx.execute(query.with_for_update(key_share=True) if lock else query)).first()
    return _product(row) if row else None


async def insert_product(tx: AsyncConnection, product: Product) -> bool:
    """Add a product; false when its code is taken, by somebody at this very moment perhaps."""
    statement = insert(products).values(
        code=product.code,
        title_ru=product.title.ru,
        title_en=product.title.en,
        late_policy=product.late_policy,
        version=product.version,
        created_at=product.created_at,
    )
    added = statement.on_conflict_do_nothing(index_elements=["code"]).returning(products.c.code)
    return (await tx.execute(added)).first() is not None


async def update_product(tx: AsyncConnection, product: Product) -> None:
    """Store a changed product."""
    await tx.execute(
        sa.update(products)
        .where(products.c.code == product.code)
        .values(
            title_ru=product.title.ru,
            title_en=product.title.en,
            late_policy=product.late_policy,
            version=product.version,
        )
    )


async def list_plans(
    tx: AsyncConnection,
    now: datetime,
    *,
    on_sale: bool | None = None,
    priced: bool = False,
    search: str | None = None,
    after: tuple[Any, ...] | None = None,
    limit: int = 1000,
) -> list[Plan]:
    """Return plans by code, each with its price of now."""
    query = sa.select(plans).order_by(plans.c.code).limit(limit)
    if on_sale is not None:
        query = query.where(plans.c.on_sale == on_sale)
    if priced:
        query = query.where(sa.exists().where(prices.c.plan_id == plans.c.id, prices.c.active_from <= now))
    if search:
        words = [contains(plans.c[name], search) for name in ("code", "title_ru", "title_en")]
        query = query.where(sa.or_(*words))
    if after is not None:
        query = query.where(plans.c.code > after[0])
    rows = (await tx.execute(query)).all()
    current = await current_prices(tx, [row.id for row in rows], now)
    return [_plan(row, current.get(row.id)) for row in rows]


async def find_plan(tx: AsyncConnection, plan_id: UUID, now: datetime, *, lock: bool = False) -> Plan | None:
    """Return one plan with its price of now."""
    query = sa.select(plans).where(plans.c.id == plan_id)
    row = (await tx.execute(query.with_for_update(key_share=True) if lock else query)).first()
    if row is None:
        return None
    return _plan(row, (await current_prices(tx, [plan_id], now)).get(plan_id))


async def find_plan_by_code(tx: AsyncConnection, code: str, now: datetime) -> Plan | None:
    """Return one plan by its code."""
    plan_id = (await tx.execute(sa.select(plans.c.id).where(plans.c.code == code))).scalar()
    return await find_plan(tx, plan_id, now) if plan_id else None


async def insert_plan(tx: AsyncConnection, plan: Plan) -> bool:
    """Add a plan, whose price is added on its own; false when its code is taken, as with products."""
    statement = insert(plans).values(
        id=plan.id,
        code=plan.code,
        product=plan.product,
        title_ru=plan.title.ru,
        title_en=plan.title.en,
        description_ru=plan.description.ru,
        description_en=plan.description.en,
        on_sale=plan.on_sale,
        version=plan.version,
        created_at=plan.created_at,
    )
    added = statement.on_conflict_do_nothing(index_elements=["code"]).returning(plans.c.id)
    return (await tx.execute(added)).first() is not None


async def update_plan(tx: AsyncConnection, plan: Plan) -> None:
    """Store a changed plan."""
    await tx.execute(
        sa.update(plans)
        .where(plans.c.id == plan.id)
        .values(
            title_ru=plan.title.ru,
            title_en=plan.title.en,
            description_ru=plan.description.ru,
            description_en=plan.description.en,
            on_sale=plan.on_sale,
            version=plan.version,
        )
    )


async def current_prices(tx: AsyncConnection, plan_ids: list[UUID], now: datetime) -> dict[UUID, Price]:
    """Return the price of each plan at a moment: the last one that has begun."""
    if not plan_ids:
        return {}
    query = (
        sa.select(prices)
        .ext(distinct_on(prices.c.plan_id))
        .where(prices.c.plan_id.in_(plan_ids), prices.c.active_from <= now)
        .order_by(prices.c.plan_id, prices.c.active_from.desc())
    )
    return {row.plan_id: price_of(row) for row in await tx.execute(query)}


async def find_price(tx: AsyncConnection, price_id: UUID) -> Price | None:
    """Return one price, also a superseded one."""
    row = (await tx.execute(sa.select(prices).where(prices.c.id == price_id))).first()
    return price_of(row) if row else None


async def list_prices(
    tx: AsyncConnection, plan_id: UUID | None, after: tuple[Any, ...] | None, limit: int
) -> list[Price]:
    """Return prices, the newest first: past, present and announced."""
    query = sa.select(prices).order_by(prices.c.active_from.desc(), prices.c.id.desc()).limit(limit)
    if plan_id is not None:
        query = query.where(prices.c.plan_id == plan_id)
    if after is not None:
        last = sa.tuple_(
            sa.literal(after[0], prices.c.active_from.type),
            sa.literal(after[1], prices.c.id.type),
        )
        query = query.where(sa.tuple_(prices.c.active_from, prices.c.id) < last)
    return [price_of(row) for row in await tx.execute(query)]


async def insert_price(tx: AsyncConnection, price: Price) -> bool:
    """Add a price; false when the plan has one from this very moment already."""
    statement = (
        insert(prices)
        .values(
            id=price.id,
            plan_id=price.plan_id,
            amount_minor=price.amount.minor,
            currency=price.amount.currency,
            period_unit=price.period.unit,
            period_count=price.period.count,
            trial_days=price.trial_days,
            active_from=price.active_from,
            created_at=price.created_at,
            created_by=price.created_by,
        )
        .on_conflict_do_nothing(constraint="prices_one_a_moment")
        .returning(prices.c.id)
    )
    return (await tx.execute(statement)).first() is not None


async def titles(tx: AsyncConnection, plan_ids: set[UUID]) -> dict[UUID, Any]:
    """Return code and titles of plans, for showing a list of subscriptions."""
    if not plan_ids:
        return {}
    query = sa.select(plans.c.id, plans.c.code, plans.c.title_ru, plans.c.title_en).where(plans.c.id.in_(plan_ids))
    return {row.id: row for row in await tx.execute(query)}


async def prices_by_id(tx: AsyncConnection, price_ids: set[UUID]) -> dict[UUID, Any]:
    """Return rows of prices, for showing a list of subscriptions."""
    if not price_ids:
        return {}
    return {row.id: row for row in await tx.execute(sa.select(prices).where(prices.c.id.in_(price_ids)))}
