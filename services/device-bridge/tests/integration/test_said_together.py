"""What machines say at the same time shares a transaction, and ends as it would one by one."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from copeck.kernel.ids import new_id
from copeck.observability.metrics import REGISTRY
from copeck.testkit.waiting import eventually
from device_bridge.domain.errors import DeviceUnknown, ForeignCommand
from device_bridge.domain.model import Order, Report
from device_bridge.drivers.mqtt.profiles import PROFILES
from device_bridge.handlers import reports
from device_bridge.handlers.reports import SaidOfItself
from device_bridge.hearing import Hearing
from device_bridge.store import commands, drinks
from tests.support.cups import a_drink

from .fleet import Fleet

pytestmark = pytest.mark.integration


async def states(fleet: Fleet) -> dict[str, tuple[Any, ...]]:
    rows = await fleet.rows("SELECT * FROM devices.device_states")
    return {row["device_id"]: (row["online"], row["state"], row["error_code"]) for row in rows}


async def test_states_that_wait_together(fleet: Fleet) -> None:
    """The last word of each counts, the unknown are left out, and what each is out of is its own."""
    for code in ("kiosk-1", "kiosk-2", "kiosk-3"):
        await fleet.device(code)
    await reports.on_state(fleet.context, "kiosk-3", online=True, state="ready", sold_out=[("latte", "medium")])
    now = fleet.clock.now()
    out = [("latte", "medium"), ("mocha", "small")]
    said = [
        SaidOfItself("kiosk-1", True, "sold_out", "", out, now),
        SaidOfItself("kiosk-1", True, "error", "no_water", (), now - timedelta(seconds=5)),
        SaidOfItself("nobody-knows-me", True, "ready"),
        SaidOfItself("kiosk-2", True, "ready", "", out, now),
        SaidOfItself("kiosk-2", True, "busy", "", (), now + timedelta(seconds=5)),
        SaidOfItself("kiosk-3", False, "off"),
    ]
    await reports.on_states(fleet.context, said)
    assert await states(fleet) == {
        "kiosk-1": (True, "sold_out", ""),
        "kiosk-2": (True, "busy", ""),
        "kiosk-3": (False, "off", ""),
    }
    sold_out = await fleet.rows("SELECT device_id FROM devices.drinks WHERE sold_out ORDER BY device_id")
    # A machine that went off says nothing of its drinks.
    assert [row["device_id"] for row in sold_out] == ["kiosk-1", "kiosk-3"]
    beaten = await fleet.rows("SELECT 1 FROM devices.device_states WHERE heartbeat_at IS NOT NULL")
    assert len(beaten) == 3


async def test_a_machine_whose_clock_was_set_back_is_still_believed(fleet: Fleet) -> None:
    await fleet.device()
    now = fleet.clock.now()
    await reports.on_state(fleet.context, "kiosk-1", online=False, state="off", at=now)
    await reports.on_state(fleet.context, "kiosk-1", online=True, state="ready", at=now - timedelta(hours=1))
    assert (await states(fleet))["kiosk-1"] == (True, "ready", "")


async def brewing(fleet: Fleet, device_id: str = "kiosk-1") -> tuple[Order, UUID]:
    """Return an order whose command the machine has, and the command."""
    order = await fleet.paid(device_id, receipt_address="someone@example.org")
    await fleet.send()
    return order, (await fleet.command(order.id)).id


async def mixed(fleet: Fleet, prefix: str) -> tuple[list[Report], list[Order]]:
    """Return what two machines say at once: repeats, a stranger's word, and much about one cup."""
    mine, other = f"{prefix}-1", f"{prefix}-2"
    await fleet.device(mine, failures_max=2)
    await fleet.device(other)
    (made, a), (failed, b), (refused, c), (late, d) = [await brewing(fleet, mine) for _ in range(4)]
    moved, e = await brewing(fleet, other)
    waiting = await fleet.ask(mine)
    now, unknown = fleet.clock.now(), new_id()
    said = [
        Report(mine, a, "accepted", now),
        Report(mine, a, "accepted", now),
        Report(mine, unknown, "done", now),
        Report(other, b, "failed", now),
        Report(mine, a, "done", now, raw={"told": "once"}),
        Report(mine, a, "started", now),
        Report(other, e, "started", now),
        Report(mine, b, "failed", now, "no_water"),
        Report(mine, unknown, "started", now),
        Report(mine, c, "rejected", now, "busy"),
        Report(mine, c, "done", now),
        Report(mine, d, "done", now),
        Report(mine, a, "done", now),
    ]
    return said, [made, failed, refused, late, moved, waiting]


