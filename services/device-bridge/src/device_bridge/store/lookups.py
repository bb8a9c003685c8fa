"""Small readings that only the API of merchants needs."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from device_bridge.domain.machine import UNPAID
from device_bridge.domain.model import Device
from device_bridge.store.devices import device_of
from device_bridge.tables import brew_reports, devices, merchants, orders, receipts


@dataclass(frozen=True, slots=True)
class Receipt:
    """A mail about an order: its receipt, or that the money is on its way back."""

    kind: str
    address: str
    status: str
    tries: int
    sent_at: datetime | None
    last_error: str


@dataclass(frozen=True, slots=True)
class KeptReport:
    """What a machine said of a command. `at` is by its clock, `received_at` by ours."""

    state: str
    code: str
    at: datetime
    received_at: datetime


async def machines(tx: AsyncConnection, device_ids: Collection[str]) -> dict[str, Device]:
    """Return machines by their ids, locked against other changes; those that do not exist are left out."""
    if not device_ids:
        return {}
    query = sa.select(devices).where(devices.c.id.in_(sorted(device_ids))).order_by(devices.c.id)
    return {row.id: device_of(row) for row in await tx.execute(query.with_for_update(key_share=True))}


async def known_merchants(tx: AsyncConnection, merchant_ids: Collection[UUID]) -> set[UUID]:
    """Return which of these merchants exist."""
    if not merchant_ids:
        return set()
    return set((await tx.execute(sa.select(merchants.c.id).where(merchants.c.id.in_(merchant_ids)))).scalars())


async def machines_with_unpaid_orders(tx: AsyncConnection, merchant_id: UUID) -> list[str]:
    """Return a merchant's machines at which somebody is about to pay; a thousand at most."""
    waiting = (orders.c.merchant_id == merchant_id, orders.c.status.in_([status.value for status in UNPAID]))
    query = sa.select(orders.c.device_id).where(*waiting).distinct().order_by(orders.c.device_id).limit(1000)
    return list((await tx.execute(query)).scalars())


async def receipts_of(tx: AsyncConnection, order_id: UUID) -> list[Receipt]:
    """Return the mails about an order."""
    columns = [receipts.c[name] for name in Receipt.__slots__]
    query = sa.select(*columns).where(receipts.c.order_id == order_id).order_by(receipts.c.kind)
    return [Receipt(*row) for row in await tx.execute(query)]


async def reports_of(tx: AsyncConnection, command_id: UUID) -> list[KeptReport]:
    """Return what was reported on a command, in the order of arrival."""
    columns = [brew_reports.c[name] for name in KeptReport.__slots__]
    query = sa.select(*columns).where(brew_reports.c.command_id == command_id).order_by(brew_reports.c.received_at)
    return [KeptReport(*row) for row in await tx.execute(query.limit(500))]
