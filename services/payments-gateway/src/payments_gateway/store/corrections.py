"""Corrections of the books by hand, as they were asked for and agreed to; the books themselves are the updater's."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from payments_gateway.tables import corrections

_transfers = sa.table("transfers_v1", sa.column("aggregate_id"), sa.column("at"), schema="state_api")


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """One correction. `status`: requested, approved, rejected or refused (by the updater)."""

    id: UUID
    debit: str
    credit: str
    amount_minor: int
    currency: str
    reason: str
    status: str
    requested_by: str
    decided_by: str | None = None
    refused_code: str | None = None
    refused_reason: str | None = None
    requested_at: datetime
    decided_at: datetime | None = None


async def add(tx: AsyncConnection, correction: Correction) -> None:
    """Keep a new correction."""
    await tx.execute(sa.insert(corrections).values({name: getattr(correction, name) for name in Correction.__slots__}))


async def get(tx: AsyncConnection, correction_id: UUID, *, lock: bool = False) -> Correction | None:
    """Return one correction, locked until the end of the transaction if it is to be decided."""
    query = sa.select(corrections).where(corrections.c.id == correction_id)
    row = (await tx.execute(query.with_for_update(key_share=True) if lock else query)).first()
    return None if row is None else Correction(**row._asdict())


async def search(
    tx: AsyncConnection, *, status: str | None, account: str | None, after: UUID | None, limit: int
) -> list[Correction]:
    """Return corrections, the newest first."""
    query = sa.select(corrections).order_by(corrections.c.id.desc()).limit(limit)
    if status is not None:
        query = query.where(corrections.c.status == status)
    if account is not None:
        query = query.where((corrections.c.debit == account) | (corrections.c.credit == account))
    if after is not None:
        query = query.where(corrections.c.id < after)
    return [Correction(**row._asdict()) for row in await tx.execute(query)]


async def booked(tx: AsyncConnection, ids: Sequence[UUID]) -> dict[UUID, datetime]:
    """Return those of the corrections that are in the books, and since when."""
    query = (
        sa.select(_transfers.c.aggregate_id, sa.func.min(_transfers.c.at))
        .where(_transfers.c.aggregate_id.in_(list(ids)))
        .group_by(_transfers.c.aggregate_id)
    )
    return {row[0]: row[1] for row in await tx.execute(query)} if ids else {}


async def decide(tx: AsyncConnection, correction_id: UUID, status: str, decided_by: str, now: datetime) -> None:
    """Write what became of a correction that the caller has locked."""
    changed = sa.update(corrections).where(corrections.c.id == correction_id)
    await tx.execute(changed.values(status=status, decided_by=decided_by, decided_at=now))