async def outcome(fleet: Fleet, orders: list[Order]) -> list[Any]:
    """Return everything that reports have left of these orders and of their machine."""
    ids, device_id = [order.id for order in orders], orders[0].device_id
    paid = [order.id for order in orders[:-1]]
    messages = [data for _, data in await fleet.sent("invoice.refund.v1", "invoice.cancel.v1")]
    places = {str(order.invoice_id): place for place, order in enumerate(orders)}
    return [
        [await fleet.ends(order) for order in orders],
        [await fleet.history(order) for order in orders],
        [(command.state, command.last_code) for command in [await fleet.command(one) for one in paid]],
        [
            (places[one["invoice_id"]], one["reason"], one["actor"].replace(device_id, ""))
            for one in messages
            if one["invoice_id"] in places
        ],
        await fleet.rows(
            "SELECT selling, failures_in_row, stopped_reason, stopped_by FROM devices.devices WHERE id = :id",
            id=device_id,
        ),
        await fleet.rows(
            "SELECT kind, detail - 'command_id' AS detail FROM devices.incidents WHERE device_id = :id ORDER BY kind",
            id=device_id,
        ),
        await fleet.rows(
            "SELECT state, code, raw FROM devices.brew_reports WHERE device_id = :id ORDER BY received_at, state, code",
            id=device_id,
        ),
        await fleet.rows("SELECT kind, status FROM devices.receipts WHERE order_id = ANY(:ids)", ids=ids),
    ]


async def test_reports_of_one_batch_end_as_they_do_one_by_one(fleet: Fleet) -> None:
    """Repeats, unknown and foreign commands, a stale word, and one cup's whole story in one batch."""
    alone, orders_alone = await mixed(fleet, "alone")
    refusals = []
    for report in alone:
        fleet.clock.advance(timedelta(microseconds=1))
        try:
            await reports.on_report(fleet.context, report)
        except ForeignCommand as error:
            refusals.append(type(error))
        else:
            refusals.append(None)
    batch, orders_together = await mixed(fleet, "batch")
    sent: list[UUID] = []
    context = replace(fleet.context, send_receipts=sent.extend)
    refused = await reports.on_reports(context, batch)
    assert [type(one) if one else None for one in refused] == refusals
    assert [place for place, one in enumerate(refused) if one] == [3]
    ends = await outcome(fleet, orders_together)
    assert ends == await outcome(fleet, orders_alone)
    assert ends[0] == [
        ("successful", "", None),
        ("failed", "brew_failed", "requested"),
        ("failed", "machine_rejected", "requested"),
        ("successful", "", None),
        ("make_pending", "", None),
        ("created", "stopped", None),
    ]
    assert ends[4][0]["stopped_reason"] == "2 brews in a row failed"
    assert [row["kind"] for row in ends[5]] == ["brewed_unpaid", "done_after_refund"]
    assert sent == [orders_together[0].id, orders_together[3].id]
    # All of it again changes nothing.
    await reports.on_reports(context, batch)
    assert await outcome(fleet, orders_together) == ends


async def test_a_report_that_spoils_a_batch_is_followed_by_nothing(fleet: Fleet) -> None:
    await fleet.device()
    order, command = await brewing(fleet)
    now = fleet.clock.now()
    with pytest.raises(ValueError, match="no machine reports"):
        await reports.on_reports(
            fleet.context, [Report("kiosk-1", command, "done", now), Report("kiosk-1", command, "sent", now)]
        )
    assert await fleet.ends(order) == ("make_pending", "", None)
    assert await reports.on_reports(fleet.context, []) == []


