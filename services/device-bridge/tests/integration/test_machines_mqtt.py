"""Machines over a real broker: accounts, commands, reports confirmed after the commit, states, signs of life."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import aiomqtt
import pytest

from copeck.kernel.clock import ManualClock
from copeck.testkit.proxy import TcpProxy
from copeck.testkit.tokens import TokenMint
from copeck.testkit.waiting import eventually, never
from device_bridge.domain.drivers import Handed
from device_bridge.drivers.accounts import BrokerUnavailableError, username_of
from device_bridge.drivers.mqtt.link import Link, Login, NotTakenError
from device_bridge.drivers.mqtt.profiles import OwnBroker
from sandbox.machines.chaos import Armed, Chaos, Switch
from sandbox.machines.model import MachineConfig

from .catalogue_site import Site, site_of
from .machines_site import MQTT_URL, Machines, machines_of, stranger

pytestmark = pytest.mark.integration


@pytest.fixture
async def site(database_urls: dict[str, str], token_mint: TokenMint) -> AsyncIterator[Site]:
    async with site_of(database_urls, token_mint, ManualClock(datetime.now(UTC))) as found:
        yield found


@pytest.fixture
async def machines(site: Site, tmp_path: Path) -> AsyncIterator[Machines]:
    async with machines_of(site, tmp_path) as found:
        yield found


async def test_a_paid_order_is_brewed_and_every_report_confirmed(machines: Machines) -> None:
    machine = await machines.add()
    await eventually(lambda: machines.fleet.transport(machine.device).online)
    order, told = machines.paid_order(machine)
    answer = await machines.drivers.driver("mqtt-v1").brew(machines.target(machine), told)
    assert answer.handed is Handed.SENT
    await eventually(lambda: machines.status(order) == "successful")
    await eventually(lambda: not machine.unconfirmed())
    assert machines.events(machine, "brew.poured") == 1
    reports = machines.site.sql("SELECT state FROM devices.brew_reports WHERE command_id = %s", told.command_id)
    assert {row[0] for row in reports} == {"accepted", "started", "done"}


async def test_the_same_command_again_and_a_replay_of_all_brew_nothing(machines: Machines) -> None:
    machine = await machines.add()
    await eventually(lambda: machines.fleet.transport(machine.device).online)
    order, told = machines.paid_order(machine)
    driver = machines.drivers.driver("mqtt-v1")
    for _ in range(3):
        await driver.brew(machines.target(machine), told)
    await eventually(lambda: machines.status(order) == "successful")
    assert machines.fleet.replay() >= 3
    await never(lambda: machines.events(machine, "brew.poured") > 1, for_s=0.3)


@pytest.mark.parametrize("switch", [Switch.LOST_ACK, Switch.DUPLICATE_ACK, Switch.OFFLINE, Switch.STALE_SESSION])
async def test_no_fault_of_the_line_costs_a_report_or_doubles_a_cup(machines: Machines, switch: Switch) -> None:
    machine = await machines.add()
    await eventually(lambda: machines.fleet.transport(machine.device).online)
    options = {"offline_ms": (100, 200), "stale_ms": (100, 200)}
    machines.fleet.set_chaos(
        Chaos(once=[Armed(switch=switch, device=machine.device, count=3)], options=options)  # type: ignore[arg-type]
    )
    order, told = machines.paid_order(machine)
    await machines.drivers.driver("mqtt-v1").brew(machines.target(machine), told)
    await eventually(lambda: machines.status(order) == "successful", timeout_s=20)
    await eventually(lambda: not machine.unconfirmed(), timeout_s=20)
    assert machines.events(machine, "brew.poured") == 1


async def test_a_machine_that_fails_is_not_paid(machines: Machines) -> None:
    machine = await machines.add()
    await eventually(lambda: machines.fleet.transport(machine.device).online)
    machines.fleet.set_chaos(Chaos(once=[Armed(switch=Switch.FAILED_BREW)]))
    order, told = machines.paid_order(machine)
    await machines.drivers.driver("mqtt-v1").brew(machines.target(machine), told)
    await eventually(lambda: machines.status(order) == "failed")
    assert machines.events(machine, "brew.poured") == 0
    refund = machines.site.sql("SELECT reason, refund_status FROM devices.orders WHERE id = %s", order)
    assert refund == [("brew_failed", "requested")]


async def test_a_wrong_key_is_refused_by_the_machine(machines: Machines) -> None:
    machine = await machines.add()
    await eventually(lambda: machines.fleet.transport(machine.device).online)
    order, told = machines.paid_order(machine)
    target = machines.target(machine)
    forged = type(target)(target.device_id, target.model, target.address, bytes(32))
    await machines.drivers.driver("mqtt-v1").brew(forged, told)
    await eventually(lambda: machines.status(order) == "failed")
    row = machines.site.sql("SELECT state, last_code FROM devices.brew_commands WHERE order_id = %s", order)[0]
    assert row == ("rejected", "bad_signature")


async def test_a_cup_that_nobody_ordered_is_an_incident_and_is_confirmed(machines: Machines) -> None:
    machine = await machines.add()
    await eventually(lambda: machines.fleet.transport(machine.device).online)
    order, told = machines.paid_order(machine)
    machines.site.sql("DELETE FROM devices.brew_commands WHERE order_id = %s", order)
    await machines.drivers.driver("mqtt-v1").brew(machines.target(machine), told)
    await eventually(lambda: machines.events(machine, "brew.poured") == 1)
    await eventually(lambda: not machine.unconfirmed())
    # Confirmed by ours alone, after its commit: the bridges of other tests do not know the machine.
    kinds = "SELECT kind FROM devices.incidents WHERE device_id = %s"
    assert machines.site.sql(kinds, machine.device) == [("brewed_unpaid",)]


async def test_a_report_on_another_machines_command_changes_nothing_and_is_confirmed(machines: Machines) -> None:
    mine, other = await machines.add(), await machines.add()
    await eventually(lambda: machines.fleet.transport(other.device).online)
    order, told = machines.paid_order(mine)
    await machines.drivers.driver("mqtt-v1").brew(machines.target(other), told)
    await eventually(lambda: machines.events(other, "brew.poured") == 1)
    await eventually(lambda: not other.unconfirmed())
    assert machines.status(order) == "make_pending"


async def test_states_the_will_and_heartbeats(machines: Machines) -> None:
    machine = await machines.add()
    await eventually(lambda: machines.state(machine).get("heartbeat_at"))
    assert machines.state(machine)["online"] is True
    assert machines.state(machine)["state"] == "ready"
    first = machines.state(machine)["heartbeat_at"]
    await eventually(lambda: machines.state(machine)["heartbeat_at"] > first)
    machines.fleet.switch(machine.device, {"error": "no_water"})
    await eventually(lambda: machines.state(machine)["error_code"] == "no_water")
    machines.fleet.switch(machine.device, {"error": "", "sold_out": [["latte", "medium"]]})
    await eventually(lambda: machines.state(machine)["state"] == "sold_out")
    drinks = machines.site.sql("SELECT sold_out FROM devices.drinks WHERE device_id = %s", machine.device)
    assert drinks == [(True,)]
    machines.fleet.switch(machine.device, {"powered": False})
    await eventually(lambda: machines.state(machine)["online"] is False)
    assert machines.state(machine)["state"] == "off"


async def test_a_state_that_the_broker_kept_is_no_sign_of_life(machines: Machines, site: Site, tmp_path: Path) -> None:
    machine = await machines.add()
    await eventually(lambda: machines.state(machine).get("heartbeat_at"))
    machines.fleet.stop()
    await machines.mqtt.stop()
    # A heartbeat that was heard before may still be on its way to its row.
    await eventually(lambda: machines.context.database.engine.pool.checkedout() == 0)  # type: ignore[attr-defined]
    site.sql("DELETE FROM devices.device_states")
    async with machines_of(site, tmp_path / "second") as again:
        await eventually(lambda: again.state(machine))
        assert again.state(machine)["heartbeat_at"] is None


async def test_prices_set_in_a_machine_are_known_and_nothing_is_no_price(machines: Machines) -> None:
    machine = await machines.add()
    config = machine.config.model_dump() | {"shows_prices": True}
    machines.fleet.put([MachineConfig.model_validate(config)])

    def price() -> object:
        query = "SELECT telemetry_price_minor FROM devices.drinks WHERE device_id = %s"
        return machines.site.sql(query, machine.device)[0][0]

    await eventually(lambda: price() == 15_000)


async def test_an_older_machine_is_sent_its_frame_and_is_known_to_live(machines: Machines) -> None:
    machine = await machines.add("frame-v1")
    await eventually(lambda: machines.state(machine).get("heartbeat_at"))
    _, told = machines.paid_order(machine, "frame-v1")
    driver = machines.drivers.driver("frame-v1")
    assert (await driver.brew(machines.target(machine, "frame-v1"), told)).handed is Handed.ACCEPTED
    await eventually(lambda: machines.events(machine, "command.accepted") == 1)


async def test_a_frame_that_nobody_gets_is_no_consent(machines: Machines) -> None:
    """Defect: the broker's receipt for a frame of an unplugged machine counted as a cup that was made."""
    machine = await machines.add("frame-v1", on=False)
    _, told = machines.paid_order(machine, "frame-v1")
    driver, target = machines.drivers.driver("frame-v1"), machines.target(machine, "frame-v1")
    answer = await driver.brew(target, told)
    assert (answer.handed, answer.code) == (Handed.UNREACHABLE, "not_taken")
    async with stranger(username_of(machine.device), machine.config.password) as client:
        await client.subscribe(f"technical/{machine.device}", 1)
        assert (await driver.brew(target, told)).handed is Handed.ACCEPTED


