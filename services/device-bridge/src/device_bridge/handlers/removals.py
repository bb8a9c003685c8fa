"""Deleting what nothing depends on.

A machine goes first, its account at the broker after the commit: a deletion that is refused leaves the account alone.
Until the account is revoked, by whoever deleted the machine or by `clockwork.py`, nobody else is given the code: the
next machine is not spoken for by the old one.
"""

import logging
from datetime import timedelta
from typing import ClassVar

from copeck.kernel.errors import DomainError, NotFoundError
from copeck.web.etag import check_if_match
from device_bridge.domain.model import Device
from device_bridge.drivers.accounts import BrokerUnavailableError
from device_bridge.handlers.context import Context, Work
from device_bridge.store import removals

log = logging.getLogger(__name__)

REVOKED_AGAIN_AFTER = timedelta(minutes=1)
"""When an account is tried again: later than the broker's answer is waited for, so that nobody revokes a code late."""


class DeviceInUseError(DomainError):
    """Its orders are somebody's statements and refunds."""

    type: ClassVar[str] = "device-in-use"
    title: ClassVar[str] = "The machine has sold something"


async def remove_device(work: Work, device_id: str, if_match: str) -> None:
    """Delete a machine that never sold anything, with its drinks; its account is left to `revoke_account`."""
    found = await removals.lock_device(work.tx, device_id)
    if found is None:
        raise NotFoundError("There is no such machine.")
    check_if_match(if_match, found.version)
    if await removals.has_orders(work.tx, device_id):
        raise DeviceInUseError("Its orders stay. Stop the machine instead.")
    await removals.remove_device(work.tx, device_id)
    if work.context.accounts is not None:
        await removals.add_account(work.tx, device_id, work.now + REVOKED_AGAIN_AFTER)
    await work.note(
        "device.delete", "device", device_id, before={"name": found.name, "merchant_id": str(found.merchant_id)}
    )


async def revoke_account(context: Context, device_id: str) -> bool:
    """Take a deleted machine's account away, and free its code; False when the broker has to be asked again."""
    if context.accounts is None:
        return False
    try:
        await context.accounts.revoke(device_id)
    except BrokerUnavailableError as error:
        log.warning("the account of %s, which was deleted, is revoked later: %s", device_id, error.detail)
        return False
    async with context.database.transaction() as tx:
        await removals.remove_account(tx, device_id)
    return True


async def revoke_made(context: Context, gone: Device) -> None:
    """Revoke an account that was made while its machine was being deleted, unless somebody has the code again."""
    async with context.database.transaction() as tx:
        held = await removals.hold_code(tx, gone, context.clock.now() + REVOKED_AGAIN_AFTER)
    if held:
        await revoke_account(context, gone.id)


async def revoke_due(context: Context) -> int:
    """Revoke what a broker that was away did not hear of; returns how many codes are free again."""
    revoked = 0
    while True:
        now = context.clock.now()
        async with context.database.transaction() as tx:
            device_id = await removals.claim_account(tx, now, now + REVOKED_AGAIN_AFTER)
        if device_id is None or not await revoke_account(context, device_id):
            return revoked
        revoked += 1
