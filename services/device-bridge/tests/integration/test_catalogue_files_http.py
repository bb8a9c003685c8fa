"""Files of the catalogue over HTTP: a dry run keeps nothing, a bad line keeps all out, and exports are read again."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from copeck.kernel.clock import ManualClock
from copeck.testkit.tokens import TokenMint

from .catalogue_site import Person, Site, site_of

pytestmark = pytest.mark.integration

DRINKS = "drink_id,size,name,price,vat_code\nlatte,small,Латте,129.00,1\nlatte,large,Латте,159.00,1\n"
BAD = f"{DRINKS}mocha,huge,Мокко,0,1\nlatte,small,Again,1.00,\n"
DEVICES = 'id,name,location,time_zone,model\nkofe-1,Lobby,"Nevsky, 1",Europe/Moscow,mqtt-v1\n'


@pytest.fixture
async def site(database_urls: dict[str, str], token_mint: TokenMint) -> AsyncIterator[Site]:
    async with site_of(database_urls, token_mint, ManualClock(datetime(2026, 11, 30, tzinfo=UTC))) as found:
        yield found


@pytest.fixture
async def owner(site: Site) -> Person:
    return await site.merchant()


@pytest.mark.covers("import of drinks with bad lines")
async def test_a_dry_run_names_every_bad_line_and_keeps_nothing(site: Site, owner: Person) -> None:
    code = await site.device(owner)
    tried = await owner.upload("/drinks/import", BAD, device_id=code, dry_run=True)
    assert (tried["lines"], tried["good"], tried["bad"], tried["created"]) == (4, 2, 2, 2)
    named = [(bad["line"], bad["field"]) for bad in tried["bad_lines"]]
    assert named == [(4, "size"), (4, "price"), (5, "line")]
    assert (await owner.read(f"/devices/{code}/drinks"))["items"] == []


async def test_a_file_with_a_bad_line_is_not_taken_at_all(site: Site, owner: Person) -> None:
    code = await site.device(owner)
    refused = await owner.upload("/drinks/import", BAD, device_id=code, expect=422)
    assert refused["type"].endswith(":bad-lines")
    assert [error["field"] for error in refused["errors"]] == ["line 4: size", "line 4: price", "line 5: line"]
    assert (await owner.read(f"/devices/{code}/drinks"))["items"] == []


async def test_a_file_is_taken_and_again_changes_nothing(site: Site, owner: Person) -> None:
    code = await site.device(owner)
    first = await owner.upload("/drinks/import", DRINKS, device_id=code)
    again = await owner.upload("/drinks/import", DRINKS, device_id=code)
    assert (first["created"], first["changed"]) == (2, 0)
    assert (again["created"], again["changed"]) == (0, 0)
    dearer = await owner.upload("/drinks/import", DRINKS.replace("129.00", "139.00"), device_id=code)
    assert (dearer["created"], dearer["changed"]) == (0, 1)
    small = await owner.read(f"/devices/{code}/drinks/latte/small")
    assert (small["price"]["value"], small["version"]) == ("139.00", 2)


async def test_an_export_of_drinks_is_imported_at_another_machine(site: Site, owner: Person) -> None:
    code, other = await site.device(owner), await site.device(owner, "kofe-18")
    await site.drink(owner, code, name="=HYPERLINK(1)", fiscal={"vat_code": 2, "measure": "piece"})
    await site.drink(owner, code, None, drink_id="raf", size="small", available=False)
    exported = await owner.call("GET", "/drinks.csv", params={"device_id": code})
    assert exported.headers["Content-Type"].startswith("text/csv")
    assert "'=HYPERLINK(1)" in exported.text
    taken = await owner.upload("/drinks/import", exported.text, device_id=other)
    assert (taken["created"], taken["bad"]) == (2, 0)
    left, right = [await owner.read(f"/devices/{one}/drinks") for one in (code, other)]
    own = {"device_id": "", "updated_at": ""}
    assert [one | own for one in left["items"]] == [one | own for one in right["items"]]


async def test_machines_are_imported_and_exported(site: Site, owner: Person) -> None:
    taken = await owner.upload("/devices/import", DEVICES)
    assert (taken["created"], taken["changed"]) == (1, 0)
    assert (await owner.read("/devices/kofe-1"))["location"] == "Nevsky, 1"
    moved = await owner.upload("/devices/import", DEVICES.replace("Nevsky", "Tverskaya"))
    assert (moved["created"], moved["changed"]) == (0, 1)
    exported = (await owner.call("GET", "/devices.csv")).text
    again = await site.person("manager").upload("/devices/import", exported)
    assert (again["created"], again["changed"], again["bad"]) == (0, 0, 0)


@pytest.mark.covers("import of machines with bad lines")
async def test_what_only_the_database_knows_makes_lines_bad(site: Site, owner: Person) -> None:
    other = await site.merchant(name="Another")
    await site.device(other, "kofe-1")
    taken = await owner.upload("/devices/import", DEVICES, dry_run=True)
    assert [(bad["line"], bad["field"]) for bad in taken["bad_lines"]] == [(2, "id")]
    manager = site.person("manager")
    header = "id,name,location,time_zone,model,merchant_id\n"
    lines = (
        "kofe-2,A,,UTC,mqtt-v1,\n"
        "kofe-3,A,,UTC,mqtt-v1,00000000-0000-4000-8000-000000000000\n"
        f"kofe-1,A,,UTC,mqtt-v1,{owner.user_id}\n"
        f"kofe-4,A,,UTC,mqtt-v1,{owner.user_id}\n"
    )
    tried = await manager.upload("/devices/import", header + lines, dry_run=True)
    assert [(bad["line"], bad["field"]) for bad in tried["bad_lines"]] == [
        (2, "merchant_id"),
        (3, "merchant_id"),
        (4, "merchant_id"),
    ]
    assert (tried["good"], tried["created"]) == (1, 1)


async def test_what_is_no_file_is_refused(site: Site, owner: Person) -> None:
    code = await site.device(owner)
    json = {"Content-Type": "application/json"}
    path = f"/drinks/import?device_id={code}"
    await owner.call("POST", path, content=b"{}", headers=json, expect=415)
    refused = await owner.upload("/drinks/import", "a,b\n1,2\n", device_id=code, expect=422)
    assert refused["type"].endswith(":invalid-catalogue-file")
    assert refused["field"] == "header"
    await site.person("operator").upload("/drinks/import", DRINKS, device_id=code, expect=403)
    await (await site.merchant(name="Other")).upload("/drinks/import", DRINKS, device_id=code, expect=404)
    # Larger than other bodies may be, and smaller than a file may be.
    large = DRINKS + "".join(f"d{number},small,{'x' * 100},1.00,1\n" for number in range(900))
    assert (await owner.upload("/drinks/import", large, device_id=code, dry_run=True))["good"] == 902
