"""The telemetry's calls against its emulator: drink data, a cup, heartbeats, and what each failure proves."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from fastapi import FastAPI

from copeck.kernel.clock import ManualClock
from copeck.kernel.ids import new_id
from copeck.testkit.tokens import TokenMint
from copeck.testkit.waiting import eventually, never
from device_bridge.domain.drivers import BrewInstruction, Handed, Target
from device_bridge.drivers.tmetr import TmetrClient, TmetrDriver
from device_bridge.drivers.tmetr.client import Fault, TmetrError
from device_bridge.drivers.tmetr.poller import MODEL, TelemetryPoller
from device_bridge.store import foreign
from sandbox.machines.app import create_app
from sandbox.machines.chaos import Armed, Chaos, Options, Switch
from sandbox.machines.fleet import Fleet
from sandbox.machines.model import MachineConfig, MenuLine
from sandbox.machines.settings import Settings

from .catalogue_site import Site, site_of

TOKEN = "tmetr_test_token"
MACHINE = MachineConfig(
    device="tm-1",
    model="tmetr",
    menu=[MenuLine(drink="latte", size="large", name="Латте", price_minor=21_900)],
)


@pytest.fixture
async def emulator(tmp_path: Path) -> AsyncIterator[FastAPI]:
    app = create_app(Settings(data_dir=tmp_path / "machines", brew_ms=20))
    async with app.router.lifespan_context(app):
        app.state.fleet.put([MACHINE])
        yield app


@pytest.fixture
def fleet(emulator: FastAPI) -> Fleet:
    found: Fleet = emulator.state.fleet
    return found


def client_of(emulator: FastAPI, token: str = TOKEN, **options: Any) -> TmetrClient:
    transport = httpx2.ASGITransport(app=emulator)
    return TmetrClient("http://telemetry.test/tmetr", token, transport=transport, **options)


def told(**changes: Any) -> BrewInstruction:
    now = datetime.now(UTC)
    fields: dict[str, Any] = {
        "command_id": new_id(), "order_id": uuid4(), "drink_id": "latte", "size": "large", "price_minor": 21_900,
        "currency": "RUB", "issued_at": now, "expires_at": now + timedelta(seconds=60),
    }  # fmt: skip
    return BrewInstruction(**fields | changes)


TARGET = Target("kofe-1", "tmetr", {"id": "tm-1"}, bytes(32), "Europe/Moscow")


def poured(fleet: Fleet) -> int:
    return int(fleet.store.rows("SELECT count(*) FROM log WHERE event = 'brew.poured'")[0][0])


@pytest.mark.covers("tmetr static/drink")
async def test_drink_data(emulator: FastAPI) -> None:
    client = client_of(emulator)
    found = await client.drink(device="tm-1", drink="latte", size="BIG", offset="3")
    assert (found["name"], found["price"]) == ("Латте", 21_900)
    with pytest.raises(TmetrError) as refused:
        await client.drink(device="tm-1", drink="latte", size="SMALL", offset="3")
    assert refused.value.fault is Fault.REFUSED


@pytest.mark.covers("tmetr heartbeat/recent")
async def test_recent_heartbeats(emulator: FastAPI) -> None:
    found = await client_of(emulator).heartbeats(["tm-1", "tm-2"])
    assert [row["deviceId"] for row in found["content"]] == ["tm-1"]


@pytest.mark.covers("tmetr command/make")
async def test_a_cup_is_made_under_the_orders_own_id(emulator: FastAPI, fleet: Fleet) -> None:
    driver = TmetrDriver(client_of(emulator))
    wanted = told(machine_order_id="20250317110122659ba6d7-9ace-cndn")
    assert (await driver.brew(TARGET, wanted)).handed is Handed.ACCEPTED
    await eventually(lambda: poured(fleet) == 1)
    assert fleet.store.rows("SELECT order_id, size, price_minor FROM log WHERE event = 'brew.poured'") == [
        ("20250317110122659ba6d7-9ace-cndn", "large", 21_900)
    ]
    assert (await driver.revoke(TARGET, wanted)).handed is Handed.UNKNOWN


@pytest.mark.parametrize(
    ("switch", "handed", "cups"),
    [
        (Switch.TOO_MANY, Handed.UNREACHABLE, 0),
        (Switch.ERROR_BEFORE, Handed.UNKNOWN, 0),
        (Switch.ERROR_AFTER_SUCCESS, Handed.UNKNOWN, 1),
    ],
)
async def test_what_a_failed_call_proves(
    emulator: FastAPI, fleet: Fleet, switch: Switch, handed: Handed, cups: int
) -> None:
    driver = TmetrDriver(client_of(emulator))
    assert (await driver.brew(TARGET, told())).handed is Handed.ACCEPTED
    await eventually(lambda: poured(fleet) == 1)
    # The drink is known by now, so the fault meets the call that has the cup made.
    fleet.set_chaos(Chaos(once=[Armed(switch=switch)]))
    assert (await driver.brew(TARGET, told())).handed is handed
    await eventually(lambda: poured(fleet) == 1 + cups)
    await never(lambda: poured(fleet) > 1 + cups, for_s=0.1)


async def test_a_failed_look_at_the_drink_is_a_call_that_was_never_made(emulator: FastAPI, fleet: Fleet) -> None:
    fleet.set_chaos(Chaos(once=[Armed(switch=Switch.ERROR_BEFORE)]))
    driver = TmetrDriver(client_of(emulator))
    assert (await driver.brew(TARGET, told())).handed is Handed.UNREACHABLE
    assert (await driver.brew(TARGET, told(drink_id="mocha"))).handed is Handed.REJECTED
    assert poured(fleet) == 0


async def test_a_time_out_is_an_unknown_outcome() -> None:
    def silence(request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith("/drink"):
            return httpx2.Response(200, json={"drink_id": "x", "price": 1})
        raise httpx2.ReadTimeout("silence", request=request)

    driver = TmetrDriver(TmetrClient("http://telemetry.test", TOKEN, transport=httpx2.MockTransport(silence)))
    answer = await driver.brew(TARGET, told())
    assert (answer.handed, answer.code) == (Handed.UNKNOWN, "ReadTimeout")


async def test_a_token_that_is_not_taken_leaves_everything_undone(emulator: FastAPI, fleet: Fleet) -> None:
    answer = await TmetrDriver(client_of(emulator, token="wrong")).brew(TARGET, told())
    assert (answer.handed, answer.code) == (Handed.UNREACHABLE, "http_401")
    assert poured(fleet) == 0


async def test_nobody_listens() -> None:
    answer = await TmetrDriver(TmetrClient("http://127.0.0.1:9", TOKEN)).brew(TARGET, told())
    assert answer.handed is Handed.UNREACHABLE


@pytest.fixture
async def site(database_urls: dict[str, str], token_mint: TokenMint) -> AsyncIterator[Site]:
    async with site_of(database_urls, token_mint, ManualClock(datetime.now(UTC))) as found:
        yield found


@pytest.mark.integration
async def test_the_poller_notes_life_and_prices(emulator: FastAPI, fleet: Fleet, site: Site) -> None:
    owner = await site.merchant()
    await site.device(owner, "kofe-1", price_rule="telemetry")
    await site.device(owner, "kofe-2")
    for code, foreign_id in (("kofe-1", "tm-1"), ("kofe-2", "tm-2")):
        address = {"model": "tmetr", "driver": {"id": foreign_id}}
        path = f"/devices/{code}"
        await site.person("manager").call("PATCH", path, json=address, headers=await owner.tag(path))
    for code, size in (("kofe-1", "large"), ("kofe-1", "small"), ("kofe-2", "large")):
        await site.drink(owner, code, None, size=size)
    poller = TelemetryPoller(site.context, client_of(emulator))
    async with site.context.database.transaction() as tx:
        found = await foreign.machines(tx, MODEL)
    await poller.ask_heartbeats(found)
    await poller.ask_prices(found)
    alive = site.sql("SELECT device_id FROM devices.device_states WHERE heartbeat_at IS NOT NULL")
    assert alive == [("kofe-1",)]
    prices = site.sql(
        "SELECT device_id, size, telemetry_price_minor FROM devices.drinks WHERE telemetry_at IS NOT NULL ORDER BY 1, 2"
    )
    assert prices == [("kofe-1", "large", 21_900), ("kofe-1", "small", 0), ("kofe-2", "large", 0)]
    shown = {one["size"]: one["sold_at"] for one in (await owner.read("/devices/kofe-1/drinks"))["items"]}
    assert shown["large"]["value"] == "219.00"
    assert shown["small"] is None, "a price of nothing is no price"
    fleet.set_chaos(Chaos(probabilities={Switch.ERROR_BEFORE: 1.0}, options=Options()))
    site.sql("DELETE FROM devices.device_states")
    await poller.ask_heartbeats(found)
    await poller.ask_prices(found)
    assert site.sql("SELECT count(*) FROM devices.device_states") == [(0,)]
    kept = site.sql("SELECT telemetry_price_minor FROM devices.drinks WHERE device_id = 'kofe-1' AND size = 'large'")
    assert kept == [(21_900,)], "a telemetry that does not answer takes no price away"
