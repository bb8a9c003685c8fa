"""Each defect of the coffee service that this replaces, by its old behaviour: none of them comes back.

The list is that of the system's own history: a second webhook made a second drink, an order paid after its time was
answered 400 though the money was taken, a drink that was not made was never refunded, webhooks were believed without a
look at who sent them, a price of nothing became 50 roubles, links were not signed, and `successful` was set without a
word of the machine. What concerns the APIs of particular banks is tested with those.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2
import pytest
from pydantic import SecretStr

from copeck.testkit.waiting import never_sync
from device_bridge.settings import DevicesSettings
from payments_gateway.providers.cloudpayments.webhook import decoded, signature
from payments_gateway.settings import GatewaySettings
from tests.e2e.coffee_scenario import (
    PREFIX,
    Kiosk,
    Order,
    arm,
    buy,
    choose,
    ended,
    keyed,
    machines_of,
    money,
    order,
    pay,
    poured,
    refunded,
    set_up_kiosk,
    status,
    switch,
)
from tests.e2e.scenario import Person, Site, call, client, eventually

_QUIET_S = 2.0
# As a browser asks: refusals are pages then.
_BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture(scope="module")
def kiosk(site: Site) -> Kiosk:
    return set_up_kiosk(site)


@pytest.fixture
def buyer(site: Site) -> Iterator[httpx2.Client]:
    with client(site.public_url) as http:
        yield http


@dataclass
class Begun:
    """Orders that take their time: made before the first test, and looked at by the last ones."""

    overdue: Order
    """Paid at the provider, which has not said so yet."""
    transaction: int
    unanswered: Order
    """Paid, and its machine hangs before it hears of it."""
    hung: Kiosk


@pytest.fixture(scope="module", autouse=True)
def begun(site: Site) -> Begun:
    slow, hung = set_up_kiosk(site, merchant={"order_ttl_s": 60}), set_up_kiosk(site, merchant={"brew_timeout_s": 15})
    with client(site.public_url) as http:
        overdue = order(http, slow)
        with client(site.emulator_url) as provider:
            body = {"switch": "drop", "operation": "pay", "invoice_id": overdue.invoice_id, "count": 100}
            call(provider, "POST", "/sandbox/chaos/once", json=body)
        transaction = pay(site, http, overdue)
        unanswered = order(http, hung)
        with machines_of(site) as machines:
            body = {"for_ms": 600_000, "stale": True}
            call(machines, "POST", f"/control/machines/{hung.device}/offline", json=body)
        pay(site, http, unanswered)
    return Begun(overdue, transaction, unanswered, hung)


def callback(
    site: Site, shop: dict[str, str], made: Order, transaction: int, amount: str, secret: str | None = None
) -> httpx2.Response:
    """Tell the gateway, as the provider does, that an order was paid."""
    fields = {
        "TransactionId": transaction, "Amount": amount, "Currency": "RUB", "PaymentAmount": amount,
        "PaymentCurrency": "RUB", "DateTime": "2026-11-30 10:00:00", "CardFirstSix": "400000", "CardLastFour": "3055",
        "CardType": "Visa", "CardExpDate": "12/49", "TestMode": 1, "OperationType": "Payment", "Status": "Completed",
        "GatewayName": "Sandbox", "InvoiceId": made.invoice_id, "AccountId": f"order:{made.id}",
    }  # fmt: skip
    body = urlencode(fields).encode()
    key = shop["api_secret"] if secret is None else secret
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "Content-HMAC": signature(key, body),
        "X-Content-HMAC": signature(key, decoded(body)),
    }
    with client(site.public_url) as provider:
        return provider.post("/payments/api/v1/paid/cloudpayments/main/pay", content=body, headers=headers)


def commands(site: Site, made: Order) -> list[str]:
    """Return the brew commands that a machine heard of an order, repeats left out."""
    with machines_of(site) as machines:
        items = call(machines, "GET", "/control/log", params={"order_id": made.id}).json()["items"]
    return sorted({item["command_id"] for item in items if item["command_id"]})


@pytest.mark.covers("defect: a second webhook makes a second drink")
def test_a_webhook_that_comes_again_makes_no_second_drink(
    site: Site, kiosk: Kiosk, buyer: httpx2.Client, state: dict[str, Any]
) -> None:
    made = order(buyer, kiosk)
    with client(site.emulator_url) as provider:
        body = {"switch": "duplicate", "operation": "pay", "invoice_id": made.invoice_id, "count": 5}
        call(provider, "POST", "/sandbox/chaos/once", json=body)
    transaction = pay(site, buyer, made)
    for _ in range(3):
        assert callback(site, state["shop"], made, transaction, "159.00").json() == {"code": 0}
    assert ended(buyer, made)["stage"] == "ready"
    assert callback(site, state["shop"], made, transaction, "159.00").json() == {"code": 0}
    never_sync(lambda: poured(site, made) > 1, for_s=_QUIET_S)
    assert len(commands(site, made)) == 1
    assert refunded(site, made) == []


@pytest.mark.covers("defect: a drink that was not made is not refunded")
def test_a_drink_that_was_not_made_is_refunded_whatever_the_machine_says_of_it(site: Site) -> None:
    kiosk = set_up_kiosk(site)
    for fault, reason in (("failed_brew", "brew_failed"), ("refused", "machine_rejected")):
        arm(site, kiosk, fault)
        cup = buy(site, kiosk, "espresso", "small")
        assert (cup.status["status"], cup.status["reason"], cup.status["stage"]) == ("failed", reason, "refunded")
        assert (cup.poured, refunded(site, cup.order)) == (0, [9900])


@pytest.mark.covers("defect: a forged webhook brews")
@pytest.mark.parametrize("forged_with", ["another secret", ""])
def test_a_forged_webhook_brews_nothing(
    site: Site, kiosk: Kiosk, buyer: httpx2.Client, state: dict[str, Any], forged_with: str
) -> None:
    made = order(buyer, kiosk)
    forged = callback(site, state["shop"], made, 77, "159.00", secret=forged_with)
    assert forged.status_code == 403
    never_sync(lambda: status(buyer, made)["status"] != "pending", for_s=_QUIET_S)
    assert commands(site, made) == []
    # It is still there to be paid, and then is brewed.
    pay(site, buyer, made)
    assert ended(buyer, made)["stage"] == "ready"


def test_who_signs_for_one_order_cannot_pay_for_less(
    site: Site, kiosk: Kiosk, buyer: httpx2.Client, state: dict[str, Any]
) -> None:
    made = order(buyer, kiosk)
    callback(site, state["shop"], made, 78_000_000 + int(time.time()) % 1_000_000, "1.00")
    never_sync(lambda: poured(site, made) > 0, for_s=_QUIET_S)
    assert status(buyer, made)["status"] not in ("paid", "make_pending", "successful")


@pytest.mark.covers("defect: a price of nothing becomes 50 roubles")
def test_without_a_price_there_is_no_sale_and_no_price_is_invented(
    site: Site, buyer: httpx2.Client, manager: Person
) -> None:
    kiosk = set_up_kiosk(site)
    path = f"{PREFIX}/devices/{kiosk.device}"
    bare = {"drink_id": "raf", "size": "medium", "name": "Раф", "price": None}
    manager.call("POST", f"{path}/drinks", json=bare, expect=(201,))
    free = bare | {"drink_id": "water", "price": money("0.00")}
    assert manager.call("POST", f"{path}/drinks", json=free, expect=(422,)).json()["field"]
    menu = {
        line["drink"]: line for line in call(buyer, "GET", f"{PREFIX}/public/devices/{kiosk.device}").json()["drinks"]
    }
    assert (menu["raf"]["price"], menu["raf"]["refusal"]) == (None, "price-unknown")
    assert "water" not in menu
    path, body = f"{PREFIX}/public/devices/{kiosk.device}/orders", {"drink": "raf", "size": "medium"}
    refused = call(buyer, "POST", path, json=body, headers=keyed(), expect=(409,))
    assert refused.json()["type"] == "urn:copeck:problem:price-unknown"
    path = f"/m/{kiosk.device}/order?drink=raf&size=medium&lang=en"
    page = call(buyer, "GET", path, headers=_BROWSER, expect=(409,))
    assert "50" not in page.text.split("<main", 1)[-1].split("</main", 1)[0]


@pytest.mark.covers("defect: a price of nothing becomes 50 roubles")
def test_a_price_of_nothing_from_the_machine_is_no_price(
    site: Site, buyer: httpx2.Client, manager: Person, state: dict[str, Any]
) -> None:
    kiosk = set_up_kiosk(site)
    path = f"{PREFIX}/devices/{kiosk.device}"
    seen = manager.call("GET", path)
    change = {"price_rule": "telemetry"}
    manager.call("PATCH", path, json=change, headers={"If-Match": seen.headers["ETag"]})
    account = manager.call("POST", f"{path}/broker-account", expect=(201,)).json()
    config = {
        "device": kiosk.device, "key": kiosk.key, "username": account["username"], "password": account["password"],
        "shows_prices": True,
        "menu": [
            {"drink": "espresso", "size": "small", "name": "Эспрессо", "price_minor": 0},
            {"drink": "latte", "size": "medium", "name": "Латте", "price_minor": 17500},
        ],
    }  # fmt: skip
    with machines_of(site) as machines:
        call(machines, "PUT", f"/control/machines/{kiosk.device}", json=config)

    def menu() -> dict[tuple[str, str], Any] | None:
        answer = call(buyer, "GET", f"{PREFIX}/public/devices/{kiosk.device}").json()
        found = {(line["drink"], line["size"]): line for line in answer["drinks"]}
        return found if found["latte", "medium"]["price"] == money("175.00") else None

    lines = eventually(menu, "the machine's own prices are known")
    assert lines["espresso", "small"]["price"] is None
    assert lines["espresso", "small"]["refusal"] == "price-unknown"
    # Our catalogue has a price for it, and the rule says that only the machine's counts.
    assert lines["cappuccino", "large"]["price"] is None


def _changed(path: str, **changes: str | None) -> str:
    """Return a link's path with some of its words replaced, or left out."""
    parts = urlsplit(path)
    words = {**dict(parse_qsl(parts.query)), **changes}
    return f"{parts.path}?{urlencode({name: word for name, word in words.items() if word is not None})}"