async def test_what_the_broker_refuses_was_not_sent(machines: Machines) -> None:
    mine, other = await machines.add(on=False), await machines.add(on=False)
    host = MQTT_URL.rpartition("@")[2]
    name, password = username_of(mine.device), await machines.accounts.rotate(mine.device)
    profile = _OfOneMachine(((f"cm/v1/{mine.device}/cmd/+", 1),))
    link = Link(profile, Login(f"mqtt://{name}:{password}@{host}", name), lambda _profile, _message: None)
    running = asyncio.create_task(link.run())
    try:
        await link.wait_connected(15)
        await link.publish(f"cm/v1/{mine.device}/state", b"{}")
        with pytest.raises(NotTakenError, match="0x87"):
            await link.publish(f"cm/v1/{other.device}/state", b"{}")
    finally:
        await link.stop()
        await running


class _OfOneMachine(OwnBroker):
    def __init__(self, subscriptions: tuple[tuple[str, int], ...]) -> None:
        self.subscriptions = subscriptions


async def test_what_cannot_be_read_holds_nobody_up(machines: Machines) -> None:
    machine = await machines.add()
    for topic, payload in (
        (f"cm/v1/{machine.device}/state", b"not json"),
        (f"cm/v1/{machine.device}/ack/{uuid4()}", b'{"v":1}'),
        (f"cm/v1/{machine.device}/ack/{uuid4()}", json.dumps({"v": 1, "command_id": str(uuid4())}).encode()),
        (f"cm/v1/{machine.device}/telemetry", b"\xff"),
        ("cm/v1/nobody-knows-it/state", b'{"v":1,"online":true,"state":"ready"}'),
        ("cm/v1/nobody-knows-it/heartbeat", b"{}"),
    ):
        await machines.mqtt.publish("own", topic, payload)
    order, told = machines.paid_order(machine)
    await machines.drivers.driver("mqtt-v1").brew(machines.target(machine), told)
    await eventually(lambda: machines.status(order) == "successful")
    await machines.mqtt.ping()


