"""Taking a machine away that never sold anything, and then its account at the broker."""

from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncConnection

from device_bridge.domain.model import Device
from device_bridge.store import devices as devices_store
from device_bridge.store.devices import device_of
from device_bridge.tables import accounts_to_revoke, device_states, devices, drinks, orders


async def lock_device(tx: AsyncConnection, device_id: str) -> Device | None:
    """Return a machine, locked against orders too: one that is being placed is waited for, and seen afterwards."""
    row = (await tx.execute(sa.select(devices).where(devices.c.id == device_id).with_for_update())).first()
    return device_of(row) if row else None


async def has_orders(tx: AsyncConnection, device_id: str) -> bool:
    """Tell whether anything was ever ordered at a machine."""
    query = sa.select(orders.c.id).where(orders.c.device_id == device_id).limit(1)
    return (await tx.execute(query)).first() is not None


async def remove_device(tx: AsyncConnection, device_id: str) -> None:
    """Delete a machine with its drinks and its state; the caller has locked it and knows that it has no orders."""
    # The state before the drinks, as machines' own words are stored: the two would wait for each other otherwise.
    await tx.execute(sa.delete(device_states).where(device_states.c.device_id == device_id))
    await tx.execute(sa.delete(drinks).where(drinks.c.device_id == device_id))
    await tx.execute(sa.delete(devices).where(devices.c.id == device_id))


async def add_account(tx: AsyncConnection, device_id: str, next_try_at: datetime) -> None:
    """Note that the account of a machine that is deleted here is to be revoked; nobody else tries before a moment."""
    await tx.execute(sa.insert(accounts_to_revoke).values(device_id=device_id, next_try_at=next_try_at))


async def hold_code(tx: AsyncConnection, gone: Device, next_try_at: datetime) -> bool:
    """Note the same of a machine that was deleted before; False when its code is taken, or the note is there already.

    The machine is put back and deleted at once, so that whoever is being given the code is waited for, and the next one
    waits for the note: it is the key of the machines that decides between them.
    """
    if not await devices_store.insert(tx, replace(gone, driver={})):
        return False
    await remove_device(tx, gone.id)
    note = pg.insert(accounts_to_revoke).values(device_id=gone.id, next_try_at=next_try_at).on_conflict_do_nothing()
    return (await tx.execute(note.returning(accounts_to_revoke.c.device_id))).first() is not None


async def has_account(tx: AsyncConnection, device_id: str) -> bool:
    """Tell whether the account of a deleted machine with this code is still to be revoked."""
    query = sa.select(accounts_to_revoke.c.device_id).where(accounts_to_revoke.c.device_id == device_id)
    return (await tx.execute(query)).first() is not None


async def claim_account(tx: AsyncConnection, now: datetime, next_try_at: datetime) -> str | None:
    """Take an account whose moment has come, so that nobody else tries it before the next one; None without any."""
    due = (
        sa.select(accounts_to_revoke.c.device_id)
        .where(accounts_to_revoke.c.next_try_at <= now)
        .order_by(accounts_to_revoke.c.next_try_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    claim = (
        sa.update(accounts_to_revoke)
        .where(accounts_to_revoke.c.device_id == due.scalar_subquery())
        .values(next_try_at=next_try_at)
        .returning(accounts_to_revoke.c.device_id)
    )
    claimed: str | None = (await tx.execute(claim)).scalar_one_or_none()
    return claimed


async def remove_account(tx: AsyncConnection, device_id: str) -> None:
    """Note that an account is revoked: its code is free."""
    await tx.execute(sa.delete(accounts_to_revoke).where(accounts_to_revoke.c.device_id == device_id))
