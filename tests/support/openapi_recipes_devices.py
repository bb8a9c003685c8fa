"""Calls of the API of machines that ought to succeed."""

from tests.support.device_seeds import (
    CSV,
    DEVICES,
    device,
    device_body,
    drink,
    drink_body,
    incident,
    order,
)
from tests.support.openapi_recipes import Call, reading, recipe
from tests.support.openapi_seeds import ANONYMOUS, Seeds, key

MERCHANTS, MACHINES = f"{DEVICES}/merchants", f"{DEVICES}/devices"
MACHINE, DRINK = f"{MACHINES}/{{device_id}}", f"{MACHINES}/{{device_id}}/drinks/{{drink_id}}/{{size}}"
PUBLIC = f"{DEVICES}/public"
DAYS = {"date_from": "2026-11-01", "date_to": "2026-11-30"}
STOPPED = {"reason": "the boiler is being cleaned"}

reading(MERCHANTS, "manager", search="lake", limit="2")
reading(f"{MERCHANTS}/{{merchant_id}}", "merchant", "merchant_id")
reading(f"{MERCHANTS}/{{merchant_id}}/balance", "merchant", "merchant_id")
reading(MACHINES, "operator", search="kofe", selling="true", limit="2")
reading(f"{DEVICES}/devices.csv", "merchant")
reading(MACHINE, "manager", "device_id")
reading(f"{MACHINE}/drinks", "merchant", "device_id")
reading(f"{DEVICES}/orders", "manager", status="pending", limit="2")
reading(f"{DEVICES}/orders.csv", "merchant")
reading(f"{DEVICES}/orders/{{order_id}}", "operator", "order_id")
reading(f"{DEVICES}/incidents", "manager", limit="2")
reading(f"{DEVICES}/incidents/{{incident_id}}", "manager", "incident_id")
reading(f"{DEVICES}/statements", "merchant", **DAYS)
reading(f"{DEVICES}/statements.csv", "merchant", **DAYS)
reading(f"{PUBLIC}/devices/{{device_id}}", ANONYMOUS, "device_id")


def _tagged(seeds: Seeds, path: dict[str, str], template: str) -> dict[str, str]:
    return seeds.tag(template.format(**path))


@recipe("POST", MERCHANTS)
def _merchant(_: Seeds) -> Call:
    details = {"bank_account": "40702810900000012345", "bic": "044525225", "inn": "7707083893"}
    return Call("manager", body={"name": "Coffee by the lake", "commission_bps": 300, "payout_details": details})


@recipe("PATCH", f"{MERCHANTS}/{{merchant_id}}")
def _change_merchant(seeds: Seeds) -> Call:
    path = {"merchant_id": seeds.ids["merchant_id"]}
    headers = _tagged(seeds, path, f"{MERCHANTS}/{{merchant_id}}")
    return Call("manager", path, headers=headers, body={"brew_timeout_s": 120})


@recipe("POST", MACHINES)
def _add(seeds: Seeds) -> Call:
    texts = {"off": {"ru": "Мы спим", "en": "We sleep"}}
    return Call(
        "merchant", body=device_body(seeds, merchant_id=None, model="mqtt-v1", time_zone="Asia/Omsk", texts=texts)
    )


@recipe("PATCH", MACHINE)
def _change(seeds: Seeds) -> Call:
    path = {"device_id": device(seeds)}
    return Call("merchant", path, headers=_tagged(seeds, path, MACHINE), body={"location": "Second floor"})


@recipe("DELETE", MACHINE)
def _delete(seeds: Seeds) -> Call:
    path = {"device_id": device(seeds)}
    return Call("merchant", path, headers=_tagged(seeds, path, MACHINE))


@recipe("POST", f"{MACHINE}/stop")
def _stop(seeds: Seeds) -> Call:
    return Call("merchant", {"device_id": device(seeds)}, body=STOPPED)


@recipe("POST", f"{MACHINE}/start")
def _start(seeds: Seeds) -> Call:
    return Call("manager", {"device_id": device(seeds)})


