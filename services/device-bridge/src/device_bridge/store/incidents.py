"""Incidents: what must not happen and did, until a manager has looked at it."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.storage.bulk import BulkInsert
from device_bridge.domain.model import Incident
from device_bridge.tables import devices, incidents

_FIELDS = tuple(Incident.__slots__)


def _incident(row: Any) -> Incident:
    return Incident(**{name: getattr(row, name) for name in _FIELDS})


_INSERT = BulkInsert(incidents, _FIELDS, on_conflict="DO NOTHING", returning="id")


async def insert(tx: AsyncConnection, opened: Sequence[Incident]) -> set[UUID]:
    """Add incidents; returns the ids of those that are new: an order has one of a kind, and of each refund."""
    rows = [{name: getattr(incident, name) for name in _FIELDS} for incident in opened]
    return {row.id for row in await _INSERT(tx, rows)}


async def find(tx: AsyncConnection, incident_id: UUID, *, lock: bool = False) -> Incident | None:
    """Return an incident, locked if asked for."""
    query = sa.select(incidents).where(incidents.c.id == incident_id)
    if lock:
        query = query.with_for_update()
    row = (await tx.execute(query)).first()
    return _incident(row) if row else None


async def update(tx: AsyncConnection, incident: Incident) -> None:
    """Store a locked incident that was closed."""
    values = {"closed_at": incident.closed_at, "closed_by": incident.closed_by, "note": incident.note}
    await tx.execute(sa.update(incidents).where(incidents.c.id == incident.id).values(**values))


async def list_(
    tx: AsyncConnection,
    *,
    merchant_id: UUID | None = None,
    device_id: str | None = None,
    order_id: UUID | None = None,
    kind: str | None = None,
    open_only: bool = False,
    after: tuple[Any, ...] | None = None,
    limit: int,
) -> list[Incident]:
    """Return incidents that match everything that is given, the newest id first."""
    query = sa.select(incidents).order_by(incidents.c.id.desc()).limit(limit)
    if merchant_id is not None:
        of_merchant = sa.select(devices.c.id).where(devices.c.merchant_id == merchant_id)
        query = query.where(incidents.c.device_id.in_(of_merchant))
    if device_id is not None:
        query = query.where(incidents.c.device_id == device_id)
    if order_id is not None:
        query = query.where(incidents.c.order_id == order_id)
    if kind:
        query = query.where(incidents.c.kind == kind)
    if open_only:
        query = query.where(incidents.c.closed_at.is_(None))
    if after is not None:
        query = query.where(incidents.c.id < after[0])
    return [_incident(row) for row in await tx.execute(query)]
