"""Orders, incidents, statements and balances over HTTP: merchants see their own, in their machines' time zones."""

import csv
import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from copeck.kernel.clock import ManualClock
from copeck.testkit.tokens import TokenMint

from .catalogue_site import Person, Site, site_of

pytestmark = pytest.mark.integration

NOVEMBER = {"date_from": "2026-11-01", "date_to": "2026-11-30"}


def at(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


@pytest.fixture
async def site(database_urls: dict[str, str], token_mint: TokenMint) -> AsyncIterator[Site]:
    async with site_of(database_urls, token_mint, ManualClock(at(30, 12))) as found:
        yield found


@pytest.fixture
async def owner(site: Site) -> Person:
    return await site.merchant()


async def test_orders_are_listed_by_whose_machines_they_are(site: Site, owner: Person) -> None:
    other = await site.merchant(name="Another")
    await site.device(owner, "kofe-1")
    await site.device(other, "kofe-2")
    mine, _ = site.order(owner.user_id, "kofe-1", at(3, 9))
    failed, _ = site.order(owner.user_id, "kofe-1", at(4, 9), status="failed")
    theirs, _ = site.order(other.user_id, "kofe-2", at(5, 9))

    async def listed(who: Person, **query: Any) -> list[str]:
        return [one["id"] for one in (await who.read("/orders", **query))["items"]]

    assert await listed(owner) == [str(failed), str(mine)]
    assert await listed(owner, merchant_id=str(other.user_id)) == [str(failed), str(mine)]
    manager = site.person("manager")
    assert await listed(manager) == [str(theirs), str(failed), str(mine)]
    assert await listed(manager, merchant_id=str(other.user_id)) == [str(theirs)]
    assert await listed(manager, device_id="kofe-1", status="failed") == [str(failed)]
    assert await listed(manager, created_from="2026-11-04T00:00:00Z", created_to="2026-11-05T00:00:00Z") == [
        str(failed)
    ]
    assert await listed(manager, search="латт", order="created_at") == [str(mine), str(failed), str(theirs)]
    assert await listed(manager, search=str(mine)[:20]) == [str(mine)]
    page = await manager.read("/orders", limit=2)
    assert await listed(manager, limit=2, cursor=page["next_cursor"]) == [str(mine)]
    await owner.call("GET", f"/orders/{mine}")
    await owner.call("GET", f"/orders/{theirs}", expect=404)
    rows = list(csv.DictReader(io.StringIO((await owner.call("GET", "/orders.csv")).text)))
    assert [row["id"] for row in rows] == [str(failed), str(mine)]
    assert (rows[0]["price"], rows[0]["status"]) == ("150.00", "failed")


async def test_an_order_is_shown_with_everything_that_is_known(site: Site, owner: Person) -> None:
    code = await site.device(owner)
    order, _ = site.order(owner.user_id, code, at(3, 9))
    command = uuid4()
    site.sql("UPDATE devices.orders SET receipt_address = 'anna@example.org' WHERE id = %s", order)
    site.sql("INSERT INTO devices.order_history VALUES (%s, 1, now(), 'ordered', 'created', '', 'buyer')", order)
    site.sql(
        "INSERT INTO devices.brew_commands (id, order_id, device_id, model, state, issued_at, expires_at, brew_by,"
        " sent_count, finished_at, last_code, will_be)"
        " VALUES (%s, %s, %s, 'mqtt-v1', 'done', now(), now(), now(), 2, now(), '', '')",
        *(command, order, code),
    )
    site.sql("INSERT INTO devices.brew_reports VALUES (%s, 'done', now(), %s, '', now(), '{}')", *(command, code))
    site.sql(
        "INSERT INTO devices.receipts (order_id, kind, address, status, tries) VALUES (%s, 'receipt',"
        " 'anna@example.org', 'sent', 1)",
        order,
    )
    incident = uuid4()
    site.sql(
        "INSERT INTO devices.incidents (id, kind, order_id, device_id, detail, at)"
        " VALUES (%s, 'done_after_refund', %s, %s, '{\"code\": \"late\"}', now())",
        *(incident, order, code),
    )
    shown = await owner.read(f"/orders/{order}")
    assert [step["event"] for step in shown["history"]] == ["ordered"]
    assert (shown["command"]["id"], shown["command"]["sent_count"]) == (str(command), 2)
    assert [report["state"] for report in shown["command"]["reports"]] == ["done"]
    assert [(mail["kind"], mail["address"], mail["status"]) for mail in shown["receipts"]] == [
        ("receipt", "a***@example.org", "sent")
    ]
    assert shown["receipt_address"] == "a***@example.org"
    assert [one["id"] for one in shown["incidents"]] == [str(incident)]
    assert "anna@" not in str(shown)


async def test_an_incident_is_closed_with_a_note(site: Site, owner: Person) -> None:
    other = await site.merchant(name="Another")
    code = await site.device(owner)
    incident = uuid4()
    site.sql(
        "INSERT INTO devices.incidents (id, kind, device_id, detail, at) VALUES (%s, 'brewed_unpaid', %s, '{}', now())",
        *(incident, code),
    )
    assert [one["id"] for one in (await owner.read("/incidents", open_only="true"))["items"]] == [str(incident)]
    assert (await other.read("/incidents"))["items"] == []
    await other.call("GET", f"/incidents/{incident}", expect=404)
    path, note = f"/incidents/{incident}/close", {"note": "the cup was given away"}
    await owner.call("POST", path, json=note, expect=403)
    manager = site.person("manager")
    closed = (await manager.call("POST", path, json=note)).json()
    assert (closed["note"], closed["closed_by"]) == ("the cup was given away", f"user:{manager.user_id}")
    assert (await owner.read("/incidents", open_only="true"))["items"] == []
    await manager.call("POST", f"/incidents/{uuid4()}/close", json=note, expect=404)


async def test_a_day_is_that_of_the_machines_time_zone(site: Site, owner: Person) -> None:
    await site.device(owner, "kofe-moscow", time_zone="Europe/Moscow")
    await site.device(owner, "kofe-omsk", time_zone="Asia/Omsk")
    # 18:30 UTC is 21:30 in Moscow, and half past midnight of the next day in Omsk.
    site.order(owner.user_id, "kofe-moscow", at(9, 18, 30))
    site.order(owner.user_id, "kofe-omsk", at(9, 18, 30))
    statement = await owner.read("/statements", **NOVEMBER)
    assert [(row["day"], row["device_id"]) for row in statement["rows"]] == [
        ("2026-11-09", "kofe-moscow"),
        ("2026-11-10", "kofe-omsk"),
    ]
    day = {"date_from": "2026-11-10", "date_to": "2026-11-10"}
    assert [row["device_id"] for row in (await owner.read("/statements", **day))["rows"]] == ["kofe-omsk"]
    day = {"date_from": "2026-11-09", "date_to": "2026-11-09"}
    assert [row["device_id"] for row in (await owner.read("/statements", **day))["rows"]] == ["kofe-moscow"]


async def test_a_refund_counts_on_its_own_day_with_its_commission(site: Site, owner: Person) -> None:
    await site.device(owner, "kofe-1")
    balance = f"merchant:{owner.user_id}"
    site.order(owner.user_id, "kofe-1", at(3, 9))
    _, returned = site.order(owner.user_id, "kofe-1", at(3, 10), status="failed")
    _, refused = site.order(owner.user_id, "kofe-1", at(3, 11), status="failed")
    _, late = site.order(owner.user_id, "kofe-1", at(3, 12))
    site.refund(returned, balance, at(4, 8), amount=15_000, commission=750)
    site.refund(refused, balance, at(4, 9), amount=15_000, commission=750, status="failed")
    # Money that came too late was never the merchant's.
    site.refund(late, "suspense:late", at(4, 10), amount=15_000, commission=0)
    statement = await owner.read("/statements", **NOVEMBER)
    third, fourth = statement["rows"]
    assert (third["gross"]["value"], third["commission"]["value"], third["net"]["value"]) == (
        "600.00",
        "30.00",
        "570.00",
    )
    assert third["counts"] == {"paid": 4, "successful": 2, "failed": 2, "refunded": 0}
    assert fourth["day"] == "2026-11-04"
    assert (fourth["gross"]["value"], fourth["refunds"]["value"]) == ("0.00", "150.00")
    assert (fourth["commission"]["value"], fourth["net"]["value"]) == ("-7.50", "-142.50")
    assert statement["total"]["net"] == {"value": "427.50", "currency": "RUB"}
    rows = list(csv.DictReader(io.StringIO((await owner.call("GET", "/statements.csv", params=NOVEMBER)).text)))
    assert [(row["day"], row["net"], row["refunded"]) for row in rows] == [
        ("2026-11-03", "570.00", "0"),
        ("2026-11-04", "-142.50", "1"),
    ]


async def test_an_own_shops_refund_is_in_its_statement(site: Site) -> None:
    owner = await site.merchant(mode="own_shop")
    await site.device(owner, "kofe-1")
    _, invoice = site.order(owner.user_id, "kofe-1", at(3, 9), mode="own_shop", status="failed")
    site.refund(invoice, f"receivable:{owner.user_id}", at(3, 10), amount=15_000, commission=750)
    [row] = (await owner.read("/statements", **NOVEMBER))["rows"]
    assert (row["gross"]["value"], row["refunds"]["value"], row["net"]["value"]) == ("150.00", "150.00", "0.00")


async def test_a_statement_is_of_one_merchant_and_of_a_quarter_at_most(site: Site, owner: Person) -> None:
    manager = site.person("manager")
    refused = await manager.call("GET", "/statements", params=NOVEMBER, expect=422)
    assert refused.json()["field"] == "merchant_id"
    await manager.call("GET", "/statements", params={**NOVEMBER, "merchant_id": str(owner.user_id)})
    await manager.call("GET", "/statements", params={**NOVEMBER, "merchant_id": str(uuid4())}, expect=404)
    year = {"date_from": "2026-01-01", "date_to": "2026-12-31"}
    assert (await owner.call("GET", "/statements", params=year, expect=422)).json()["field"] == "date_to"
    backwards = {"date_from": "2026-11-02", "date_to": "2026-11-01"}
    assert (await owner.call("GET", "/statements", params=backwards, expect=422)).json()["field"] == "date_to"
    await owner.call("GET", "/statements", params={**NOVEMBER, "device_id": "kofe-9"}, expect=404)


async def test_a_balance_is_what_the_books_say(site: Site, owner: Person) -> None:
    path = f"/merchants/{owner.user_id}/balance"
    nothing = await owner.read(path)
    assert (nothing["balance"]["value"], nothing["in_transit"]["payouts"]) == ("0.00", 0)
    account = f"merchant:{owner.user_id}"
    site.sql("INSERT INTO state.accounts VALUES (%s, 'RUB', -1250, 3, true, now())", account)
    seen = await owner.read(path)
    assert (seen["balance"]["value"], seen["payout_source"]) == ("-12.50", account)
    assert seen["payouts_url"] == "/payments/api/v1/payouts"