async def test_a_command_for_a_machine_that_comes_too_late_is_gone(machines: Machines) -> None:
    machine = await machines.add()
    await eventually(lambda: machines.fleet.transport(machine.device).online)
    machines.fleet.switch(machine.device, {"powered": False, "clock_offset_s": -3600})
    order, told = machines.paid_order(machine)
    brief = type(told)(**{f: getattr(told, f) for f in told.__slots__} | {"expires_at": _soon()})
    await machines.drivers.driver("mqtt-v1").brew(machines.target(machine), brief)
    await eventually(lambda: datetime.now(UTC) > brief.expires_at + timedelta(seconds=1.5), timeout_s=10)
    machines.fleet.switch(machine.device, {"powered": True})
    await eventually(lambda: machines.fleet.transport(machine.device).online)
    await never(lambda: machines.events(machine, "command.received") > 0, for_s=0.5)
    assert machines.status(order) == "make_pending"


def _soon() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=1)


async def test_the_link_comes_back_after_a_cut(site: Site, tmp_path: Path) -> None:
    proxy = TcpProxy("127.0.0.1", int(MQTT_URL.rpartition(":")[2]))
    await proxy.start()
    try:
        async with machines_of(site, tmp_path, mqtt_url=proxy.url(MQTT_URL)) as machines:
            machine = await machines.add()
            await eventually(lambda: machines.fleet.transport(machine.device).online)
            order, told = machines.paid_order(machine)
            proxy.cut()
            driver = machines.drivers.driver("mqtt-v1")

            async def sent() -> bool:
                return (await driver.brew(machines.target(machine), told)).handed is Handed.SENT

            await eventually(sent, timeout_s=20)
            await eventually(lambda: machines.status(order) == "successful", timeout_s=20)
            assert proxy.connections > 1
    finally:
        await proxy.stop()


