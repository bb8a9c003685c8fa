"""Thousands of machines at once: rows by SQL, accounts in the broker's own file, virtual machines in one process."""

import base64
import hashlib
import json
import secrets
from pathlib import Path
from typing import Any

import httpx2
import psycopg

from deploy.devstack.stack import Stack
from device_bridge.domain.keys import device_key
from device_bridge.drivers.accounts import rights_of, username_of
from tests.coffee.machines import MENU
from tests.e2e.coffee_scenario import PREFIX
from tests.e2e.scenario import Site, eventually, manager_of

_CONNECT_TIMEOUT_S = 240.0
_PBKDF2 = ("sha512", 101, 64)
_DEVICES = """
INSERT INTO devices.devices (id, merchant_id, name, location, time_zone, model, driver, payment_scenario, texts,
    selling, failures_in_row, price_rule, key_number, version, created_at, updated_at)
SELECT id, %s, id, '', 'Europe/Moscow', 'mqtt-v1', '{}', 'widget', '{}', true, 0, 'catalogue', 1, 1, now(), now()
FROM unnest(%s::text[]) AS id
"""
_DRINKS = """
INSERT INTO devices.drinks (device_id, drink_id, size, name, price_minor, available, sold_out, version, updated_at)
SELECT id, %s, %s, %s, %s, true, false, 1, now() FROM unnest(%s::text[]) AS id
"""


def set_up(stack: Stack, site: Site, count: int, **merchant: Any) -> list[str]:
    """Make `count` machines, and wait until all of them are connected and known to be ready; return their names."""
    names = [f"fleet-{number:05d}" for number in range(1, count + 1)]
    state = stack.state()
    manager = manager_of(site)
    terms = {"name": "Fleet", **merchant}
    merchant_id = manager.call("POST", f"{PREFIX}/merchants", json=terms, expect=(201,)).json()["id"]
    manager.http.close()
    with psycopg.connect(state["databases"]["postgres"], autocommit=True) as database:
        database.execute(_DEVICES, (merchant_id, names))
        for drink, size, name, minor in MENU:
            database.execute(_DRINKS, (drink, size, name, minor, names))
        database.execute("ANALYZE devices.devices, devices.drinks")
    passwords = {name: secrets.token_urlsafe(12) for name in names}
    _let_in(stack, passwords)
    secret = state["environment"]["device-bridge"]["COPECK_DEVICE_SECRET"]
    menu = [{"drink": drink, "size": size, "price_minor": minor} for drink, size, _, minor in MENU]
    configs = [
        {
            "device": name, "key": device_key(secret, name, 1).hex(), "username": username_of(name),
            "password": passwords[name], "menu": menu,
        }
        for name in names
    ]  # fmt: skip
    with httpx2.Client(base_url=site.machines_url, timeout=120, trust_env=False) as fleet:
        fleet.post("/control/machines", json={"machines": configs}).raise_for_status()
        eventually(
            lambda: fleet.get("/healthz").json()["online"] >= count or None,
            f"{count} machines are connected",
            timeout_s=_CONNECT_TIMEOUT_S,
        )
    with psycopg.connect(state["databases"]["postgres"], autocommit=True) as database:
        eventually(
            lambda: ready(database) >= count or None, f"{count} machines are ready", timeout_s=_CONNECT_TIMEOUT_S
        )
    return names


def ready(database: "psycopg.Connection[tuple[Any, ...]]") -> int:
    """Return how many machines have said that they are there, and beat."""
    row = database.execute(
        "SELECT count(*) FROM devices.device_states WHERE online AND heartbeat_at > now() - interval '60 seconds'"
    ).fetchone()
    return int(row[0]) if row else 0


def _let_in(stack: Stack, passwords: dict[str, str]) -> None:
    """Write the machines' accounts into the broker's file, as the broker itself would one after the other."""
    broker = stack.infra.processes["mosquitto"]
    configuration = Path(broker.spec.command[-1])
    broker.stop()
    file = configuration.with_name("accounts.json")
    document = json.loads(file.read_text(encoding="utf-8"))
    for device, password in passwords.items():
        name = username_of(device)
        document["roles"].append({"rolename": name, "acls": rights_of(device)})
        document["clients"].append(
            {"username": name, "clientid": name, "roles": [{"rolename": name}], **_hashed(password)}
        )
    file.write_text(json.dumps(document), encoding="utf-8")
    broker.start_and_wait()


def _hashed(password: str) -> dict[str, Any]:
    kind, iterations, length = _PBKDF2
    salt = secrets.token_bytes(12)
    hashed = hashlib.pbkdf2_hmac(kind, password.encode(), salt, iterations, length)
    return {
        "password": base64.b64encode(hashed).decode(), "salt": base64.b64encode(salt).decode(),
        "iterations": iterations,
    }  # fmt: skip
