"""Invoices of periods as this service knows them, and what was bought with them: entitlements."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.kernel.ids import new_id
from subscriptions.domain.invoicing import OpenInvoice
from subscriptions.domain.model import LatePolicy, PaidPeriod, Subscription
from subscriptions.domain.periods import Period, PeriodUnit
from subscriptions.tables import entitlements, period_invoices, prices

_PERIODS_MAX = 1000


@dataclass(frozen=True, slots=True)
class PeriodInvoice:
    """One invoice of one period, and the length of the period that it buys."""

    invoice_id: UUID
    subscription_id: UUID
    period_number: int
    price_id: UUID
    late_policy: LatePolicy
    state: str
    seen_version: int
    expires_at: datetime
    period: Period


_OF_PERIOD = (
    sa.select(period_invoices, prices.c.period_unit, prices.c.period_count)
    .join(prices, prices.c.id == period_invoices.c.price_id)
    .where(
        period_invoices.c.subscription_id == sa.bindparam("subscription_id"),
        period_invoices.c.period_number
        == sa.select(period_invoices.c.period_number)
        .where(period_invoices.c.invoice_id == sa.bindparam("invoice_id"))
        .scalar_subquery(),
    )
    .order_by(period_invoices.c.invoice_id)
)


def _period_invoice(row: Any) -> PeriodInvoice:
    return PeriodInvoice(
        invoice_id=row.invoice_id,
        subscription_id=row.subscription_id,
        period_number=row.period_number,
        price_id=row.price_id,
        late_policy=row.late_policy,
        state=row.state,
        seen_version=row.seen_version,
        expires_at=row.expires_at,
        period=Period(PeriodUnit(row.period_unit), row.period_count),
    )


async def same_period(tx: AsyncConnection, subscription_id: UUID, invoice_id: UUID) -> list[PeriodInvoice]:
    """Return every invoice that was ever issued for the period of this one, itself included."""
    rows = await tx.execute(_OF_PERIOD, {"subscription_id": subscription_id, "invoice_id": invoice_id})
    return [_period_invoice(row) for row in rows]


_OF_PERIODS = (
    sa.select(period_invoices, prices.c.period_unit, prices.c.period_count)
    .join(prices, prices.c.id == period_invoices.c.price_id)
    .where(
        sa.tuple_(period_invoices.c.subscription_id, period_invoices.c.period_number).in_(
            sa.select(period_invoices.c.subscription_id, period_invoices.c.period_number).where(
                period_invoices.c.invoice_id == sa.func.any(sa.bindparam("invoice_ids", type_=pg.ARRAY(pg.UUID())))
            )
        )
    )
)


async def same_periods(tx: AsyncConnection, invoice_ids: list[UUID]) -> dict[tuple[UUID, int], list[PeriodInvoice]]:
    """Return every invoice of the periods that these invoices are for, by subscription and period."""
    found: dict[tuple[UUID, int], list[PeriodInvoice]] = {}
    for row in await tx.execute(_OF_PERIODS, {"invoice_ids": invoice_ids}):
        found.setdefault((row.subscription_id, row.period_number), []).append(_period_invoice(row))
    return found


async def insert_invoice(
    tx: AsyncConnection,
    subscription: Subscription,
    *,
    invoice_id: UUID,
    period_number: int,
    price_id: UUID,
    late_policy: LatePolicy,
    created_at: datetime,
    expires_at: datetime,
) -> None:
    """Add the invoice of a period; a second open or paid one is refused by the database (I-11)."""
    await tx.execute(
        sa.insert(period_invoices).values(
            invoice_id=invoice_id,
            subscription_id=subscription.id,
            user_id=subscription.user_id,
            period_number=period_number,
            price_id=price_id,
            late_policy=late_policy,
            state="open",
            seen_version=0,
            created_at=created_at,
            expires_at=expires_at,
        )
    )


async def open_invoice(tx: AsyncConnection, subscription_id: UUID) -> OpenInvoice | None:
    """Return the invoice that waits for payment, if there is one."""
    query = (
        sa.select(period_invoices.c.invoice_id, period_invoices.c.price_id, period_invoices.c.expires_at)
        .where(period_invoices.c.subscription_id == subscription_id, period_invoices.c.state == "open")
        .order_by(period_invoices.c.period_number)
        .limit(1)
    )
    row = (await tx.execute(query)).first()
    return OpenInvoice(row.invoice_id, row.price_id, row.expires_at) if row else None


async def open_invoices(tx: AsyncConnection, subscription_ids: set[UUID]) -> dict[UUID, OpenInvoice]:
    """Return the open invoice of each of these subscriptions."""
    if not subscription_ids:
        return {}
    columns = period_invoices.c
    query = sa.select(columns.subscription_id, columns.invoice_id, columns.price_id, columns.expires_at).where(
        columns.subscription_id.in_(subscription_ids), columns.state == "open"
    )
    rows = await tx.execute(query)
    return {row.subscription_id: OpenInvoice(row.invoice_id, row.price_id, row.expires_at) for row in rows}


async def mark(tx: AsyncConnection, invoice_id: UUID, *, state: str, seen_version: int | None = None) -> None:
    """Move an invoice of a locked subscription to another state."""
    values: dict[str, Any] = {"state": state}
    if seen_version is not None:
        values["seen_version"] = seen_version
    await tx.execute(sa.update(period_invoices).where(period_invoices.c.invoice_id == invoice_id).values(**values))


async def paid_periods(tx: AsyncConnection, subscription_id: UUID) -> tuple[PaidPeriod, ...]:
    """Return the periods that were paid and not given back, the oldest first."""
    columns = period_invoices.c
    query = (
        sa.select(columns.period_number, columns.invoice_id, columns.starts_at, columns.ends_at)
        .where(columns.subscription_id == subscription_id, columns.state == "paid")
        .order_by(columns.period_number.desc())
        .limit(_PERIODS_MAX)
    )
    rows = (await tx.execute(query)).all()
    return tuple(PaidPeriod(*row) for row in reversed(rows))


async def shift(tx: AsyncConnection, subscription_id: UUID, after: datetime, by: timedelta) -> None:
    """Move paid periods that end after a moment by the length of a pause; one that had begun keeps its beginning."""
    columns = period_invoices.c
    await tx.execute(
        sa.update(period_invoices)
        .where(columns.subscription_id == subscription_id, columns.state == "paid", columns.ends_at > after)
        .values(
            ends_at=columns.ends_at + by,
            starts_at=sa.case((columns.starts_at > after, columns.starts_at + by), else_=columns.starts_at),
        )
    )


async def grant(
    tx: AsyncConnection, subscription: Subscription, starts_at: datetime, ends_at: datetime, invoice_id: UUID | None
) -> None:
    """Add an entitlement. An invoice gives one; paid again after a cut, its row is there already and stays cut."""
    statement = pg.insert(entitlements).values(
        id=new_id(),
        subscription_id=subscription.id,
        user_id=subscription.user_id,
        product=subscription.product,
        invoice_id=invoice_id,
        starts_at=starts_at,
        ends_at=ends_at,
    )
    await tx.execute(statement)


async def cut(tx: AsyncConnection, subscription_id: UUID, at: datetime, reason: str) -> None:
    """Take back all access beyond a moment."""
    columns = entitlements.c
    await tx.execute(
        sa.update(entitlements)
        .where(columns.subscription_id == subscription_id, columns.ends_at > at)
        .values(ends_at=sa.func.greatest(columns.starts_at, at), cut_at=at, cut_reason=reason)
    )


@dataclass(frozen=True, slots=True)
class Access:
    """Until when a customer may use a product without a gap from now."""

    product: str
    subscription_id: UUID
    starts_at: datetime
    ends_at: datetime


async def access_of(tx: AsyncConnection, user_id: UUID, now: datetime) -> list[Access]:
    """Return what a customer may use now."""
    columns = entitlements.c
    query = (
        sa.select(columns.product, columns.subscription_id, columns.starts_at, columns.ends_at)
        .where(columns.user_id == user_id, columns.starts_at <= now, columns.ends_at > now)
        .order_by(columns.product, columns.ends_at.desc())
        .limit(100)
    )
    return [Access(*row) for row in await tx.execute(query)]


async def invoice_ids(tx: AsyncConnection, subscription_id: UUID, limit: int = 100) -> list[UUID]:
    """Return the invoices of a subscription, the newest first."""
    query = (
        sa.select(period_invoices.c.invoice_id)
        .where(period_invoices.c.subscription_id == subscription_id)
        .order_by(period_invoices.c.invoice_id.desc())
        .limit(limit)
    )
    return list((await tx.execute(query)).scalars())


async def end_of_piece(tx: AsyncConnection, after: UUID, size: int) -> UUID | None:
    """Return the last id of the next so many invoices, whosever they are; None when there are not so many left."""
    query = (
        sa.select(period_invoices.c.invoice_id)
        .where(period_invoices.c.invoice_id > after)
        .order_by(period_invoices.c.invoice_id)
        .offset(size - 1)
        .limit(1)
    )
    last: UUID | None = (await tx.execute(query)).scalar()
    return last
