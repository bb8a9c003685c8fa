"""A coffee from the QR code to the cup, or the money back: through nginx, the brokers, the provider and the machine."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from deploy.devstack import demo
from tests.e2e.coffee_scenario import (
    PREFIX,
    Kiosk,
    Order,
    arm,
    buy,
    choose,
    ended,
    money,
    order,
    pay,
    poured,
    refunded,
    sell_coffee,
    set_up_kiosk,
    status,
    switch,
    wait_for_state,
)
from tests.e2e.scenario import Person, Site, call, client

Copeck = Callable[..., Any]


@pytest.fixture(scope="module")
def kiosk(site: Site) -> Kiosk:
    return set_up_kiosk(site)


@pytest.fixture
def buyer(site: Site) -> Iterator[httpx2.Client]:
    """Somebody with a phone, whom nobody knows."""
    with client(site.public_url) as http:
        yield http


def test_a_cup_is_sold_and_one_that_fails_is_refunded_and_the_operator_sees_both(site: Site, copeck: Copeck) -> None:
    told: list[str] = []
    good, bad = sell_coffee(site, lambda _who, text: told.append(text))
    assert "got the receipt" in told[2]
    demo.check(copeck("invoice", "show", good.order.invoice_id), demo.BREWED, demo.SOLD)
    demo.check(copeck("invoice", "show", bad.order.invoice_id), demo.NOT_BREWED, demo.RETURNED)
    assert refunded(site, good.order) == []
    assert refunded(site, bad.order) == [9900]
    copeck("ledger", "verify")
    copeck("replay", "--check")


def test_the_link_that_a_machine_shows_leads_to_its_cup(site: Site, kiosk: Kiosk, manager: Person) -> None:
    cup = buy(site, kiosk, path=choose(site, kiosk, "latte", "medium"))
    assert (cup.status["stage"], cup.poured) == ("ready", 1)
    seen = manager.call("GET", f"{PREFIX}/orders/{cup.order.id}").json()
    assert (seen["drink_id"], seen["size"], seen["price"]) == ("latte", "medium", money("169.00"))
    assert seen["machine_order_id"]


def test_a_page_is_told_of_every_stage_without_asking_again(site: Site, kiosk: Kiosk, buyer: httpx2.Client) -> None:
    made = order(buyer, kiosk)
    stages: list[str] = []
    with client(site.public_url) as phone:
        path = f"/m/orders/{made.id}/events?k={made.token}&lang=en"
        with phone.stream("GET", path, timeout=30) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            for line in answer.iter_lines():
                if not line.startswith("data:"):
                    continue
                seen = json.loads(line.removeprefix("data:"))
                if not stages:
                    pay(site, buyer, made)
                stages.append(seen["stage"])
                if seen["final"]:
                    break
    assert stages[0] == "to_pay"
    assert stages[-1] == "ready"
    assert "brewing" in stages


def test_a_machine_that_is_off_takes_no_money(site: Site, buyer: httpx2.Client) -> None:
    dark = set_up_kiosk(site)
    made = order(buyer, dark)
    switch(site, dark, powered=False)
    wait_for_state(site, dark, "off")
    page = call(buyer, "GET", f"/m/{dark.device}?lang=en", headers={"Accept": "text/html"}, expect=(409,))
    assert "The machine is not connected" in page.text
    body = {"drink": "espresso", "size": "small"}
    path = f"{PREFIX}/public/devices/{dark.device}/orders"
    refused = call(buyer, "POST", path, json=body, headers={"Idempotency-Key": made.id}, expect=(409,))
    assert refused.json()["type"] == "urn:copeck:problem:device-off"


@pytest.mark.covers("stop switch of a machine")
def test_whoever_stops_a_machine_annuls_what_is_not_paid(site: Site, buyer: httpx2.Client, manager: Person) -> None:
    kiosk = set_up_kiosk(site)
    made = order(buyer, kiosk)
    path = f"{PREFIX}/devices/{kiosk.device}"
    manager.call("POST", f"{path}/stop", json={"reason": "the boiler is being cleaned"})
    assert ended(buyer, made)["status"] == "not_paid"
    call(buyer, "GET", f"/m/{kiosk.device}", expect=(409,))
    manager.call("POST", f"{path}/start")
    assert buy(site, kiosk).status["stage"] == "ready"


@pytest.mark.covers("stop by itself after failures")
def test_a_machine_stops_selling_by_itself_after_failures_in_a_row(site: Site, manager: Person) -> None:
    kiosk = set_up_kiosk(site, merchant={"failures_max": 2})
    arm(site, kiosk, "failed_brew", count=2)
    for _ in range(2):
        assert buy(site, kiosk).status["stage"] == "refunded"
    seen = manager.call("GET", f"{PREFIX}/devices/{kiosk.device}").json()
    assert (seen["selling"], seen["failures_in_row"], seen["stopped_by"]) == (False, 2, "service:device-bridge")
    assert seen["stopped_reason"]


@pytest.mark.covers("statement per day and machine")
def test_what_a_merchant_is_owed_is_in_its_statement(site: Site, manager: Person) -> None:
    kiosk = set_up_kiosk(site)
    buy(site, kiosk)
    arm(site, kiosk, "failed_brew")
    buy(site, kiosk, "espresso", "small")
    balance = manager.call("GET", f"{PREFIX}/merchants/{kiosk.merchant_id}/balance").json()
    # 159.00 less 5 %; what was returned takes its commission back with it.
    assert balance["balance"] == money("151.05")
    today = datetime.now(UTC).date()
    days = {"date_from": str(today - timedelta(days=1)), "date_to": str(today + timedelta(days=1))}
    statement = manager.call("GET", f"{PREFIX}/statements", params={"merchant_id": kiosk.merchant_id, **days}).json()
    # By the machine's clock it may have become another day between the two cups.
    row = statement["total"]
    assert {line["device_id"] for line in statement["rows"]} == {kiosk.device}
    assert (row["gross"], row["refunds"], row["commission"]) == (money("258.00"), money("99.00"), money("7.95"))
    assert row["net"] == money("151.05")


# A merchant's own shop


@pytest.fixture(scope="module")
def own_kiosk(site: Site, state: dict[str, Any]) -> Kiosk:
    """A machine of a merchant whose buyers pay at a terminal of its own."""
    from tests.e2e.scenario import manager_of

    kiosk = set_up_kiosk(site, merchant={"mode": "own_shop", "commission_bps": 1000})
    manager = manager_of(site)
    shop = manager.call(
        "PUT", f"/payments/api/v1/merchants/{kiosk.merchant_id}/shop", json=state["own_shop"], expect=(200,)
    ).json()
    manager.http.close()
    keys = (state["own_shop"]["public_id"], state["own_shop"]["api_secret"])
    with client(site.emulator_url) as cabinet:
        for kind, url in shop["notification_urls"].items():
            address = {"IsEnabled": True, "Address": url, "HttpMethod": "POST"}
            told = call(cabinet, "POST", f"/site/notifications/{kind}/update", json=address, auth=keys)
            assert told.json()["Success"], told.text
    return kiosk


def _charged_at(site: Site, made: Order) -> set[str]:
    """Return whose terminals the provider's log says were used for an order."""
    with client(site.emulator_url) as provider:
        log = call(provider, "GET", "/sandbox/log", params={"invoice_id": made.invoice_id}).json()["items"]
    return {entry["public_id"] for entry in log if entry["event"].startswith("payment.")}


