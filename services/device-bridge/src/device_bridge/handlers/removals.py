"""Deleting what nothing depends on."""

from typing import ClassVar

from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.kernel.errors import DomainError, NotFoundError
from copeck.web.etag import check_if_match
from device_bridge.domain.model import Device
from device_bridge.handlers.context import Work
from device_bridge.store import devices, removals


class DeviceInUseError(DomainError):
    """Its orders are somebody's statements and refunds."""

    type: ClassVar[str] = "device-in-use"
    title: ClassVar[str] = "The machine has sold something"


async def check_removable(tx: AsyncConnection, device_id: str, if_match: str, *, lock: bool = False) -> Device:
    """Return a machine that never sold anything; DeviceInUseError for any other."""
    found = await devices.find(tx, device_id, lock=lock)
    if found is None:
        raise NotFoundError("There is no such machine.")
    check_if_match(if_match, found.version)
    if await removals.has_orders(tx, device_id):
        raise DeviceInUseError("Its orders stay. Stop the machine instead.")
    return found


async def remove_device(work: Work, device_id: str, if_match: str) -> None:
    """Delete a machine that never sold anything, with its drinks."""
    found = await check_removable(work.tx, device_id, if_match, lock=True)
    await removals.remove_device(work.tx, device_id)
    await work.note(
        "device.delete", "device", device_id, before={"name": found.name, "merchant_id": str(found.merchant_id)}
    )