@pytest.mark.covers("defect: a link that nobody signed is taken")
def test_a_link_that_the_machine_did_not_sign_is_refused_in_plain_words(
    site: Site, kiosk: Kiosk, buyer: httpx2.Client
) -> None:
    signed = choose(site, kiosk, "espresso", "small")
    other = set_up_kiosk(site)
    forged = {
        "another drink": _changed(signed, drink="cappuccino", size="large"),
        "another order": _changed(signed, order="another-order-1"),
        "no signature": _changed(signed, sig=None),
        "another signature": _changed(signed, sig="0" * 64),
        "another time": _changed(signed, ts=str(int(time.time()) + 1)),
        "another machine": signed.replace(kiosk.device, other.device),
    }
    for what, path in forged.items():
        page = buyer.get(f"{path}&lang=en", headers=_BROWSER)
        assert page.status_code in (403, 409, 410, 422), f"{what}: {page.status_code}"
        assert 'id="order"' not in page.text, what
        assert "text/html" in page.headers["content-type"], what
    stale = buyer.get(f"{choose(site, kiosk, 'espresso', 'small', ts_offset_s=-3600)}&lang=en", headers=_BROWSER)
    assert stale.status_code == 410
    # The same link, whole, is good: once, and for whoever was first.
    made = order(buyer, kiosk, path=signed)
    with client(site.public_url) as thief:
        replayed = thief.get(f"{signed}&lang=en", headers=_BROWSER)
        assert replayed.status_code == 409
        assert made.id not in replayed.text
    again = buyer.get(signed)
    assert (again.status_code, made.id in again.headers["Location"]) == (303, True)


