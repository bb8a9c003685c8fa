"""Reading refunds through the State Storage's views: of every product, whoever asked for them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.kernel.ids import derived_id
from copeck.kernel.money import Money
from subscriptions.views import invoices, refunds


@dataclass(frozen=True, slots=True)
class Refund:
    """A refund with what its invoice says of it. `retried_as` is the refund that was asked for after it failed."""

    id: UUID
    invoice_id: UUID
    kind: str
    product: str
    payer: str
    status: str
    origin: str
    amount: Money
    provider: str
    reason: str
    failure_code: str
    failure_reason: str
    created_at: datetime
    updated_at: datetime
    retried_as: UUID | None


_REFUNDS = sa.select(refunds, invoices.c.kind, invoices.c.product, invoices.c.payer).join(
    invoices, invoices.c.id == refunds.c.invoice_id
)


def retry_id(refund_id: UUID) -> UUID:
    """Return the id of the refund that is asked for when this one failed: one, so that nobody retries it twice."""
    return derived_id(refund_id, "retry")


async def list_refunds(
    tx: AsyncConnection,
    *,
    statuses: tuple[str, ...] = (),
    invoice_id: UUID | None = None,
    after: tuple[Any, ...] | None = None,
    limit: int,
) -> list[Refund]:
    """Return refunds that match everything that is given, the newest first; `after` is a moment and an id."""
    query = _REFUNDS
    if statuses:
        query = query.where(refunds.c.status.in_(statuses))
    if invoice_id is not None:
        query = query.where(refunds.c.invoice_id == invoice_id)
    order = sa.tuple_(refunds.c.created_at, refunds.c.id)
    if after is not None:
        query = query.where(order < after)
    query = query.order_by(refunds.c.created_at.desc(), refunds.c.id.desc()).limit(limit)
    return await _read(tx, query)


async def find(tx: AsyncConnection, refund_id: UUID) -> Refund | None:
    """Return one refund."""
    found = await _read(tx, _REFUNDS.where(refunds.c.id == refund_id))
    return found[0] if found else None


async def _read(tx: AsyncConnection, query: sa.Select[Any]) -> list[Refund]:
    rows = (await tx.execute(query)).all()
    retries = [retry_id(row.id) for row in rows if row.status == "failed"]
    known: set[UUID] = set()
    if retries:
        known = set((await tx.execute(sa.select(refunds.c.id).where(refunds.c.id.in_(retries)))).scalars())
    return [_refund(row, known) for row in rows]


def _refund(row: sa.Row[Any], known: set[UUID]) -> Refund:
    values = row._asdict()
    amount = Money(values.pop("amount_minor"), values.pop("currency"))
    retry = retry_id(row.id)
    return Refund(**values, amount=amount, retried_as=retry if retry in known else None)
