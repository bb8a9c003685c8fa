"""The switches: a machine or a drink stops selling at once, and sells again when somebody says so."""

from dataclasses import replace
from typing import Any

from device_bridge.domain.errors import DeviceUnknown, DrinkUnknown
from device_bridge.domain.model import SIZES, Device, Drink
from device_bridge.handlers.context import Work
from device_bridge.handlers.steps import cancel_unpaid_of
from device_bridge.store import devices, drinks


async def stop_device(work: Work, device_id: str, reason: str) -> Device:
    """Stop a machine: it takes no money from now on, and orders that wait for theirs are taken back.

    What was paid before goes on. What is paid in spite of it, in the same moment, is refunded.
    """
    device = await _locked(work, device_id)
    if not device.selling:
        return device
    changed = replace(
        device,
        selling=False,
        stopped_reason=reason,
        stopped_by=work.actor.name,
        stopped_at=work.now,
        version=device.version + 1,
        updated_at=work.now,
    )
    await devices.update(work.tx, changed)
    await work.note("device.stop", "device", device_id, reason=reason, before=_said(device), after=_said(changed))
    await cancel_unpaid_of(work, device_id)
    return changed


async def start_device(work: Work, device_id: str, reason: str = "") -> Device:
    """Let a machine sell again; the failures that may have stopped it are forgotten."""
    device = await _locked(work, device_id)
    if device.selling:
        return device
    changed = replace(
        device,
        selling=True,
        stopped_reason=None,
        stopped_by=None,
        stopped_at=None,
        failures_in_row=0,
        version=device.version + 1,
        updated_at=work.now,
    )
    await devices.update(work.tx, changed)
    await work.note("device.start", "device", device_id, reason=reason, before=_said(device), after=_said(changed))
    return changed


async def stop_drink(work: Work, device_id: str, drink_id: str, size: str | None, reason: str) -> list[Drink]:
    """Take a drink off sale, in one size or (None) in all; orders of it that wait for money are taken back."""
    changed = await _switch_drink(work, device_id, drink_id, size, available=False, reason=reason)
    await cancel_unpaid_of(work, device_id, drink_id=drink_id, size=size)
    return changed


async def start_drink(work: Work, device_id: str, drink_id: str, size: str | None, reason: str = "") -> list[Drink]:
    """Put a drink on sale again."""
    return await _switch_drink(work, device_id, drink_id, size, available=True, reason=reason)


async def _locked(work: Work, device_id: str) -> Device:
    device = await devices.find(work.tx, device_id, lock=True)
    if device is None:
        raise DeviceUnknown()
    return device


async def _switch_drink(
    work: Work, device_id: str, drink_id: str, size: str | None, *, available: bool, reason: str
) -> list[Drink]:
    found = [
        drink
        for one in ((size,) if size is not None else SIZES)
        if (drink := await drinks.find(work.tx, device_id, drink_id, one, lock=True)) is not None
    ]
    if not found:
        raise DrinkUnknown()
    switched = []
    for drink in found:
        if drink.available == available:
            switched.append(drink)
            continue
        changed = replace(
            drink,
            available=available,
            stopped_reason=None if available else reason,
            version=drink.version + 1,
            updated_at=work.now,
        )
        await drinks.put(work.tx, changed)
        action = "drink.start" if available else "drink.stop"
        await work.note(action, "drink", f"{device_id}/{drink_id}/{drink.size}", reason=reason)
        switched.append(changed)
    return switched


def _said(device: Device) -> dict[str, Any]:
    return {"selling": device.selling, "stopped_reason": device.stopped_reason, "stopped_by": device.stopped_by}
