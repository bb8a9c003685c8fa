"""For every operation a call that ought to succeed, on things made for it: without one, no answer 2xx would be sure."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.support.openapi_seeds import ANONYMOUS, WAIT, Seeds, key


@dataclass
class Call:
    """One request: who makes it and what is in it."""

    role: str
    path: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    raw: bytes | None = None


Recipe = Callable[[Seeds], Call]
RECIPES: dict[tuple[str, str], Recipe] = {}

AUTH, CLIENT, ADMIN, PAYMENTS = "/auth/api/v1", "/subscriptions/api/v1", "/admin/api/v1", "/payments/api/v1"
REASON = {"reason": "asked for by the customer"}
TITLE = {"ru": "Название", "en": "Title"}


def recipe(method: str, path: str) -> Callable[[Recipe], Recipe]:
    """Register how an operation is called."""

    def add(function: Recipe) -> Recipe:
        RECIPES[method, path] = function
        return function

    return add


def reading(path: str, role: str, *names: str, **query: str) -> None:
    """Register a GET on a seeded thing."""
    RECIPES["GET", path] = lambda seeds: Call(role, {name: seeds.ids[name] for name in names}, query)


def _login(seeds: Seeds) -> dict[str, str]:
    return {"email": seeds.people["customer"].email, "password": seeds.people["customer"].password}


def _tokens(seeds: Seeds) -> dict[str, Any]:
    answer: dict[str, Any] = seeds.people["customer"].call("POST", f"{AUTH}/login", json=_login(seeds)).json()
    return answer


# auth ---------------------------------------------------------------------------------------------------------------

reading(f"{AUTH}/me", "customer")
reading(f"{AUTH}/me/logins", "customer")
reading(f"{AUTH}/api-keys", "customer", limit="1")
reading(f"{AUTH}/users", "manager", search="example.org", limit="2")
reading(f"{AUTH}/users/{{user_id}}", "manager", "user_id")
reading(f"{AUTH}/users/{{user_id}}/history", "operator", "user_id")
reading(f"{AUTH}/users/{{user_id}}/api-keys", "operator", "user_id")
reading(f"{AUTH}/.well-known/jwks.json", ANONYMOUS)


@recipe("POST", f"{AUTH}/register")
def _register(_: Seeds) -> Call:
    email = f"new-{secrets.token_hex(6)}@example.org"
    return Call(ANONYMOUS, body={"email": email, "password": secrets.token_urlsafe(12)})


@recipe("POST", f"{AUTH}/login")
def _log_in(seeds: Seeds) -> Call:
    return Call(ANONYMOUS, body=_login(seeds))


@recipe("POST", f"{AUTH}/token/refresh")
def _refresh(seeds: Seeds) -> Call:
    return Call(ANONYMOUS, body={"refresh_token": _tokens(seeds)["refresh_token"]})


@recipe("POST", f"{AUTH}/logout")
def _log_out(seeds: Seeds) -> Call:
    return Call(ANONYMOUS, body={"refresh_token": _tokens(seeds)["refresh_token"]})


@recipe("PUT", f"{AUTH}/me/password")
def _password(seeds: Seeds) -> Call:
    person = seeds.newcomer()
    body = {"current_password": person.password, "new_password": secrets.token_urlsafe(12)}
    return Call(ANONYMOUS, headers={"Authorization": str(person.http.headers["Authorization"])}, body=body)


@recipe("DELETE", f"{AUTH}/me/logins")
def _end_logins(_: Seeds) -> Call:
    return Call("recipient")


@recipe("POST", f"{AUTH}/api-keys")
def _make_key(_: Seeds) -> Call:
    return Call("merchant", body={"name": "report", "roles": ["merchant"], "expires_at": "2099-01-01T00:00:00Z"})


@recipe("DELETE", f"{AUTH}/api-keys/{{key_id}}")
def _revoke_key(seeds: Seeds) -> Call:
    return Call("customer", {"key_id": seeds.api_key()})


@recipe("PUT", f"{AUTH}/users/{{user_id}}/roles")
def _roles(seeds: Seeds) -> Call:
    path = f"{AUTH}/users/{seeds.ids['user_id']}"
    body = {"roles": ["customer", "recipient"]}
    return Call("operator", {"user_id": seeds.ids["user_id"]}, headers=seeds.tag(path), body=body)


# subscriptions, the client's API ------------------------------------------------------------------------------------

reading(f"{CLIENT}/plans", ANONYMOUS, limit="1")
reading(f"{CLIENT}/plans/{{plan_id}}", ANONYMOUS, "plan_id")
reading(f"{CLIENT}/subscriptions", "customer", active="true")
reading(f"{CLIENT}/access", "customer")
reading(f"{CLIENT}/subscriptions/{{subscription_id}}", "customer", "subscription_id")
reading(f"{CLIENT}/invoices", "customer", limit="1")
reading(f"{CLIENT}/invoices/{{invoice_id}}", "customer", "invoice_id")
reading(f"{CLIENT}/invoices/{{invoice_id}}/timeline", "customer", "invoice_id")


@recipe("POST", f"{CLIENT}/subscriptions")
def _subscribe(seeds: Seeds) -> Call:
    person = seeds.newcomer()
    headers = {"Authorization": str(person.http.headers["Authorization"]), **key(), **WAIT}
    return Call(ANONYMOUS, headers=headers, body={"plan_id": seeds.plan_on_sale})


def _of_buyer(seeds: Seeds, *, active: bool) -> tuple[str, dict[str, str]]:
    """Return a fresh customer's subscription and their Authorization header."""
    person = seeds.newcomer()
    subscription, _ = seeds.active_subscription(person) if active else seeds.subscribed(person)
    return subscription, {"Authorization": str(person.http.headers["Authorization"])}


