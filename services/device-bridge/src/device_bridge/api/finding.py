"""Finding what a caller may see: others' things do not exist for a merchant."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.web.problems import not_found
from device_bridge.api.dependencies import Caller
from device_bridge.domain.model import Drink, Incident, Merchant, Order
from device_bridge.store import devices, drinks, incidents, merchants, orders
from device_bridge.store.devices import Shown


async def merchant(tx: AsyncConnection, caller: Caller, merchant_id: UUID) -> Merchant:
    """Return a merchant; 404 when there is none, or it is somebody else."""
    found = await merchants.find(tx, merchant_id) if caller.sees(merchant_id) else None
    if found is None:
        raise not_found("There is no such merchant")
    return found


async def device(tx: AsyncConnection, caller: Caller, device_id: str) -> Shown:
    """Return a machine with its owner and what it said last; 404 when there is none, or it is another merchant's."""
    found = await devices.shown(tx, device_id, with_drinks=False)
    if found is None or not caller.sees(found.merchant.id):
        raise not_found("There is no such machine")
    return found


async def own_device(tx: AsyncConnection, caller: Caller, device_id: str) -> Shown:
    """Return a machine that the caller may change; 404 for all others."""
    found = await device(tx, caller, device_id)
    if not caller.commands(found.merchant.id):
        raise not_found("There is no such machine")
    return found


async def drink(tx: AsyncConnection, device_id: str, drink_id: str, size: str) -> Drink:
    """Return a drink of a machine that the caller was allowed to see."""
    found = await drinks.find(tx, device_id, drink_id, size)
    if found is None:
        raise not_found("The machine has no such drink in this size")
    return found


async def order(tx: AsyncConnection, caller: Caller, order_id: UUID) -> Order:
    """Return an order; 404 when there is none, or it is another merchant's."""
    found = await orders.find(tx, order_id)
    if found is None or not caller.sees(found.merchant_id):
        raise not_found("There is no such order")
    return found


async def incident(tx: AsyncConnection, caller: Caller, incident_id: UUID) -> Incident:
    """Return an incident; 404 when there is none, or it is of another merchant's machine."""
    found = await incidents.find(tx, incident_id)
    if found is None:
        raise not_found("There is no such incident")
    if not caller.sees_all:
        machine = await devices.find(tx, found.device_id)
        if machine is None or not caller.sees(machine.merchant_id):
            raise not_found("There is no such incident")
    return found