async def test_one_report_that_cannot_be_stored_holds_no_neighbour_up(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I-13: the batch fails on the data of one; the others are followed and confirmed, that one is not."""
    await fleet.device(failures_max=100)
    brewed = [await brewing(fleet) for _ in range(3)]
    poison = brewed[1][1]
    add, sizes = commands.add_reports, []

    async def breaks(tx: Any, said: Sequence[Report], received_at: datetime) -> Any:
        sizes.append(len(said))
        if poison in [report.command_id for report in said]:
            raise ZeroDivisionError
        return await add(tx, said, received_at)

    monkeypatch.setattr(commands, "add_reports", breaks)
    confirmed: list[str] = []

    async def publish(_broker: str, topic: str, _payload: bytes, *, expires_in_s: float | None = None) -> None:
        assert expires_in_s
        confirmed.append(topic)

    settings = fleet.context.settings.model_copy(update={"reports_concurrency": 1})
    hearing = Hearing(settings, publish)
    hearing.attach(fleet.context)
    says(hearing, "nobody-knows-me", new_id(), "done")
    for n, (_, command) in enumerate(brewed, 1):
        says(hearing, "kiosk-1", command, "done", n)
    running = [asyncio.create_task(worker) for worker in hearing.workers()]
    try:
        await eventually(lambda: len(sizes) == 4 and len(confirmed) == 2)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    assert sizes == [3, 1, 1, 1]
    assert [(await fleet.ends(order))[0] for order, _ in brewed] == ["successful", "make_pending", "successful"]
    assert not [topic for topic in confirmed if str(poison) in topic or "nobody-knows-me" in topic]


async def test_what_an_unknown_machine_reports_is_not_confirmed(fleet: Fleet) -> None:
    """Defect: whoever listened to the broker confirmed the reports of machines that only somebody else knows.

    Of a machine that we know every report is confirmed, also one on a command that nobody gave.
    """
    await fleet.device()
    (_, command), unknown = await brewing(fleet), new_id()
    confirmed: list[str] = []

    async def publish(_broker: str, topic: str, _payload: bytes, *, expires_in_s: float | None = None) -> None:
        assert expires_in_s
        confirmed.append(topic)

    hearing = Hearing(fleet.context.settings.model_copy(update={"reports_concurrency": 1}), publish)
    hearing.attach(fleet.context)
    before = heard("unreadable")
    for code, said in (("nobody-knows-me", unknown), ("nobody-knows-me", command), ("kiosk-1", unknown)):
        says(hearing, code, said, "done")
    running = [asyncio.create_task(worker) for worker in hearing.workers()]
    try:
        await eventually(lambda: confirmed)
        says(hearing, "nobody-knows-me", unknown, "done")
        says(hearing, "kiosk-1", command, "done")
        await eventually(lambda: len(confirmed) == 2)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    assert confirmed == [f"cm/v1/kiosk-1/ack/{said}/ok" for said in (unknown, command)]
    assert heard("unreadable") - before == 3
    assert {row["device_id"] for row in await fleet.rows("SELECT device_id FROM devices.brew_reports")} == {"kiosk-1"}
    assert [row["device_id"] for row in await fleet.rows("SELECT device_id FROM devices.incidents")] == ["kiosk-1"]
    with pytest.raises(DeviceUnknown):
        await reports.on_report(fleet.context, Report("nobody-knows-me", unknown, "done", fleet.clock.now()))


def says(hearing: Hearing, code: str, command: UUID, state: str, n: int = 1) -> None:
    ack = {"v": 1, "command_id": str(command), "n": n, "state": state, "at": 1_770_000_000_000, "code": ""}
    profile = PROFILES["own"]
    hearing.hear(profile, profile.read_topic(f"cm/v1/{code}/ack/{command}"), json.dumps(ack).encode())


def heard(outcome: str) -> float:
    labels = {"broker": "own", "kind": "ack", "outcome": outcome}
    return REGISTRY.get_sample_value("copeck_mqtt_heard_total", labels) or 0.0


async def test_a_machine_that_floods_the_queue_keeps_no_other_out(fleet: Fleet) -> None:
    """Defect: one machine filled the queue, and what others said was dropped until they said it again."""
    for code in ("kiosk-1", "kiosk-2"):
        await fleet.device(code)
    (_, flooding), (order, other) = [await brewing(fleet, code) for code in ("kiosk-1", "kiosk-2")]
    confirmed: list[str] = []

    async def publish(_broker: str, topic: str, _payload: bytes, *, expires_in_s: float | None = None) -> None:
        assert expires_in_s
        confirmed.append(topic)

    hearing = Hearing(fleet.context.settings.model_copy(update={"reports_concurrency": 1}), publish)
    hearing.attach(fleet.context)
    before = heard("over_share")

    for n in range(1, 10_001):
        says(hearing, "kiosk-1", flooding, "started", n)
    says(hearing, "kiosk-2", other, "done")
    running = [asyncio.create_task(worker) for worker in hearing.workers()]
    try:
        await eventually(lambda: any(str(other) in topic for topic in confirmed))
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    assert (await fleet.ends(order))[0] == "successful"
    assert (len(confirmed), heard("over_share") - before) == (101, 9_900)


async def test_prices_of_two_messages_that_wait_are_both_known(fleet: Fleet) -> None:
    """Defect: a second part of a menu took the place of the first, whose old prices went on selling."""
    await fleet.device()
    async with fleet.context.database.transaction() as tx:
        await drinks.put(tx, a_drink(drink_id="tea"))

    async def publish(_broker: str, _topic: str, _payload: bytes, *, expires_in_s: float | None = None) -> None:
        raise AssertionError(expires_in_s)

    hearing = Hearing(fleet.context.settings, publish)
    hearing.attach(fleet.context)
    profile = PROFILES["own"]
    heard = profile.read_topic("cm/v1/kiosk-1/telemetry")
    for drink, price in (("latte", 16_000), ("tea", 9_000), ("latte", 17_000)):
        line = {"drink": drink, "size": "medium", "price_minor": price}
        hearing.hear(profile, heard, json.dumps({"v": 1, "prices": [line]}).encode())
    running = [asyncio.create_task(worker) for worker in hearing.workers()]

    async def known() -> bool:
        rows = await fleet.rows("SELECT drink_id, telemetry_price_minor FROM devices.drinks ORDER BY drink_id")
        return [tuple(row.values()) for row in rows] == [("latte", 17_000), ("tea", 9_000)]

    try:
        await eventually(known)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
