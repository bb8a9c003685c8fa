"""Merchants, machines, drinks, orders and incidents for those who walk the OpenAPI documents."""

import secrets
import uuid
from typing import Any

import psycopg

from tests.support.openapi_seeds import Seeds, key

DEVICES = "/devices/api/v1"
CSV = {"Content-Type": "text/csv"}
# A machine that reports nothing of itself is never off: its orders need no machine.
SILENT = "frame-v1-silent"


def merchant(seeds: Seeds, **changes: Any) -> dict[str, Any]:
    """Have the manager make a merchant; returns it."""
    body = {"name": "Coffee by the lake", **changes}
    answer: dict[str, Any] = (
        seeds.people["manager"].call("POST", f"{DEVICES}/merchants", json=body, expect=(201,)).json()
    )
    return answer


def device_body(seeds: Seeds, **changes: Any) -> dict[str, Any]:
    """Return a machine as it is added."""
    code = f"kofe-{secrets.token_hex(6)}"
    return {"id": code, "merchant_id": merchant_id(seeds), "name": "Lobby", "model": SILENT, **changes}


def merchant_id(seeds: Seeds) -> str:
    """Return the merchant that the person of this role is."""
    if "merchant_id" not in seeds.ids:
        seeds.ids["merchant_id"] = merchant(seeds, owner_id=seeds.people["merchant"].user_id)["id"]
    return seeds.ids["merchant_id"]


def device(seeds: Seeds) -> str:
    """Have the manager add a machine; returns its id."""
    body = device_body(seeds)
    seeds.people["manager"].call("POST", f"{DEVICES}/devices", json=body, expect=(201,))
    return str(body["id"])


def drink_body(**changes: Any) -> dict[str, Any]:
    """Return a drink as it is added."""
    price = {"value": "149.00", "currency": "RUB"}
    return {"drink_id": "latte", "size": "medium", "name": "Латте", "price": price, **changes}


def drink(seeds: Seeds) -> dict[str, str]:
    """Have the manager add a drink to a new machine; returns the parts of its path."""
    code = device(seeds)
    seeds.people["manager"].call("POST", f"{DEVICES}/devices/{code}/drinks", json=drink_body(), expect=(201,))
    return {"device_id": code, "drink_id": "latte", "size": "medium"}


def order(seeds: Seeds) -> dict[str, str]:
    """Have somebody order a drink of a new machine; returns the order's id and token, and the machine's id."""
    code = drink(seeds)["device_id"]
    answer = (
        seeds.people["customer"]
        .call(
            "POST",
            f"{DEVICES}/public/devices/{code}/orders",
            json={"drink": "latte", "size": "medium"},
            headers=key(),
            expect=(201,),
        )
        .json()
    )
    return {"order_id": str(answer["order_id"]), "token": str(answer["token"]), "device_id": code}


def incident(seeds: Seeds) -> str:
    """Note an incident; no machine of the sandbox does what leads to one without being made to."""
    made = str(uuid.uuid4())
    with psycopg.connect(seeds.databases["devices"]) as connection:
        connection.execute(
            "INSERT INTO devices.incidents (id, kind, device_id, detail, at) VALUES (%s, %s, %s, '{}', now())",
            (made, "brewed_unpaid", device(seeds)),
        )
    return made


def ids_of(seeds: Seeds) -> dict[str, str]:
    """Make one of each thing, whose ids generated requests then use."""
    bought = order(seeds)
    return {
        "merchant_id": merchant_id(seeds),
        "device_id": bought["device_id"],
        "drink_id": "latte",
        "size": "medium",
        "order_id": bought["order_id"],
        "order_token": bought["token"],
        "incident_id": incident(seeds),
    }