@recipe("POST", f"{CLIENT}/subscriptions/{{subscription_id}}/pay")
def _pay(seeds: Seeds) -> Call:
    subscription, headers = _of_buyer(seeds, active=False)
    return Call(ANONYMOUS, {"subscription_id": subscription}, headers={**headers, **WAIT})


@recipe("POST", f"{CLIENT}/subscriptions/{{subscription_id}}/cancel")
def _cancel(seeds: Seeds) -> Call:
    subscription, headers = _of_buyer(seeds, active=True)
    return Call(ANONYMOUS, {"subscription_id": subscription}, headers=headers, body={"when": "period_end"})


@recipe("POST", f"{CLIENT}/subscriptions/{{subscription_id}}/pause")
def _pause(seeds: Seeds) -> Call:
    subscription, headers = _of_buyer(seeds, active=True)
    return Call(ANONYMOUS, {"subscription_id": subscription}, headers=headers, body={"reason": "holidays"})


@recipe("POST", f"{CLIENT}/subscriptions/{{subscription_id}}/resume")
def _resume(seeds: Seeds) -> Call:
    call = _pause(seeds)
    path = f"{CLIENT}/subscriptions/{call.path['subscription_id']}/pause"
    seeds.people["customer"].call("POST", path, json=call.body, headers=call.headers)
    return Call(ANONYMOUS, call.path, headers=call.headers)


# subscriptions, the managers' API -----------------------------------------------------------------------------------

reading(f"{ADMIN}/products", "manager")
reading(f"{ADMIN}/products/{{code}}", "manager", "code")
reading(f"{ADMIN}/plans", "manager", search="month", on_sale="true")
reading(f"{ADMIN}/plans/{{plan_id}}", "manager", "plan_id")
reading(f"{ADMIN}/prices", "manager", limit="1")
reading(f"{ADMIN}/prices/{{price_id}}", "manager", "price_id")
reading(f"{ADMIN}/subscriptions", "manager", status="active", limit="1")
reading(f"{ADMIN}/subscriptions/{{subscription_id}}", "manager", "subscription_id")
reading(f"{ADMIN}/subscriptions/{{subscription_id}}/events", "manager", "subscription_id")
reading(f"{ADMIN}/invoices", "manager", status="paid", limit="1")
reading(f"{ADMIN}/invoices/{{invoice_id}}", "manager", "invoice_id")
reading(f"{ADMIN}/invoices/{{invoice_id}}/timeline", "operator", "invoice_id")
reading(f"{ADMIN}/commands/{{command_id}}", "manager", "command_id")
reading(f"{ADMIN}/refunds", "manager", status="failed")
reading(f"{ADMIN}/audit", "operator", limit="3")


@recipe("POST", f"{ADMIN}/products")
def _product(_: Seeds) -> Call:
    return Call("manager", body={"code": f"x{secrets.token_hex(5)}", "title": TITLE, "late_policy": "wallet"})


@recipe("PATCH", f"{ADMIN}/products/{{code}}")
def _edit_product(seeds: Seeds) -> Call:
    headers = seeds.tag(f"{ADMIN}/products/cinema")
    return Call("manager", {"code": "cinema"}, headers=headers, body={"title": TITLE})


@recipe("POST", f"{ADMIN}/plans")
def _plan(_: Seeds) -> Call:
    return Call("manager", body={"code": f"x{secrets.token_hex(5)}", "product": "cinema", "title": TITLE})


@recipe("PATCH", f"{ADMIN}/plans/{{plan_id}}")
def _edit_plan(seeds: Seeds) -> Call:
    plan, tag = seeds.plan()
    return Call("manager", {"plan_id": plan}, headers={"If-Match": tag}, body={"on_sale": False})


