"""A coffee bought as a person would buy it: the machine's page, its form, a test card, and the cup or the money back.

A plain module, without pytest: `make demo`, `make compose-demo` and the end-to-end tests all walk these steps.
"""

import secrets
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2

from tests.e2e.scenario import (
    APPROVED_CARD,
    Person,
    ScenarioError,
    Site,
    call,
    check_out,
    client,
    eventually,
    manager_of,
    start_payment,
)

PREFIX = "/devices/api/v1"
CURRENCY = "RUB"
MENU = (
    ("espresso", "small", "Эспрессо", "99.00"),
    ("cappuccino", "medium", "Капучино", "159.00"),
    ("cappuccino", "large", "Капучино", "189.00"),
    ("latte", "medium", "Латте", "169.00"),
)
_ENDED_TIMEOUT_S = 90.0
_READY_TIMEOUT_S = 60.0
Tell = Callable[[str, str], None]


@dataclass
class Kiosk:
    """A merchant's machine, sold at and simulated."""

    device: str
    merchant_id: str
    key: str = field(repr=False)
    shop_url: str
    machine_url: str
    """The page of the virtual machine: what a real one would show."""

    @property
    def page_url(self) -> str:
        """What the printed QR code says."""
        return f"{self.shop_url}/m/{self.device}"


@dataclass
class Order:
    """An order that somebody has made, and the token that makes it theirs."""

    id: str
    invoice_id: str
    token: str = field(repr=False)


@dataclass
class Cup:
    """What one run of the scenario has made."""

    order: Order
    status: dict[str, Any]
    poured: int
    transaction_id: int


class _Form(HTMLParser):
    """Reads a page's forms as a browser without scripts would fill them."""

    def __init__(self) -> None:
        super().__init__()
        self.action = ""
        self.fields: dict[str, str] = {}
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect what the form of an order would send."""
        values = {name: value or "" for name, value in attrs}
        if tag == "form" and values.get("id") == "order":
            self.action, self._inside = values["action"], True
        elif tag == "input" and self._inside and "name" in values:
            self.fields[values["name"]] = values.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        """Leave the form."""
        if tag == "form":
            self._inside = False


def machines_of(site: Site) -> httpx2.Client:
    """Return a client of the virtual machines' own controls."""
    return client(site.machines_url)


def set_up_kiosk(site: Site, device: str | None = None, *, merchant: Mapping[str, Any] | None = None) -> Kiosk:
    """Have the manager make a merchant, a machine and its drinks, and switch the virtual machine on.

    A machine of this name that is there already gets a new key and a new password, and keeps its drinks.
    """
    device = device or f"kiosk-{secrets.token_hex(4)}"
    manager = manager_of(site)
    made = _make_device(manager, device, {"name": "Кофе у озера", "commission_bps": 500, **(merchant or {})})
    for drink, size, name, price in MENU:
        body = {"drink_id": drink, "size": size, "name": name, "price": money(price), "fiscal": {"vat_code": 1}}
        manager.call("POST", f"{PREFIX}/devices/{device}/drinks", json=body, expect=(201, 409))
    account = manager.call("POST", f"{PREFIX}/devices/{device}/broker-account", expect=(201,)).json()
    manager.http.close()
    kiosk = Kiosk(
        device, made["merchant_id"], made["link_key"], site.public_url, f"{site.machines_url}/machines/{device}"
    )
    switch_on(site, kiosk, account)
    return kiosk


def _make_device(manager: Person, device: str, merchant: Mapping[str, Any]) -> dict[str, Any]:
    """Return a machine with its key: a new one of a new merchant, or one that is there with a new key."""
    path = f"{PREFIX}/devices/{device}"
    there = manager.call("GET", path, expect=(200, 404))
    if there.status_code == 200:
        key = manager.call("POST", f"{path}/link-key", headers={"If-Match": there.headers["ETag"]}).json()
        return {**there.json(), "link_key": key["link_key"]}
    owner = manager.call("POST", f"{PREFIX}/merchants", json=dict(merchant), expect=(201,)).json()
    body = {
        "id": device, "merchant_id": owner["id"], "name": "Автомат у входа", "location": "Москва, ВДНХ",
        "model": "mqtt-v1",
    }  # fmt: skip
    made: dict[str, Any] = manager.call("POST", f"{PREFIX}/devices", json=body, expect=(201,)).json()
    return made


