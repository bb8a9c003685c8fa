"""Calls of the compatibility routes that ought to succeed; each makes what it needs, over the same routes."""

from typing import Any

from tests.support.compatibility_table import PAYOUT, PREFIX, Walk
from tests.support.openapi_recipes import Call, reading, recipe
from tests.support.openapi_seeds import ANONYMOUS, Seeds

OLD = PREFIX

reading(f"{OLD}/health", ANONYMOUS)
reading(f"{OLD}/payouts/", "operator", search="tk", ordering="-amount", page_size="2")


def _user(seeds: Seeds) -> int:
    body = {"balance": 1000}
    made = seeds.people["manager"].call("POST", f"{OLD}/users/", json=body, expect=(201,))
    return int(made.json()["id"])


def _draft(seeds: Seeds) -> dict[str, str]:
    body = {**PAYOUT, "status": "draft"}
    made = seeds.people["manager"].call("POST", f"{OLD}/payouts/", json=body, expect=(201,))
    return {"id": str(made.json()["id"])}


@recipe("POST", f"{OLD}/users/")
def _create_user(_: Seeds) -> Call:
    return Call("manager", body={"balance": 1000})


@recipe("POST", f"{OLD}/payments/deposit")
def _deposit(seeds: Seeds) -> Call:
    return Call("manager", body={"user_id": _user(seeds), "deposit": 200})


@recipe("POST", f"{OLD}/payments/withdraw")
def _withdraw(seeds: Seeds) -> Call:
    return Call("manager", body={"user_id": _user(seeds), "withdraw": "100.50"})


@recipe("GET", f"{OLD}/payments/{{id}}")
def _payment(seeds: Seeds) -> Call:
    body = _deposit(seeds).body
    made = seeds.people["manager"].call("POST", f"{OLD}/payments/deposit", json=body)
    return Call("operator", {"id": str(made.json()["payment_id"])})


@recipe("POST", f"{OLD}/mock-gateway/pay")
def _mock(_: Seeds) -> Call:
    return Call("manager", body={"amount": 200})


@recipe("POST", f"{OLD}/payouts/")
def _create_payout(_: Seeds) -> Call:
    body: dict[str, Any] = {**PAYOUT}
    return Call("manager", body=body)


@recipe("GET", f"{OLD}/payouts/{{id}}/")
def _payout(seeds: Seeds) -> Call:
    return Call("operator", _draft(seeds))


@recipe("PATCH", f"{OLD}/payouts/{{id}}/")
def _change(seeds: Seeds) -> Call:
    return Call("manager", _draft(seeds), body={"status": "canceled"})


@recipe("DELETE", f"{OLD}/payouts/{{id}}/")
def _delete(seeds: Seeds) -> Call:
    return Call("manager", _draft(seeds))


@recipe("POST", f"{OLD}/payouts/{{id}}/retry/")
def _retry(seeds: Seeds) -> Call:
    with Walk.of(seeds.site) as walk:
        return Call("manager", {"id": str(walk.failed_payout())})