def test_a_merchants_own_shop_takes_the_money_and_gives_it_back(
    site: Site, own_kiosk: Kiosk, state: dict[str, Any], copeck: Copeck
) -> None:
    good = buy(site, own_kiosk)
    arm(site, own_kiosk, "failed_brew")
    bad = buy(site, own_kiosk)
    assert (good.status["stage"], bad.status["stage"], good.poured, bad.poured) == ("ready", "refunded", 1, 0)
    terminal = {state["own_shop"]["public_id"]}
    assert _charged_at(site, good.order) == _charged_at(site, bad.order) == terminal
    assert refunded(site, bad.order) == [15900]
    shown = json.dumps(copeck("invoice", "show", good.order.invoice_id))
    assert f"receivable:{own_kiosk.merchant_id}" in shown
    assert "fees:commission" in shown
    copeck("ledger", "verify")


@pytest.mark.covers("defect: a payment goes to another merchant's shop")
def test_two_shops_are_paid_at_the_same_time_and_none_for_the_other(
    site: Site, kiosk: Kiosk, own_kiosk: Kiosk, state: dict[str, Any]
) -> None:
    """The replaced service kept one global configuration, which one merchant's payment took from another's."""
    kiosks = [kiosk, own_kiosk] * 3
    with ThreadPoolExecutor(len(kiosks)) as pool:
        cups = list(pool.map(lambda one: buy(site, one), kiosks))
    for place, cup in zip(kiosks, cups, strict=True):
        shop = state["own_shop"] if place is own_kiosk else state["shop"]
        assert _charged_at(site, cup.order) == {shop["public_id"]}
        assert (cup.status["stage"], cup.poured) == ("ready", 1)


def test_a_merchant_without_its_shop_sells_nothing(site: Site, buyer: httpx2.Client) -> None:
    kiosk = set_up_kiosk(site, merchant={"mode": "own_shop"})
    made = order(buyer, kiosk)
    page = call(buyer, "GET", f"/pay/{made.invoice_id}?lang=en", headers={"Accept": "text/html"}, expect=(409,))
    assert "The seller takes no payments now" in page.text
    assert status(buyer, made)["status"] == "pending"
    assert poured(site, made) == 0