def switch_on(site: Site, kiosk: Kiosk, account: Mapping[str, str]) -> None:
    """Give a virtual machine its key and its account, and wait until it sells."""
    config = {
        "device": kiosk.device,
        "name": "Автомат у входа",
        "key": kiosk.key,
        "username": account["username"],
        "password": account["password"],
        "menu": [
            {"drink": drink, "size": size, "name": name, "price_minor": _minor(price)}
            for drink, size, name, price in MENU
        ],
    }
    with machines_of(site) as machines:
        call(machines, "PUT", f"/control/machines/{kiosk.device}", json=config)
    wait_for_state(site, kiosk, "ready")


def wait_for_state(site: Site, kiosk: Kiosk, *states: str) -> None:
    """Wait until buyers see a machine in one of these states."""

    def ask() -> str | None:
        with client(site.public_url) as visitor:
            found = call(visitor, "GET", f"{PREFIX}/public/devices/{kiosk.device}").json()["state"]
        return str(found) if found in states else None

    eventually(ask, f"machine {kiosk.device} is {' or '.join(states)}", timeout_s=_READY_TIMEOUT_S)


def switch(site: Site, kiosk: Kiosk, **changes: Any) -> None:
    """Turn a virtual machine's switches."""
    with machines_of(site) as machines:
        call(machines, "PATCH", f"/control/machines/{kiosk.device}", json=changes)


def arm(site: Site, kiosk: Kiosk, fault: str, count: int = 1) -> None:
    """Have a machine's next command meet a fault."""
    with machines_of(site) as machines:
        body = {"switch": fault, "device": kiosk.device, "count": count}
        call(machines, "POST", "/control/chaos/once", json=body)


def choose(site: Site, kiosk: Kiosk, drink: str, size: str, ts_offset_s: int = 0) -> str:
    """Press a drink's button on the machine; return the path of the signed link that it shows."""
    with machines_of(site) as machines:
        body = {"drink": drink, "size": size, "ts_offset_s": ts_offset_s}
        url = call(machines, "POST", f"/control/machines/{kiosk.device}/choose", json=body).json()["url"]
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


def order(
    http: httpx2.Client, kiosk: Kiosk, drink: str = "cappuccino", size: str = "medium", *, contact: str = "",
    path: str = "",
) -> Order:  # fmt: skip
    """Make an order on the machine's page, or on that of a signed link, as a browser without scripts does."""
    call(http, "GET", f"/m/{kiosk.device}?lang=en")
    page = call(http, "GET", path or f"/m/{kiosk.device}/order?drink={drink}&size={size}")
    form = _Form()
    form.feed(page.text)
    if not form.action:
        raise ScenarioError(f"the page of the order has no form: {page.text[:800]}")
    answer = call(http, "POST", form.action, data=form.fields | {"contact": contact}, expect=(303,))
    return _order_of(http, answer.headers["Location"])


def _order_of(http: httpx2.Client, location: str) -> Order:
    """Read the order out of where the form leads: the pay page, or the order's page when the invoice is late."""
    parts = urlsplit(location)
    if not parts.path.startswith("/pay/"):
        path = f"{parts.path}/status?{parts.query}"
        found = eventually(lambda: call(http, "GET", path).json()["pay_path"], f"the order at {parts.path} can be paid")
        parts = urlsplit(found)
    back = urlsplit(parse_qs(parts.query)["back"][0])
    return Order(back.path.rsplit("/", 1)[-1], parts.path.rsplit("/", 1)[-1], parse_qs(back.query)["k"][0])


def status(http: httpx2.Client, made: Order) -> dict[str, Any]:
    """Return what the order's page shows now."""
    found: dict[str, Any] = call(http, "GET", f"/m/orders/{made.id}/status?k={made.token}&lang=en").json()
    return found


