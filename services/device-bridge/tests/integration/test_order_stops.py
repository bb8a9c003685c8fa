"""What is not sold: stopped machines and drinks, machines that are off or out of something, prices nobody knows."""

import asyncio
from datetime import timedelta

import pytest

from copeck.contracts import events
from copeck.kernel.errors import DomainError
from copeck.testkit.waiting import eventually
from device_bridge.domain.errors import DeviceUnknown, PriceChanged
from device_bridge.handlers import catalogue, reports, stops
from device_bridge.store import drinks, removals
from tests.support.cups import a_drink

from .fleet import Fleet

pytestmark = pytest.mark.integration


async def test_a_stop_takes_waiting_orders_back_and_refunds_what_crosses_it(fleet: Fleet) -> None:
    await fleet.device()
    waiting, crossing = await fleet.ask(), await fleet.ask()
    await fleet.do(lambda work: stops.stop_device(work, "kiosk-1", "cleaning"))
    assert len(await fleet.sent("invoice.cancel.v1")) == 2
    await fleet.hear(waiting, events.InvoiceCanceled)
    assert await fleet.ends(waiting) == ("not_paid", "stopped", None)
    await fleet.hear(crossing, events.InvoicePaid)
    assert await fleet.ends(crossing) == ("failed", "stopped", "requested")
    with pytest.raises(DomainError) as refused:
        await fleet.ask()
    assert refused.value.type == "device-stopped"
    assert "cleaning" in str(refused.value)
    await fleet.do(lambda work: stops.start_device(work, "kiosk-1"))
    await fleet.ask()
    actions = await fleet.rows("SELECT action, reason FROM devices.audit ORDER BY id")
    assert [row["action"] for row in actions] == ["device.stop", "device.start"]


async def test_a_stopped_drink(fleet: Fleet) -> None:
    await fleet.device()
    order = await fleet.ask()
    await fleet.do(lambda work: stops.stop_drink(work, "kiosk-1", "latte", None, "sour milk"))
    assert len(await fleet.sent("invoice.cancel.v1")) == 1
    with pytest.raises(DomainError) as refused:
        await fleet.ask()
    assert refused.value.type == "drink-unavailable"
    await fleet.do(lambda work: stops.start_drink(work, "kiosk-1", "latte", "medium"))
    assert (await fleet.ask()).id != order.id


@pytest.mark.parametrize("gone", ["stopped", "removed"])
async def test_a_drink_that_is_gone_when_it_is_paid_gives_the_money_back(fleet: Fleet, gone: str) -> None:
    """The cancellation and the payment cross, or the order was just being made when the drink was taken off."""
    await fleet.device()
    order = await fleet.ask()
    await fleet.hear(order, events.InvoiceIssued)
    if gone == "stopped":
        async with fleet.context.database.transaction() as tx:
            await drinks.put(tx, a_drink(device_id="kiosk-1", available=False))
    else:
        await fleet.do(lambda work: catalogue.remove_drink(work, "kiosk-1", "latte", "medium"))
        assert len(await fleet.sent("invoice.cancel.v1")) == 1
    await fleet.hear(order, events.InvoicePaid)
    assert await fleet.ends(order) == ("failed", "stopped", "requested")
    assert fleet.machine.told == []


async def test_a_machine_that_is_deleted_while_it_is_ordered_from_is_unknown(fleet: Fleet) -> None:
    await fleet.device()
    async with fleet.context.database.transaction() as tx:
        await removals.remove_device(tx, "kiosk-1")
        ordering = asyncio.create_task(fleet.ask())
        waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        await eventually(lambda: fleet.rows(waiting))
    with pytest.raises(DeviceUnknown):
        await ordering
    assert await fleet.sent("invoice.issue.v1") == []


async def test_too_many_failures_stop_a_machine_and_say_why(fleet: Fleet) -> None:
    await fleet.device(failures_max=3)
    for ends in (("failed",), ("failed",), ("done",), ("failed",), ("rejected",), ("failed",)):
        order = await fleet.paid()
        await fleet.send()
        await fleet.says(order, *ends)
    [device] = await fleet.rows("SELECT selling, stopped_reason, stopped_by, failures_in_row FROM devices.devices")
    assert device == {
        "selling": False,
        "stopped_reason": "3 brews in a row failed",
        "stopped_by": "service:device-bridge",
        "failures_in_row": 3,
    }
    with pytest.raises(DomainError) as refused:
        await fleet.ask()
    assert refused.value.type == "device-stopped"
    await fleet.do(lambda work: stops.start_device(work, "kiosk-1"))
    order = await fleet.paid()
    await fleet.send()
    await fleet.says(order, "failed")
    assert (await fleet.rows("SELECT selling, failures_in_row FROM devices.devices")) == [
        {"selling": True, "failures_in_row": 1}
    ]


async def test_a_machine_that_is_off_takes_no_money_until_it_is_heard_of(fleet: Fleet) -> None:
    await fleet.device()
    fleet.clock.advance(timedelta(seconds=91))
    with pytest.raises(DomainError) as refused:
        await fleet.ask()
    assert refused.value.type == "device-off"
    await fleet.beat("kiosk-1", "nobody-knows-me")
    await fleet.ask()
    await reports.on_state(fleet.context, "kiosk-1", online=False, state="off")
    with pytest.raises(DomainError) as refused:
        await fleet.ask()
    assert refused.value.type == "device-off"


async def test_what_a_machine_says_it_is_out_of(fleet: Fleet) -> None:
    await fleet.device()
    ready = {"online": True, "state": "ready"}
    await reports.on_state(fleet.context, "kiosk-1", **ready, sold_out=[("latte", "medium")])  # type: ignore[arg-type]
    with pytest.raises(DomainError) as refused:
        await fleet.ask()
    assert refused.value.type == "drink-sold-out"
    await reports.on_state(fleet.context, "kiosk-1", **ready)  # type: ignore[arg-type]
    await fleet.ask()


async def test_no_price_is_invented(fleet: Fleet) -> None:
    """Defect 4.1: where telemetry said 0, fifty roubles were taken."""
    await fleet.device()
    await fleet.in_state("UPDATE devices.devices SET price_rule = 'telemetry'")
    for prices in ([], [("latte", "medium", 0)], [("espresso", "medium", 9000)]):
        await reports.on_prices(fleet.context, "kiosk-1", prices)
        with pytest.raises(DomainError) as refused:
            await fleet.ask()
        assert refused.value.type == "price-unknown"
    await reports.on_prices(fleet.context, "kiosk-1", [("latte", "medium", 17500)])
    assert (await fleet.ask()).price_minor == 17500
    with pytest.raises(PriceChanged):
        await fleet.ask(expected_price_minor=15000)
