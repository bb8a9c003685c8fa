"""People of every role and things in every state, for walking the OpenAPI documents: made over HTTP like any other."""

import base64
import hashlib
import hmac
import secrets
import uuid
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.scenario import (
    Person,
    Site,
    check_out,
    client,
    eventually,
    log_in,
    register,
    seed_plans,
    start_payment,
    subscribe,
    wait_active,
)

ROLES = {
    "customer": ["customer"],
    "recipient": ["customer", "recipient"],
    "merchant": ["customer", "merchant"],
    "manager": ["manager"],
    "operator": ["operator"],
}
"""Whom the walk speaks as, and the roles that each is given."""
ANONYMOUS = "anonymous"
WAIT = {"Prefer": "wait=10"}


def key() -> dict[str, str]:
    """Return a new idempotency key as a header."""
    return {"Idempotency-Key": str(uuid.uuid4())}


@dataclass
class Seeds:
    """A running site with one person of each role, and functions that make what an operation needs."""

    site: Site
    operator: dict[str, str]
    shop_secret: str
    people: dict[str, Person] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    made: list[Person] = field(default_factory=list)
    plan_on_sale: str = ""
    databases: dict[str, str] = field(default_factory=dict)

    @classmethod
    def make(cls, state: dict[str, Any]) -> "Seeds":
        """Fill a running stack."""
        site = Site.of_state(state)
        seeds = cls(site, state["people"]["operator"], state["shop"]["api_secret"], databases=state["databases"])
        seed_plans(site)
        seeds.people["operator"] = seeds.staff(seeds.operator)
        # Nobody is shared with the suites beside this one: the walk also ends everywhere that somebody is logged in.
        for role, roles in ROLES.items():
            person = seeds.newcomer()
            if role != "customer":
                seeds.give_roles(person.user_id, roles)
            seeds.people[role] = log_in(person)
        seeds.fill()
        return seeds

    def newcomer(self) -> Person:
        """Register somebody, and log them in."""
        person = log_in(register(self.site))
        self.made.append(person)
        return person

    def close(self) -> None:
        """Close everybody's connections."""
        for person in self.made:
            person.http.close()

    def staff(self, login: dict[str, str]) -> Person:
        """Log somebody in whom the runner has made."""
        person = log_in(Person(client(self.site.public_url), login["email"], login["password"]))
        self.made.append(person)
        person.user_id = person.call("GET", "/auth/api/v1/me").json()["id"]
        return person

    def give_roles(self, user_id: str, roles: list[str]) -> None:
        """Have the operator give roles."""
        path = f"/auth/api/v1/users/{user_id}"
        tag = self.people["operator"].call("GET", path).headers["ETag"]
        self.people["operator"].call("PUT", f"{path}/roles", json={"roles": roles}, headers={"If-Match": tag})

    def fill(self) -> None:
        """Make one of each thing, whose ids the generated requests then use."""
        manager = self.people["manager"]
        victim = self.newcomer()
        on_sale = manager.call("GET", "/subscriptions/api/v1/plans").json()["items"]
        self.plan_on_sale = next(plan["id"] for plan in on_sale if plan["code"] == "month")
        # What generated requests may change is not what the calls that ought to succeed buy.
        plan, price = self.priced_plan()
        subscription, invoice = self.active_subscription()
        issued = self.issue()
        self.ids = {
            "user_id": victim.user_id,
            "code": self.product(),
            "plan_id": plan,
            "price_id": price,
            "subscription_id": subscription,
            "invoice_id": invoice,
            "command_id": issued["id"],
            "refund_id": self.failed_refund(),
            "key_id": self.api_key(),
            "shop": "main",
            "kind": "check",
            # Things of the compatibility routes are numbered from 1 on.
            "id": "1",
        }
        # They need what is defined here, so that they are imported here.
        from tests.support import device_seeds, payout_seeds

        self.ids |= payout_seeds.ids_of(self)
        self.ids |= device_seeds.ids_of(self)

    def subscribed(self, person: Person | None = None) -> tuple[str, str]:
        """Have the customer (or another person) subscribe; returns the subscription and its unpaid invoice."""
        buyer = person or self.newcomer()
        subscription, invoice, _ = subscribe(buyer)
        return subscription, invoice

    def active_subscription(self, person: Person | None = None) -> tuple[str, str]:
        """Sell a subscription to the person of the role customer."""
        buyer = person or self.people["customer"]
        subscription, invoice, _ = subscribe(buyer)
        self.pay(invoice, buyer)
        wait_active(buyer, subscription)
        return subscription, invoice

    def pay(self, invoice_id: str, person: Person | None = None) -> None:
        """Pay an invoice by a test card."""
        buyer = person or self.people["customer"]
        check_out(self.site, start_payment(buyer, invoice_id)["widget"])

    def issue(self, capture: str = "automatic") -> dict[str, Any]:
        """Have the manager issue an invoice."""
        body = {
            "user_id": self.people["customer"].user_id,
            "product": "cinema",
            "amount": {"value": "150.00", "currency": "RUB"},
            "description": "Extra film",
            "capture": capture,
        }
        answer = self.people["manager"].call(
            "POST", "/admin/api/v1/invoices", json=body, headers={**key(), **WAIT}, expect=(200, 202)
        )
        found: dict[str, Any] = answer.json()
        return found

    def invoice_in(self, status: str, capture: str = "automatic") -> str:
        """Return an invoice that has got to a status: issued, paid or authorized."""
        invoice_id = str(self.issue(capture)["invoice_id"])
        if status != "issued":
            self.pay(invoice_id)

        def reached() -> bool | None:
            found = self.people["manager"].call("GET", f"/admin/api/v1/invoices/{invoice_id}", expect=(200, 404))
            return True if found.status_code == 200 and found.json()["status"] == status else None

        eventually(reached, f"invoice {invoice_id} is {status}")
        return invoice_id

    def failed_refund(self) -> str:
        """Return a refund that the provider has refused."""
        invoice_id = self.invoice_in("paid")
        armed = {"switch": "decline", "operation": "refund", "invoice_id": invoice_id}
        with client(self.site.emulator_url) as emulator:
            emulator.post("/sandbox/chaos/once", json=armed).raise_for_status()
        manager = self.people["manager"]
        asked = {"reason": "asked for by the customer"}
        path = f"/admin/api/v1/invoices/{invoice_id}/refund"
        manager.call("POST", path, json=asked, headers={**key(), **WAIT}, expect=(200, 202))

        def refused() -> str | None:
            query = f"/admin/api/v1/refunds?status=failed&invoice_id={invoice_id}"
            found = manager.call("GET", query).json()["items"]
            return str(found[0]["id"]) if found else None

        return eventually(refused, f"the refund of invoice {invoice_id} is refused")

    def api_key(self) -> str:
        """Make an API key for the customer."""
        answer = self.people["customer"].call("POST", "/auth/api/v1/api-keys", json={"name": "seed"}, expect=(201,))
        return str(answer.json()["id"])

    def plan(self) -> tuple[str, str]:
        """Have the manager make a plan; returns its id and ETag."""
        body = {"code": f"p{secrets.token_hex(6)}", "product": "cinema", "title": {"ru": "План", "en": "Plan"}}
        answer = self.people["manager"].call("POST", "/admin/api/v1/plans", json=body, expect=(201,))
        return answer.json()["id"], answer.headers["ETag"]

    def priced_plan(self) -> tuple[str, str]:
        """Have the manager make a plan with a price; returns the ids of both."""
        plan, tag = self.plan()
        amount, period = {"value": "99.90", "currency": "RUB"}, {"unit": "month", "count": 1}
        answer = self.people["manager"].call(
            "POST",
            "/admin/api/v1/prices",
            json={"plan_id": plan, "amount": amount, "period": period},
            headers={"If-Match": tag},
            expect=(201,),
        )
        return plan, str(answer.json()["id"])

    def product(self) -> str:
        """Have the manager make a product; returns its code."""
        body = {"code": f"x{secrets.token_hex(6)}", "title": {"ru": "Товар", "en": "Product"}}
        answer = self.people["manager"].call("POST", "/admin/api/v1/products", json=body, expect=(201,))
        return str(answer.json()["code"])

    def tag(self, path: str) -> dict[str, str]:
        """Read something as the manager, and return its ETag as If-Match."""
        return {"If-Match": self.people["manager"].call("GET", path).headers["ETag"]}

    def signed(self, body: bytes) -> dict[str, str]:
        """Return the headers with which the provider signs a notification."""
        mac = base64.b64encode(hmac.new(self.shop_secret.encode(), body, hashlib.sha256).digest()).decode()
        return {"Content-HMAC": mac, "X-Content-HMAC": mac, "Content-Type": "application/x-www-form-urlencoded"}