@pytest.mark.covers("defect: an order is successful without a word of the machine")
def test_a_cup_is_ready_when_the_machine_says_so_and_not_before(
    site: Site, buyer: httpx2.Client, manager: Person
) -> None:
    kiosk = set_up_kiosk(site)
    switch(site, kiosk, brew_ms=4000)
    made = order(buyer, kiosk)
    pay(site, buyer, made)
    seen = eventually(
        lambda: found if (found := status(buyer, made))["stage"] in ("accepted", "brewing") else None,
        "the machine has accepted",
    )
    assert (seen["status"], poured(site, made)) == ("make_pending", 0)
    assert ended(buyer, made)["stage"] == "ready"
    shown = manager.call("GET", f"{PREFIX}/orders/{made.id}").json()
    last = shown["history"][-1]
    assert (last["status"], last["event"], last["actor"]) == ("successful", "brew_done", f"machine:{kiosk.device}")
    assert [report["state"] for report in shown["command"]["reports"]][-1] == "done"
    assert poured(site, made) == 1


@pytest.mark.covers("defect: a secret has a default")
def test_no_secret_has_a_default() -> None:
    """The replaced service had its secrets in the repository; here a service without one does not start."""
    bare = DevicesSettings(device_secret=SecretStr(""))
    with pytest.raises(ValueError, match="COPECK_DEVICE_SECRET"):
        bare.secret()
    assert DevicesSettings.model_fields["device_secret"].default.get_secret_value() == ""
    assert GatewaySettings.model_fields["merchant_shops_secret"].default.get_secret_value() == ""
    assert GatewaySettings.model_fields["shops"].default == ()


@pytest.mark.covers("defect: a drink that was not made is not refunded")
def test_a_machine_that_never_answers_costs_the_buyer_nothing(site: Site, buyer: httpx2.Client, begun: Begun) -> None:
    """The replaced service left such an order to a list for somebody to look at, and the money where it was."""
    made = begun.unanswered
    assert ended(buyer, made)["stage"] == "refunded"
    assert refunded(site, made) == [15900]
    with machines_of(site) as machines:
        call(machines, "POST", f"/control/machines/{begun.hung.device}/offline", json={"for_ms": 0})
    never_sync(lambda: poured(site, made) > 0, for_s=_QUIET_S)


@pytest.mark.covers("defect: what is paid after its time is neither brewed nor refunded")
def test_what_is_paid_after_its_time_goes_back_and_is_not_brewed(
    site: Site, buyer: httpx2.Client, state: dict[str, Any], begun: Begun
) -> None:
    made, over = begun.overdue, ("not_paid", "failed")
    eventually(lambda: status(buyer, made)["status"] in over or None, "the order's time is over", timeout_s=90)
    answer = callback(site, state["shop"], made, begun.transaction, "159.00")
    assert (answer.status_code, answer.json()) == (200, {"code": 0}), "money that was taken is not refused"
    assert ended(buyer, made, "late_refunded", "refunded")["refund_status"] == "succeeded"
    assert refunded(site, made) == [15900]
    assert poured(site, made) == 0
    assert commands(site, made) == []