async def test_an_account_is_one_machines(machines: Machines) -> None:
    mine, other = await machines.add(on=False), await machines.add(on=False)
    password = await machines.accounts.rotate(mine.device)
    name = username_of(mine.device)
    async with stranger(name, password) as client:
        for topic in (f"cm/v1/{other.device}/cmd/+", "cm/v1/+/cmd/+", "#", f"cm/v1/{mine.device}/#"):
            codes = await client.subscribe(topic, 1)
            assert [int(getattr(code, "value", code)) for code in codes] == [0x80], topic
        codes = await client.subscribe(f"cm/v1/{mine.device}/cmd/+", 1)
        assert [int(getattr(code, "value", code)) for code in codes] == [1]
        await client.publish(f"cm/v1/{other.device}/state", b'{"v":1,"online":true,"state":"error"}', 1)
        await client.publish(f"cm/v1/{mine.device}/state", b'{"v":1,"online":true,"state":"busy"}', 1)
        await eventually(lambda: machines.state(mine).get("state") == "busy")
    assert machines.state(other).get("state") != "error"


async def test_an_account_is_rotated_and_revoked(machines: Machines) -> None:
    machine = await machines.add()
    transport = machines.fleet.transport(machine.device)
    await eventually(lambda: transport.online)
    name, old = username_of(machine.device), machine.config.password
    new = await machines.accounts.rotate(machine.device)
    await eventually(lambda: not transport.online)
    with pytest.raises(aiomqtt.MqttError):
        async with stranger(name, old):
            pass
    machines.fleet.put([machine.config.model_copy(update={"password": new})])
    await eventually(lambda: machines.fleet.transport(machine.device).online)
    await machines.accounts.revoke(machine.device)
    await eventually(lambda: not machines.fleet.transport(machine.device).online)
    with pytest.raises(aiomqtt.MqttError):
        async with stranger(name, new):
            pass
    await machines.accounts.revoke(machine.device)


async def test_accounts_of_many_machines_are_made_together(machines: Machines) -> None:
    names = [f"many-{uuid4().hex[:8]}-{number}" for number in range(50)]
    passwords = await machines.accounts.create_many(names)
    again = await machines.accounts.create_many(names[:3])
    assert len(set(passwords.values())) == 50
    assert again[names[0]] != passwords[names[0]]
    async with stranger(username_of(names[49]), passwords[names[49]]):
        pass
    await asyncio.gather(*(machines.accounts.revoke(name) for name in names))


async def test_accounts_without_a_broker_are_refused_for_now(site: Site, tmp_path: Path) -> None:
    proxy = TcpProxy("127.0.0.1", int(MQTT_URL.rpartition(":")[2]))
    await proxy.start()
    async with machines_of(site, tmp_path, mqtt_url=proxy.url(MQTT_URL)) as machines:
        await proxy.stop()
        with pytest.raises(BrokerUnavailableError):
            await machines.accounts.create("kofe-1")