@recipe("POST", f"{ADMIN}/prices")
def _price(seeds: Seeds) -> Call:
    plan, tag = seeds.plan()
    amount, period = {"value": "99.90", "currency": "RUB"}, {"unit": "month", "count": 1}
    body = {"plan_id": plan, "amount": amount, "period": period, "trial_days": 0}
    return Call("manager", headers={"If-Match": tag}, body=body)


@recipe("POST", f"{ADMIN}/subscriptions")
def _subscribe_for(seeds: Seeds) -> Call:
    body = {"user_id": seeds.newcomer().user_id, "plan_id": seeds.plan_on_sale}
    return Call("manager", headers=key(), body=body)


@recipe("PATCH", f"{ADMIN}/subscriptions/{{subscription_id}}")
def _edit_subscription(seeds: Seeds) -> Call:
    subscription, _ = _of_buyer(seeds, active=True)
    headers = seeds.tag(f"{ADMIN}/subscriptions/{subscription}")
    return Call("manager", {"subscription_id": subscription}, headers=headers, body={"extend_days": 3, **REASON})


@recipe("POST", f"{ADMIN}/subscriptions/{{subscription_id}}/cancel")
def _cancel_for(seeds: Seeds) -> Call:
    subscription, _ = _of_buyer(seeds, active=True)
    headers = seeds.tag(f"{ADMIN}/subscriptions/{subscription}")
    return Call("manager", {"subscription_id": subscription}, headers=headers, body={"when": "now", **REASON})


@recipe("POST", f"{ADMIN}/invoices")
def _issue(seeds: Seeds) -> Call:
    body = {
        "user_id": seeds.people["customer"].user_id,
        "product": "cinema",
        "amount": {"value": "150.00", "currency": "RUB"},
        "description": "Extra film",
    }
    return Call("manager", headers={**key(), **WAIT}, body=body)


@recipe("POST", f"{ADMIN}/invoices/{{invoice_id}}/cancel")
def _cancel_invoice(seeds: Seeds) -> Call:
    return Call("manager", {"invoice_id": seeds.invoice_in("issued")}, headers={**key(), **WAIT}, body=REASON)


@recipe("POST", f"{ADMIN}/invoices/{{invoice_id}}/refund")
def _refund(seeds: Seeds) -> Call:
    body = {"amount": {"value": "50.00", "currency": "RUB"}, **REASON}
    return Call("manager", {"invoice_id": seeds.invoice_in("paid")}, headers={**key(), **WAIT}, body=body)


@recipe("POST", f"{ADMIN}/refunds/{{refund_id}}/retry")
def _retry_refund(seeds: Seeds) -> Call:
    return Call("manager", {"refund_id": seeds.failed_refund()}, headers={**key(), **WAIT}, body=REASON)


@recipe("POST", f"{ADMIN}/invoices/{{invoice_id}}/capture")
def _capture(seeds: Seeds) -> Call:
    return Call("manager", {"invoice_id": seeds.invoice_in("authorized", "manual")}, headers={**key(), **WAIT})


# payments -----------------------------------------------------------------------------------------------------------

reading(f"{PAYMENTS}/pay/{{invoice_id}}", ANONYMOUS, "invoice_id", lang="en")
reading(f"{PAYMENTS}/invoices/{{invoice_id}}", ANONYMOUS, "invoice_id")


@recipe("POST", f"{PAYMENTS}/pay/{{invoice_id}}")
def _start(seeds: Seeds) -> Call:
    return Call(ANONYMOUS, {"invoice_id": seeds.invoice_in("issued")}, headers=key(), body={"language": "en"})


_CHECK = b"TransactionId=1&Amount=1.00&Currency=RUB&InvoiceId=none&OperationType=Payment&TestMode=1"


@recipe("POST", f"{PAYMENTS}/paid/cloudpayments/{{shop}}/{{kind}}")
def _notify(seeds: Seeds) -> Call:
    return Call(ANONYMOUS, {"shop": "main", "kind": "check"}, headers=seeds.signed(_CHECK), raw=_CHECK)


@recipe("GET", f"{PAYMENTS}/paid/cloudpayments/{{shop}}/{{kind}}")
def _notify_by_address(seeds: Seeds) -> Call:
    query = dict(pair.split("=") for pair in _CHECK.decode().split("&"))
    return Call(ANONYMOUS, {"shop": "main", "kind": "check"}, query=query, headers=seeds.signed(_CHECK))


# The compatibility routes, those of payouts, of shops, of wallets and of machines, in files of their own.
from tests.support import (  # noqa: E402
    openapi_recipes_compatibility,  # noqa: F401
    openapi_recipes_devices,  # noqa: F401
    openapi_recipes_payouts,  # noqa: F401
    openapi_recipes_shops,  # noqa: F401
    openapi_recipes_wallets,  # noqa: F401
)