@recipe("POST", f"{MACHINE}/link-key")
def _key(seeds: Seeds) -> Call:
    path = {"device_id": device(seeds)}
    return Call("manager", path, headers=_tagged(seeds, path, MACHINE))


@recipe("POST", f"{MACHINE}/broker-account")
def _account(seeds: Seeds) -> Call:
    return Call("merchant", {"device_id": device(seeds)})


@recipe("POST", f"{MACHINE}/broker-account/rotate")
def _rotate(seeds: Seeds) -> Call:
    return Call("manager", {"device_id": device(seeds)})


@recipe("DELETE", f"{MACHINE}/broker-account")
def _revoke(seeds: Seeds) -> Call:
    return Call("manager", {"device_id": device(seeds)})


@recipe("POST", f"{MACHINES}/import")
def _import_devices(seeds: Seeds) -> Call:
    code = device_body(seeds)["id"]
    raw = f"id,name,location,time_zone,model\n{code},Lobby,First floor,Europe/Moscow,mqtt-v1\n".encode()
    return Call("merchant", headers=dict(CSV), raw=raw)


@recipe("POST", f"{MACHINE}/drinks")
def _add_drink(seeds: Seeds) -> Call:
    return Call("merchant", {"device_id": device(seeds)}, body=drink_body(fiscal={"vat_code": 1}))


@recipe("GET", DRINK)
def _drink(seeds: Seeds) -> Call:
    return Call("operator", drink(seeds))


@recipe("PATCH", DRINK)
def _change_drink(seeds: Seeds) -> Call:
    path = drink(seeds)
    price = {"value": "159.00", "currency": "RUB"}
    return Call("merchant", path, headers=_tagged(seeds, path, DRINK), body={"price": price})


@recipe("DELETE", DRINK)
def _delete_drink(seeds: Seeds) -> Call:
    return Call("manager", drink(seeds))


@recipe("POST", f"{MACHINE}/drinks/{{drink_id}}/stop")
def _stop_drink(seeds: Seeds) -> Call:
    path = drink(seeds)
    return Call("merchant", {name: path[name] for name in ("device_id", "drink_id")}, body=STOPPED)


@recipe("POST", f"{MACHINE}/drinks/{{drink_id}}/start")
def _start_drink(seeds: Seeds) -> Call:
    path = drink(seeds)
    return Call("merchant", {name: path[name] for name in ("device_id", "drink_id")}, body={"size": "medium"})


@recipe("POST", f"{DEVICES}/drinks/import")
def _import_drinks(seeds: Seeds) -> Call:
    raw = "drink_id,size,name,price\nraf,large,Раф,189.00\n".encode()
    return Call("merchant", query={"device_id": device(seeds)}, headers=dict(CSV), raw=raw)


@recipe("GET", f"{DEVICES}/drinks.csv")
def _export_drinks(seeds: Seeds) -> Call:
    return Call("operator", query={"device_id": seeds.ids["device_id"]})


@recipe("POST", f"{DEVICES}/incidents/{{incident_id}}/close")
def _close(seeds: Seeds) -> Call:
    return Call("manager", {"incident_id": incident(seeds)}, body={"note": "the cup was given away"})


@recipe("POST", f"{PUBLIC}/devices/{{device_id}}/orders")
def _order(seeds: Seeds) -> Call:
    body = {"drink": "latte", "size": "medium", "contact": "anna@example.org", "language": "en"}
    return Call(ANONYMOUS, {"device_id": drink(seeds)["device_id"]}, headers=key(), body=body)


@recipe("GET", f"{PUBLIC}/orders/{{order_id}}")
def _order_status(seeds: Seeds) -> Call:
    return Call(ANONYMOUS, {"order_id": seeds.ids["order_id"]}, query={"k": seeds.ids["order_token"], "lang": "en"})


@recipe("POST", f"{PUBLIC}/orders/{{order_id}}/cancel")
def _cancel_order(seeds: Seeds) -> Call:
    bought = order(seeds)
    return Call(ANONYMOUS, {"order_id": bought["order_id"]}, query={"k": bought["token"]})
