"""Taking a machine away that never sold anything."""

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from device_bridge.tables import device_states, devices, drinks, orders


async def has_orders(tx: AsyncConnection, device_id: str) -> bool:
    """Tell whether anything was ever ordered at a machine."""
    query = sa.select(orders.c.id).where(orders.c.device_id == device_id).limit(1)
    return (await tx.execute(query)).first() is not None


async def remove_device(tx: AsyncConnection, device_id: str) -> None:
    """Delete a machine with its drinks and its state; the caller has locked it and knows that it has no orders."""
    await tx.execute(sa.delete(drinks).where(drinks.c.device_id == device_id))
    await tx.execute(sa.delete(device_states).where(device_states.c.device_id == device_id))
    await tx.execute(sa.delete(devices).where(devices.c.id == device_id))
