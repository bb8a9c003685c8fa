"""Machines that somebody else knows by another name: a foreign broker, or a telemetry."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from device_bridge.tables import devices, drinks

MACHINES_MAX = 50_000


@dataclass(frozen=True, slots=True)
class ForeignMachine:
    """A device, its name elsewhere, and its drinks with sizes."""

    device_id: str
    foreign_id: str
    time_zone: str
    drinks: tuple[tuple[str, str], ...]


_NAME = devices.c.driver["id"].astext


async def names(tx: AsyncConnection, models: Sequence[str]) -> dict[str, str]:
    """Return devices of some models by the name in their address; of two with one name, the older device."""
    query = (
        sa.select(_NAME.label("name"), devices.c.id)
        .where(devices.c.model.in_(models), _NAME.is_not(None))
        .order_by(devices.c.created_at.desc(), devices.c.id)
        .limit(MACHINES_MAX)
    )
    return {row.name: row.id for row in await tx.execute(query)}


async def machines(tx: AsyncConnection, model: str) -> list[ForeignMachine]:
    """Return the devices of a model that have a name in their address."""
    query = (
        sa.select(devices.c.id, _NAME.label("name"), devices.c.time_zone)
        .where(devices.c.model == model, _NAME.is_not(None))
        .order_by(devices.c.id)
        .limit(MACHINES_MAX)
    )
    found = (await tx.execute(query)).all()
    of_device: dict[str, list[tuple[str, str]]] = {row.id: [] for row in found}
    menu = (
        sa.select(drinks.c.device_id, drinks.c.drink_id, drinks.c.size)
        .join(devices, devices.c.id == drinks.c.device_id)
        .where(devices.c.model == model)
        .order_by(drinks.c.device_id, drinks.c.drink_id, drinks.c.size)
    )
    for row in await tx.execute(menu):
        if row.device_id in of_device:
            of_device[row.device_id].append((row.drink_id, row.size))
    return [ForeignMachine(row.id, row.name, row.time_zone, tuple(of_device[row.id])) for row in found]