def pay(site: Site, http: httpx2.Client, made: Order, card: str = APPROVED_CARD) -> int:
    """Open the pay page and pay there; return the provider's transaction."""
    call(http, "GET", f"/pay/{made.invoice_id}?lang=en")
    started = start_payment(Person(http, "", ""), made.invoice_id)
    return check_out(site, started["widget"], card)


def ended(http: httpx2.Client, made: Order, *stages: str) -> dict[str, Any]:
    """Wait for the end of an order as its page shows it: any end, or one of these."""

    def ask() -> dict[str, Any] | None:
        found = status(http, made)
        return found if (found["stage"] in stages if stages else found["final"]) else None

    return eventually(ask, f"order {made.id} has come to {stages or 'its end'}", timeout_s=_ENDED_TIMEOUT_S)


def poured(site: Site, made: Order) -> int:
    """Return how many cups the machine's own log has of an order: the ground truth."""
    with machines_of(site) as machines:
        log = call(machines, "GET", "/control/log", params={"order_id": made.id, "event": "brew.poured"})
    return len(log.json()["items"])


def refunded(site: Site, made: Order) -> list[int]:
    """Return the amounts, in kopecks, that the provider's own log says went back for an order."""
    with client(site.emulator_url) as provider:
        log = call(provider, "GET", "/sandbox/log", params={"invoice_id": made.invoice_id, "event": "payment.refunded"})
    return [entry["amount_minor"] for entry in log.json()["items"]]


def mails(site: Site, address: str) -> list[str]:
    """Return the subjects of what was e-mailed to an address."""
    with machines_of(site) as machines:
        return [
            mail["subject"] for mail in call(machines, "GET", "/control/mails", params={"to": address}).json()["items"]
        ]


def money(value: str) -> dict[str, str]:
    """Return an amount as the API takes it."""
    return {"value": value, "currency": CURRENCY}


def keyed() -> dict[str, str]:
    """Return the headers of a request that must have one effect."""
    return {"Idempotency-Key": str(uuid.uuid4())}


def _minor(value: str) -> int:
    roubles, _, kopecks = value.partition(".")
    return int(roubles) * 100 + int(kopecks)


def buy(
    site: Site, kiosk: Kiosk, drink: str = "cappuccino", size: str = "medium", *, contact: str = "", path: str = ""
) -> Cup:
    """Buy one drink, from the machine's page to the end of the order, whatever it is."""
    with client(site.public_url) as http:
        made = order(http, kiosk, drink, size, contact=contact, path=path)
        transaction = pay(site, http, made)
        found = ended(http, made)
    return Cup(made, found, poured(site, made), transaction)


def sell_coffee(site: Site, tell: Tell = lambda _name, _text: None) -> tuple[Cup, Cup]:
    """Sell one cup that is brewed, and one whose brew fails, so that the money goes back by itself."""
    kiosk = set_up_kiosk(site)
    with machines_of(site) as machines:
        # Nobody drinks it: a second is enough.
        call(machines, "PATCH", f"/control/machines/{kiosk.device}", json={"brew_ms": 1000})
    tell("merchant", f"machine {kiosk.device} is switched on and sells at {kiosk.page_url}")
    address = f"buyer-{secrets.token_hex(4)}@example.org"
    good = buy(site, kiosk, contact=address)
    tell("buyer", f"chose a cappuccino on the machine's page and paid by a test card: {good.status['title']}")
    if (good.status["stage"], good.poured) != ("ready", 1):
        raise ScenarioError(f"the cup was not made once: {good}")
    eventually(lambda: mails(site, address) or None, f"a receipt was e-mailed to {address}", timeout_s=_READY_TIMEOUT_S)
    tell("buyer", f"got the receipt: {mails(site, address)[0]}")
    arm(site, kiosk, "failed_brew")
    bad = buy(site, kiosk, "espresso", "small")
    tell("buyer", f"paid for an espresso that the machine could not make: {bad.status['title']}")
    if (bad.status["stage"], bad.poured, len(refunded(site, bad.order))) != ("refunded", 0, 1):
        raise ScenarioError(f"the money did not go back once: {bad}")
    return good, bad
