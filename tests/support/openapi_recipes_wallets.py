"""Calls of the APIs of wallets, their payments, commissions and stop switches that ought to succeed."""

from tests.support.openapi_recipes import PAYMENTS, Call, reading, recipe
from tests.support.openapi_seeds import WAIT, Seeds, key

WALLETS, MINE = f"{PAYMENTS}/wallets", f"{PAYMENTS}/payments"
COMMISSION, SWITCH = f"{PAYMENTS}/commissions/{{currency}}/{{kind}}", f"{PAYMENTS}/switches/{{name}}"
TEN = {"value": "10.00", "currency": "RUB"}
CARD = {"kind": "card_token", "token": "tk_conformance_1"}
RULE = {"currency": "KZT", "kind": "deposit"}
# A switch that stops nothing which others need.
NAME = {"name": "provider:mock"}

reading(WALLETS, "customer")
reading(MINE, "customer", kind="deposit", limit="2")
reading(f"{PAYMENTS}/commissions", "manager")
reading(f"{PAYMENTS}/switches", "operator")


@recipe("POST", WALLETS)
def _open(_: Seeds) -> Call:
    return Call("customer", headers=WAIT, body={"currency": "RUB"})


@recipe("GET", f"{WALLETS}/{{currency}}/transactions")
def _history(_: Seeds) -> Call:
    query = {"search": "commission", "ordering": "at", "from": "2026-01-01", "limit": "2"}
    return Call("customer", {"currency": "RUB"}, query)


@recipe("GET", f"{WALLETS}/{{currency}}/transactions.csv")
def _file(_: Seeds) -> Call:
    return Call("customer", {"currency": "RUB"}, {"lang": "en"})


@recipe("POST", f"{MINE}/preview")
def _preview(_: Seeds) -> Call:
    return Call("customer", body={"kind": "withdrawal", "amount": TEN})


@recipe("POST", f"{MINE}/deposit")
def _deposit(_: Seeds) -> Call:
    return Call("customer", headers={**key(), **WAIT}, body={"amount": TEN, "provider": "mock"})


@recipe("POST", f"{MINE}/withdraw")
def _withdraw(_: Seeds) -> Call:
    return Call("customer", headers={**key(), **WAIT}, body={"amount": TEN, "recipient": CARD, "provider": "mock"})


@recipe("POST", f"{MINE}/pay")
def _pay(seeds: Seeds) -> Call:
    _, invoice = seeds.subscribed()
    return Call("customer", headers={**key(), **WAIT}, body={"invoice_id": invoice})


@recipe("GET", f"{MINE}/{{payment_id}}")
def _payment(seeds: Seeds) -> Call:
    asked = seeds.people["customer"].call("POST", f"{MINE}/deposit", json={"amount": TEN}, headers=key(), expect=(202,))
    return Call("customer", {"payment_id": asked.json()["id"]}, headers=WAIT)


@recipe("GET", COMMISSION)
def _commission(_: Seeds) -> Call:
    return Call("manager", RULE)


@recipe("PUT", COMMISSION)
def _set_commission(seeds: Seeds) -> Call:
    body = {"rate_basis_points": 150, "minimum": {"value": "1.00", "currency": "KZT"}}
    return Call("manager", RULE, headers=seeds.tag(COMMISSION.format(**RULE)), body=body)


@recipe("GET", SWITCH)
def _switch(_: Seeds) -> Call:
    return Call("operator", NAME)


@recipe("PUT", SWITCH)
def _turn(seeds: Seeds) -> Call:
    return Call("manager", NAME, headers=seeds.tag(SWITCH.format(**NAME)), body={"stopped": False, "reason": "checked"})
