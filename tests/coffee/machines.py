"""A fleet for the long runs: a merchant, machines with a drink or two, accounts at the broker, virtual machines."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx2

from tests.e2e.coffee_scenario import PREFIX, machines_of, money
from tests.e2e.scenario import Person, Site, call, client, eventually, manager_of

MENU = (("espresso", "small", "Эспрессо", 9_900), ("cappuccino", "medium", "Капучино", 15_900))
_SIDE_BY_SIDE = 4
_READY_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Shops:
    """A merchant, and its machines by name."""

    merchant_id: str
    devices: tuple[str, ...]


def set_up(site: Site, count: int, prefix: str, **merchant: Any) -> Shops:
    """Have the manager make a merchant and `count` machines, switch the virtual ones on, and wait until all sell."""
    manager = manager_of(site)
    terms = {"name": f"Кофе {prefix}", "commission_bps": 500, **merchant}
    merchant_id = str(manager.call("POST", f"{PREFIX}/merchants", json=terms, expect=(201,)).json()["id"])
    names = tuple(f"{prefix}-{number:04d}" for number in range(1, count + 1))
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        configs = list(pool.map(lambda name: _make(manager, merchant_id, name), names))
    manager.http.close()
    with machines_of(site) as machines:
        call(machines, "POST", "/control/machines", json={"machines": configs})
        eventually(
            lambda: call(machines, "GET", "/healthz").json()["online"] >= count or None,
            f"{count} machines are online",
            timeout_s=_READY_TIMEOUT_S,
        )
    with client(site.public_url) as visitor:
        for name in names:
            eventually(partial(_sells, visitor, name), f"{name} sells", timeout_s=_READY_TIMEOUT_S)
    return Shops(merchant_id, names)


def _sells(visitor: httpx2.Client, device: str) -> bool | None:
    refusal = call(visitor, "GET", f"{PREFIX}/public/devices/{device}").json()["refusal"]
    return True if refusal is None else None


def _make(manager: Person, merchant_id: str, device: str) -> dict[str, Any]:
    """Make one machine; return what the virtual one has to know."""
    body = {"id": device, "merchant_id": merchant_id, "name": device, "model": "mqtt-v1"}
    made = manager.call("POST", f"{PREFIX}/devices", json=body, expect=(201,)).json()
    for drink, size, name, minor in MENU:
        line = {"drink_id": drink, "size": size, "name": name, "price": money(amount(minor))}
        manager.call("POST", f"{PREFIX}/devices/{device}/drinks", json=line, expect=(201,))
    account = manager.call("POST", f"{PREFIX}/devices/{device}/broker-account", expect=(201,)).json()
    menu = [{"drink": drink, "size": size, "name": name, "price_minor": minor} for drink, size, name, minor in MENU]
    return {
        "device": device, "name": device, "key": made["link_key"], "username": account["username"],
        "password": account["password"], "menu": menu,
    }  # fmt: skip


def amount(minor: int) -> str:
    """Return an amount of kopecks as roubles with two digits."""
    return f"{minor // 100}.{minor % 100:02d}"
