"""Merchants, machines and drinks over HTTP: who may do what, what is refused, and what a change does."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from copeck.kernel.clock import ManualClock
from copeck.testkit.tokens import TokenMint

from .catalogue_site import SILENT, Person, Site, site_of

pytestmark = pytest.mark.integration

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)


@pytest.fixture
async def site(database_urls: dict[str, str], token_mint: TokenMint) -> AsyncIterator[Site]:
    async with site_of(database_urls, token_mint, ManualClock(NOW)) as found:
        yield found


@pytest.fixture
async def owner(site: Site) -> Person:
    return await site.merchant()


async def test_a_merchant_is_made_changed_and_seen(site: Site) -> None:
    manager = site.person("manager")
    details = {"bank_account": "40702810900000012345", "bic": "044525225"}
    body = {"name": "Lake", "mode": "own_shop", "commission_bps": 300, "payout_details": details}
    made = await manager.call("POST", "/merchants", json=body, expect=201)
    merchant = made.json()
    assert merchant["payout_details"]["bank_account"] == "****2345"
    assert merchant["account"] == f"receivable:{merchant['id']}"
    path = f"/merchants/{merchant['id']}"
    change = {"active_until": "2027-01-01T00:00:00Z", "brew_timeout_s": 60, "commission_bps": None}
    changed = await manager.call("PATCH", path, json=change, headers={"If-Match": made.headers["ETag"]})
    assert (changed.json()["brew_timeout_s"], changed.json()["commission_bps"]) == (60, 300)
    assert changed.json()["active_until"].startswith("2027-01-01")
    stale = await manager.call("PATCH", path, json=change, headers={"If-Match": made.headers["ETag"]}, expect=412)
    assert stale.json()["type"].endswith(":version-conflict")
    await manager.call("PATCH", path, json=change, expect=428)
    cleared = await manager.call("PATCH", path, json={"active_until": None}, headers=await manager.tag(path))
    assert cleared.json()["active_until"] is None
    stored = site.sql("SELECT payout_details FROM devices.merchants WHERE id = %s", merchant["id"])
    assert stored[0][0]["bank_account"] == details["bank_account"]


async def test_a_merchant_with_an_owner_is_its_owner(site: Site, owner: Person) -> None:
    [seen] = (await owner.read("/merchants"))["items"]
    assert seen["id"] == seen["owner_id"] == str(owner.user_id)
    body = {"name": "Once more", "owner_id": str(owner.user_id)}
    await site.person("manager").call("POST", "/merchants", json=body, expect=409)


async def test_merchants_see_their_own_and_nothing_else(site: Site, owner: Person) -> None:
    other = await site.merchant(name="Another")
    code = await site.device(owner)
    await site.drink(owner, code)
    mine = f"/devices/{code}"
    for path in (mine, f"{mine}/drinks", f"{mine}/drinks/latte/medium", f"/merchants/{owner.user_id}"):
        await owner.call("GET", path)
        await site.person("operator").call("GET", path)
        await other.call("GET", path, expect=404)
        await site.person("customer").call("GET", path, expect=403)
    await other.call("GET", f"/merchants/{owner.user_id}/balance", expect=404)
    stop = {"reason": "mine now"}
    await other.call("POST", f"{mine}/stop", json=stop, expect=404)
    await other.call("PATCH", mine, json={"name": "Mine"}, headers={"If-Match": "*"}, expect=404)
    await other.call("DELETE", f"{mine}/drinks/latte/medium", expect=404)
    await site.person("operator").call("POST", f"{mine}/stop", json=stop, expect=403)
    await owner.call("POST", "/merchants", json={"name": "Me too"}, expect=403)
    assert [one["id"] for one in (await owner.read("/devices"))["items"]] == [code]
    assert (await other.read("/devices", merchant_id=str(owner.user_id)))["items"] == []
    assert len((await site.person("operator").read("/merchants"))["items"]) == 2


@pytest.mark.covers("stop switch of a machine")
async def test_a_machine_is_added_changed_stopped_and_started(site: Site, owner: Person) -> None:
    texts = {"off": {"ru": "Мы спим", "en": "We sleep"}}
    body = {"id": "kofe-17", "name": "Lobby", "model": "mqtt-v1", "time_zone": "Asia/Omsk", "texts": texts}
    made = (await owner.call("POST", "/devices", json=body, expect=201)).json()
    assert made["merchant_id"] == str(owner.user_id)
    assert len(bytes.fromhex(made["link_key"])) == 32
    assert made["page_url"] == "http://coffee.test/m/kofe-17"
    assert "link_key" not in await owner.read("/devices/kofe-17")
    await owner.call("POST", "/devices", json=body, expect=409)
    path = "/devices/kofe-17"
    changed = await owner.call("PATCH", path, json={"location": "Hall"}, headers=await owner.tag(path))
    assert (changed.json()["location"], changed.json()["texts"]) == ("Hall", texts)
    await owner.call("PATCH", path, json={"time_zone": "Mars/Base"}, headers={"If-Match": "*"}, expect=422)
    stopped = await owner.call("POST", f"{path}/stop", json={"reason": "the boiler leaks"})
    assert (stopped.json()["selling"], stopped.json()["stopped_reason"]) == (False, "the boiler leaks")
    assert stopped.json()["stopped_by"] == f"user:{owner.user_id}"
    assert [one["id"] for one in (await owner.read("/devices", selling="false"))["items"]] == ["kofe-17"]
    started = await owner.call("POST", f"{path}/start")
    assert (started.json()["selling"], started.json()["stopped_reason"]) == (True, None)
    await owner.call("POST", f"{path}/stop", json={"reason": " "}, expect=422)


@pytest.mark.covers("stop switch of a merchant")
async def test_a_stopped_merchant_takes_no_money(site: Site, owner: Person) -> None:
    code = await site.device(owner)
    await site.drink(owner, code)
    body, keyed = {"drink": "latte", "size": "medium"}, {"Idempotency-Key": "first"}
    order = f"/public/devices/{code}/orders"
    await owner.call("POST", order, json=body, headers=keyed, expect=201)
    manager, path = site.person("manager"), f"/merchants/{owner.user_id}"
    stopped = await manager.call("PATCH", path, json={"selling": False}, headers=await manager.tag(path))
    assert stopped.json()["selling"] is False
    assert site.sql("SELECT reason FROM devices.orders") == [("stopped",)]
    [(last,)] = site.sql("SELECT headers::text FROM devices.outbox ORDER BY id DESC LIMIT 1")
    assert "invoice.cancel" in last
    refused = await owner.call("POST", order, json=body, headers={"Idempotency-Key": "second"}, expect=409)
    assert refused.json()["type"].endswith(":merchant-inactive")
    await manager.call("PATCH", path, json={"selling": True}, headers=await manager.tag(path))
    menu = await owner.read(f"/public/devices/{code}")
    assert menu["refusal"] is None


async def test_a_new_key_replaces_the_old_one(site: Site, owner: Person) -> None:
    body = {"id": "kofe-17", "name": "Lobby", "model": "mqtt-v1"}
    first = (await owner.call("POST", "/devices", json=body, expect=201)).json()["link_key"]
    path = "/devices/kofe-17"
    tag = await owner.tag(path)
    rotated = (await owner.call("POST", f"{path}/link-key", headers=tag)).json()
    assert rotated["link_key"] != first
    await owner.call("POST", f"{path}/link-key", headers=tag, expect=412)
    kept = site.sql("SELECT to_jsonb(d)::text FROM devices.devices AS d")[0][0]
    assert first not in kept
    assert rotated["link_key"] not in kept


async def test_a_code_that_is_taken_again_has_another_key(site: Site, owner: Person) -> None:
    body = {"id": "kofe-17", "name": "Lobby", "model": "mqtt-v1"}
    keys = set()
    for _ in range(2):
        keys.add((await owner.call("POST", "/devices", json=body, expect=201)).json()["link_key"])
        tag = await owner.tag("/devices/kofe-17")
        keys.add((await owner.call("POST", "/devices/kofe-17/link-key", headers=tag)).json()["link_key"])
        await owner.call("DELETE", "/devices/kofe-17", headers={"If-Match": "*"}, expect=204)
    assert len(keys) == 4


async def test_only_a_machine_that_never_sold_is_deleted(site: Site, owner: Person) -> None:
    await site.device(owner, "kofe-new")
    await site.drink(owner, "kofe-new")
    await owner.call("DELETE", "/devices/kofe-new", headers=await owner.tag("/devices/kofe-new"), expect=204)
    await owner.call("GET", "/devices/kofe-new", expect=404)
    await site.device(owner, "kofe-old")
    site.order(owner.user_id, "kofe-old", NOW)
    refused = await owner.call("DELETE", "/devices/kofe-old", headers={"If-Match": "*"}, expect=409)
    assert refused.json()["type"].endswith(":device-in-use")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"id": "a/b", "name": "x", "model": "mqtt-v1"}, "id"),
        ({"id": "orders", "name": "x", "model": "mqtt-v1"}, "id"),
        ({"id": "kofe-1", "name": " ", "model": "mqtt-v1"}, "name"),
        ({"id": "kofe-1", "name": "x", "model": "toaster"}, "model"),
        ({"id": "kofe-1", "name": "x", "model": "mqtt-v1", "texts": {"asleep": {}}}, "texts.asleep"),
        ({"id": "kofe-1", "name": "x", "model": "mqtt-v1", "driver": {"a": 1.5}}, "driver.a"),
        ({"id": "kofe-1", "name": "x", "model": "mqtt-v1", "colour": "red"}, "colour"),
    ],
)
async def test_a_machine_that_cannot_be_is_refused(owner: Person, body: dict[str, object], field: str) -> None:
    refused = (await owner.call("POST", "/devices", json=body, expect=422)).json()
    assert refused["field"].startswith(field)


async def test_managers_say_whose_a_machine_is(site: Site, owner: Person) -> None:
    manager = site.person("manager")
    body = {"id": "kofe-1", "name": "x", "model": SILENT}
    assert (await manager.call("POST", "/devices", json=body, expect=422)).json()["field"] == "merchant_id"
    await manager.call("POST", "/devices", json={**body, "merchant_id": str(uuid4())}, expect=404)
    await manager.call("POST", "/devices", json={**body, "merchant_id": str(owner.user_id)}, expect=201)
    await owner.call("POST", "/devices", json={**body, "id": "kofe-2", "merchant_id": str(uuid4())}, expect=404)


async def test_only_a_manager_says_where_a_machine_is_reached(site: Site, owner: Person) -> None:
    code, manager = await site.device(owner, model="tmetr"), site.person("manager")
    path, theirs = f"/devices/{code}", {"driver": {"id": "tm-1"}}
    refused = await owner.call("PATCH", path, json=theirs, headers=await owner.tag(path), expect=403)
    assert refused.json()["type"].endswith(":forbidden")
    body = {"id": "kofe-18", "name": "x", "model": "tmetr", **theirs}
    await owner.call("POST", "/devices", json=body, expect=403)
    await manager.call("PATCH", path, json=theirs, headers=await owner.tag(path))
    numbers = {"driver": {"id": "tm-1", "drinks": {"latte": "17"}}}
    await owner.call("PATCH", path, json=numbers, headers=await owner.tag(path))
    file = 'id,name,location,time_zone,model,driver\nkofe-18,x,,UTC,frame-v1,"{""topic"": ""technical/kofe-17""}"\n'
    refused_file = await owner.upload("/devices/import", file, expect=422)
    assert refused_file["errors"][0]["field"] == "line 2: driver"


async def test_only_a_manager_chooses_a_model_that_reports_no_cup(site: Site, owner: Person) -> None:
    """Defect: a merchant made an unplugged machine a silent one, and was paid for every order of it."""
    code, manager = await site.device(owner, model="mqtt-v1"), site.person("manager")
    path, silent = f"/devices/{code}", {"model": SILENT}
    refused = await owner.call("PATCH", path, json=silent, headers=await owner.tag(path), expect=403)
    assert (refused.json()["type"].rpartition(":")[2], refused.json()["field"]) == ("forbidden", "model")
    await owner.call("POST", "/devices", json={"id": "kofe-18", "name": "x", **silent}, expect=403)
    header = "id,name,location,time_zone,model\n"
    file = f"{header}{code},x,,UTC,{SILENT}\nkofe-18,x,,UTC,frame-v1\n"
    refused_file = await owner.upload("/devices/import", file, expect=422)
    assert [error["field"] for error in refused_file["errors"]] == ["line 2: model", "line 3: model"]
    await manager.call("PATCH", path, json=silent, headers=await manager.tag(path))
    kept = {"model": SILENT, "location": "Hall"}
    await owner.call("PATCH", path, json=kept, headers=await owner.tag(path))
    await owner.upload("/devices/import", f"{header}{code},Lobby,,UTC,{SILENT}\n")
    await owner.call("PATCH", path, json={"model": "mqtt-v1"}, headers=await owner.tag(path))


async def test_a_machine_elsewhere_is_one_machine_here(site: Site, owner: Person) -> None:
    manager, mine = site.person("manager"), {"merchant_id": str(owner.user_id), "name": "x", "driver": {"id": "one"}}
    for code, model in (("kofe-1", "tmetr"), ("kofe-2", "mqtt-yandex")):
        await manager.call("POST", "/devices", json={**mine, "id": code, "model": model}, expect=201)
    again = await manager.call("POST", "/devices", json={**mine, "id": "kofe-3", "model": "tmetr"}, expect=409)
    assert again.json()["type"].endswith(":address-taken")
    moved = await manager.call(
        "PATCH", "/devices/kofe-2", json={"model": "tmetr"}, headers={"If-Match": "*"}, expect=409
    )
    assert moved.json()["type"].endswith(":address-taken")


@pytest.mark.covers("stop switch of a drink")
async def test_a_drink_is_added_changed_stopped_and_taken_away(site: Site, owner: Person) -> None:
    code = await site.device(owner)
    await site.drink(owner, code, fiscal={"vat_code": 1, "measure": "piece"})
    path = f"/devices/{code}/drinks/latte/medium"
    again = {"drink_id": "latte", "size": "medium", "name": "x"}
    refused = await owner.call("POST", f"/devices/{code}/drinks", json=again, expect=409)
    assert refused.json()["type"].endswith(":drink-exists")
    tag = await owner.tag(path)
    price = {"value": "165.00", "currency": "RUB"}
    changed = (await owner.call("PATCH", path, json={"price": price, "fiscal": {"vat_code": 4}}, headers=tag)).json()
    assert (changed["price"], changed["sold_at"], changed["name"]) == (price, price, "Латте")
    assert (changed["fiscal"]["vat_code"], changed["fiscal"]["measure"]) == (4, "piece")
    await owner.call("PATCH", path, json={"price": price}, headers=tag, expect=412)
    without = await owner.call("PATCH", path, json={"without_price": True}, headers=await owner.tag(path))
    assert (without.json()["price"], without.json()["sold_at"]) == (None, None)
    stop = {"reason": "no milk left"}
    [stopped] = (await owner.call("POST", f"/devices/{code}/drinks/latte/stop", json=stop)).json()["items"]
    assert (stopped["available"], stopped["stopped_reason"]) == (False, "no milk left")
    [started] = (await owner.call("POST", f"/devices/{code}/drinks/latte/start")).json()["items"]
    assert (started["available"], started["stopped_reason"]) == (True, None)
    await owner.call("DELETE", path, expect=204)
    await owner.call("GET", path, expect=404)
    assert (await owner.read(f"/devices/{code}/drinks"))["items"] == []


async def test_a_drink_that_is_changed_to_not_available_takes_unpaid_orders_back(site: Site, owner: Person) -> None:
    """Defect: only the stop switch took them back; who paid after the change had to be refunded."""
    code = await site.device(owner)
    for size in ("medium", "large"):
        await site.drink(owner, code, size=size)
        body, keyed = {"drink": "latte", "size": size}, {"Idempotency-Key": size}
        await owner.call("POST", f"/public/devices/{code}/orders", json=body, headers=keyed, expect=201)
    path, reasons = f"/devices/{code}/drinks/latte/medium", "SELECT size, reason FROM devices.orders ORDER BY size"
    await owner.call("PATCH", path, json={"name": "Latte"}, headers=await owner.tag(path))
    assert site.sql(reasons) == [("large", ""), ("medium", "")]
    await owner.call("PATCH", path, json={"available": False}, headers=await owner.tag(path))
    assert site.sql(reasons) == [("large", ""), ("medium", "stopped")]
    [(last,)] = site.sql("SELECT headers::text FROM devices.outbox ORDER BY id DESC LIMIT 1")
    assert "invoice.cancel" in last


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"price": {"value": "0", "currency": "RUB"}}, "body"),
        ({"price": {"value": "1.5", "currency": "USD"}}, "price.currency"),
        ({"size": "huge"}, "size"),
        ({"fiscal": {"vat_code": 13}}, "fiscal.vat_code"),
        ({"drink_id": "a b"}, "drink_id"),
    ],
)
async def test_a_drink_that_cannot_be_is_refused(
    site: Site, owner: Person, changes: dict[str, object], field: str
) -> None:
    code = await site.device(owner)
    body = {"drink_id": "latte", "size": "medium", "name": "Латте", **changes}
    refused = (await owner.call("POST", f"/devices/{code}/drinks", json=body, expect=422)).json()
    assert refused["field"] == field


async def test_every_change_is_in_the_audit(site: Site, owner: Person) -> None:
    code = "kofe-17"
    await owner.call("POST", "/devices", json={"id": code, "name": "Lobby", "model": "mqtt-v1"}, expect=201)
    await site.drink(owner, code)
    await owner.call("POST", f"/devices/{code}/stop", json={"reason": "the boiler leaks"})
    rows = site.sql("SELECT action, actor, reason FROM devices.audit ORDER BY id")
    assert rows[0][0] == "merchant.create"
    mine = [row for row in rows if row[1] == f"user:{owner.user_id}"]
    assert len(mine) == 3
    assert mine[-1][2] == "the boiler leaks"


async def test_lists_have_pages(site: Site, owner: Person) -> None:
    for number in range(5):
        await site.device(owner, f"kofe-{number}")
    first = await owner.read("/devices", limit=3)
    rest = await owner.read("/devices", limit=3, cursor=first["next_cursor"])
    assert [one["id"] for one in first["items"] + rest["items"]] == [f"kofe-{number}" for number in range(5)]
    assert rest["next_cursor"] is None
    await owner.call("GET", "/merchants", params={"cursor": first["next_cursor"]}, expect=422)


async def test_an_account_at_the_broker_needs_a_broker(site: Site, owner: Person) -> None:
    code = await site.device(owner)
    refused = await owner.call("POST", f"/devices/{code}/broker-account", expect=503)
    assert refused.headers["Retry-After"]
