"""A machine is deleted while it is connected: what it says meanwhile stops neither the deletion nor other machines."""

import asyncio
from collections.abc import Iterable, Mapping
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.testkit.waiting import eventually
from device_bridge.drivers.mqtt.profiles import PROFILES
from device_bridge.handlers import removals, reports
from device_bridge.hearing import Hearing
from device_bridge.store import drinks
from device_bridge.store import removals as removal_store

from .fleet import Fleet

pytestmark = pytest.mark.integration


async def somebody_waits(fleet: Fleet) -> bool:
    """Tell whether a transaction waits for another one's lock."""
    waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return bool(await fleet.rows(waiting))


async def test_a_deletion_and_a_state_do_not_wait_for_each_other(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Defect: the deletion took drinks, then the state, a report the other way round: Postgres broke one of them."""
    await fleet.device()
    store, stored = drinks.note_sold_out, asyncio.Event()

    async def comes_late(tx: AsyncConnection, sold_out: Mapping[str, Iterable[tuple[str, str]]]) -> None:
        stored.set()
        await eventually(lambda: somebody_waits(fleet))
        await store(tx, sold_out)

    monkeypatch.setattr(drinks, "note_sold_out", comes_late)

    async def delete() -> None:
        await stored.wait()
        await fleet.do(lambda work: removals.remove_device(work, "kiosk-1", "*"))

    says = reports.on_state(fleet.context, "kiosk-1", online=True, state="ready", sold_out=[("latte", "medium")])
    await asyncio.gather(says, delete())
    assert await fleet.rows("SELECT 1 FROM devices.devices") == []


async def test_the_heartbeat_of_a_machine_that_is_being_deleted_takes_no_other_with_it(fleet: Fleet) -> None:
    """Defect: the heartbeats that waited for the deletion with it were lost, all of them."""
    for code in ("kiosk-1", "kiosk-2"):
        await fleet.device(code)
    fleet.clock.advance(timedelta(seconds=30))

    async def publish(_broker: str, topic: str, _payload: bytes, *, expires_in_s: float | None = None) -> None:
        raise AssertionError(topic, expires_in_s)

    hearing = Hearing(fleet.context.settings, publish)
    hearing.attach(fleet.context)
    profile = PROFILES["own"]
    for code in ("kiosk-1", "kiosk-2"):
        hearing.hear(profile, profile.read_topic(f"cm/v1/{code}/heartbeat"), b"{}")
    running: list[asyncio.Task[None]] = []

    async def alive() -> bool:
        rows = await fleet.rows("SELECT device_id, heartbeat_at FROM devices.device_states")
        return [tuple(row.values()) for row in rows] == [("kiosk-2", fleet.clock.now())]

    try:
        async with fleet.context.database.transaction() as tx:
            await removal_store.lock_device(tx, "kiosk-1")
            await removal_store.remove_device(tx, "kiosk-1")
            running = [asyncio.create_task(worker) for worker in hearing.workers()]
            await eventually(lambda: somebody_waits(fleet))
        await eventually(alive)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
