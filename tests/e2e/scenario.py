"""One subscription sold as a person would buy it: over HTTP through nginx, paid on the provider's checkout page.

A plain module, without pytest: `make demo`, `make compose-demo` and the end-to-end tests all walk these steps.
"""

import contextlib
import secrets
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

import httpx2

APPROVED_CARD = "4000000000003055"
DECLINED_CARD = "4000056655665556"
THREE_DS_CARD = "4242424242424242"

_TIMEOUT_S = 30
_ACTIVE_TIMEOUT_S = 60
T = TypeVar("T")
_WAIT = {"Prefer": "wait=5"}


class ScenarioError(AssertionError):
    """A step did not do what it promises; the text has the request and the answer."""


@dataclass
class Site:
    """Where Copeck and the emulator are, and who its manager is."""

    public_url: str
    emulator_url: str
    manager: dict[str, str]
    admin_url: str = ""
    mock_url: str = ""
    machines_url: str = ""

    @classmethod
    def of_state(cls, state: dict[str, Any]) -> Self:
        """Take the addresses from a running stack's state."""
        urls = state["urls"]
        manager = state["people"]["manager"]
        return cls(
            urls["public"], urls["cloudpayments"], manager, urls["admin"], urls["mock-gateway"],
            urls.get("machines", ""),
        )  # fmt: skip


@dataclass
class Person:
    """A client of the API: an HTTP connection with a token of its own."""

    http: httpx2.Client
    email: str
    password: str
    user_id: str = ""

    def call(self, method: str, path: str, *, expect: tuple[int, ...] = (200,), **options: Any) -> httpx2.Response:
        """Make one request; another status than expected ends the scenario with the whole answer."""
        return call(self.http, method, path, expect=expect, **options)


@dataclass
class Sale:
    """What one run of the scenario has made."""

    user_id: str
    email: str
    plan_code: str
    subscription_id: str
    invoice_id: str
    transaction_id: int = 0
    status: str = ""
    steps: list[tuple[str, float]] = field(default_factory=list)


def call(
    http: httpx2.Client, method: str, path: str, *, expect: tuple[int, ...] = (200,), **options: Any
) -> httpx2.Response:
    """Make one request and check its status."""
    answer = http.request(method, path, **options)
    if answer.status_code not in expect:
        raise ScenarioError(f"{method} {answer.request.url}: {answer.status_code}, not {expect}: {answer.text[:800]}")
    return answer


def client(base_url: str) -> httpx2.Client:
    """Return an HTTP client that leaves the proxies of the environment alone."""
    return httpx2.Client(base_url=base_url, timeout=_TIMEOUT_S, trust_env=False)


@contextlib.contextmanager
def _closed_on_failure(person: Person) -> Iterator[None]:
    """Close the connections of somebody whom the caller will not get."""
    try:
        yield
    except BaseException:
        person.http.close()
        raise


def register(site: Site, email: str | None = None) -> Person:
    """Make an account."""
    person = Person(
        client(site.public_url), email or f"anna-{secrets.token_hex(5)}@example.org", secrets.token_urlsafe(12)
    )
    body = {"email": person.email, "password": person.password}
    with _closed_on_failure(person):
        person.user_id = person.call("POST", "/auth/api/v1/register", json=body, expect=(201,)).json()["id"]
    return person


def log_in(person: Person) -> Person:
    """Get tokens and use them from here on."""
    body = {"email": person.email, "password": person.password}
    with _closed_on_failure(person):
        tokens = person.call("POST", "/auth/api/v1/login", json=body).json()
    person.http.headers["Authorization"] = f"Bearer {tokens['access_token']}"
    return person


def manager_of(site: Site) -> Person:
    """Log the manager in."""
    return log_in(Person(client(site.public_url), site.manager["email"], site.manager["password"]))


def seed_plans(site: Site) -> list[str]:
    """Have the manager make a product and two plans with prices, unless they are there; return the plans' codes."""
    manager = manager_of(site)
    product = {"code": "cinema", "title": {"ru": "Онлайн-кинотеатр", "en": "Online cinema"}}
    manager.call("POST", "/admin/api/v1/products", json=product, expect=(201, 409))
    plans = (
        ("month", {"ru": "Кино на месяц", "en": "Cinema for a month"}, "199.00", {"unit": "month", "count": 1}),
        ("year", {"ru": "Кино на год", "en": "Cinema for a year"}, "1990.00", {"unit": "year", "count": 1}),
    )
    for code, title, value, period in plans:
        made = manager.call(
            "POST",
            "/admin/api/v1/plans",
            json={"code": code, "product": "cinema", "title": title},
            expect=(201, 409),
        )
        if made.status_code == 201:
            manager.call(
                "POST",
                "/admin/api/v1/prices",
                json={"plan_id": made.json()["id"], "amount": {"value": value, "currency": "RUB"}, "period": period},
                headers={"If-Match": made.headers["ETag"]},
                expect=(201,),
            )
    manager.http.close()
    return [code for code, *_ in plans]


def subscribe(person: Person, plan_code: str = "month") -> tuple[str, str, str]:
    """Choose a plan and subscribe; return the subscription, its invoice and the URL of the pay page."""
    plans = {plan["code"]: plan for plan in person.call("GET", "/subscriptions/api/v1/plans").json()["items"]}
    answer = person.call(
        "POST",
        "/subscriptions/api/v1/subscriptions",
        json={"plan_id": plans[plan_code]["id"]},
        headers={"Idempotency-Key": str(uuid.uuid4()), **_WAIT},
        expect=(201, 202),
    ).json()
    return answer["id"], answer["invoice"]["id"], answer["invoice"]["pay_url"]


def start_payment(person: Person, invoice_id: str) -> dict[str, Any]:
    """Do what the pay page does when its button is pressed; return the widget's parameters."""

    def ask() -> dict[str, Any] | None:
        answer = person.call(
            "POST",
            f"/payments/api/v1/pay/{invoice_id}",
            json={"language": "en"},
            headers={"Idempotency-Key": str(uuid.uuid4())},
            # 404: the gateway has not heard of the invoice yet; events take a moment.
            expect=(201, 404),
        )
        return answer.json() if answer.status_code == 201 else None

    return eventually(ask, f"invoice {invoice_id} can be paid")


def check_out(site: Site, widget: dict[str, Any], card: str = APPROVED_CARD) -> int:
    """Do what the widget does: open its form, type a card, press Pay; return the provider's transaction.

    The widget's form is the provider's own; a declined card leaves it open with the reason on it.
    """
    with client(site.emulator_url) as browser:
        intent = call(browser, "POST", "/widget/intents", json=widget).json()
        call(browser, "GET", intent["path"])
        page = call(
            browser,
            "POST",
            intent["path"],
            data={"number": card, "expires": "12/49", "cvc": "123", "email": "anna@example.org"},
            expect=(200, 303),
        )
        if page.status_code == 303:
            raise ScenarioError("the card asks for 3-D Secure: use a browser")
        order = str(widget.get("externalId") or widget.get("invoiceId"))
        log = call(browser, "GET", "/sandbox/log", params={"invoice_id": order}).json()["items"]
    return max((entry["transaction_id"] for entry in log if entry["transaction_id"]), default=0)


def wait_active(person: Person, subscription_id: str) -> dict[str, Any]:
    """Wait until the subscription is active; return it."""

    def ask() -> dict[str, Any] | None:
        path = f"/subscriptions/api/v1/subscriptions/{subscription_id}"
        found: dict[str, Any] = person.call("GET", path, headers=_WAIT).json()
        return found if found["status"] == "active" else None

    return eventually(ask, f"subscription {subscription_id} is active", timeout_s=_ACTIVE_TIMEOUT_S)


def eventually(probe: Callable[[], T | None], what: str, timeout_s: float = 60.0) -> T:
    """Ask until there is an answer; what is waited for is in the error when it does not come."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = probe()
        if found is not None:
            return found
        if time.monotonic() > deadline:
            raise ScenarioError(f"after {timeout_s:.0f} s it is not so that {what}")
        time.sleep(0.05)


def sell(site: Site, tell: Callable[[str, str], None] = lambda _name, _text: None) -> Sale:
    """Sell one subscription, from a new visitor to an active subscription; `tell` hears each step."""
    codes = seed_plans(site)
    tell("manager", f"plans on sale: {', '.join(codes)}")
    person = log_in(register(site))
    tell("visitor", f"registered and logged in as {person.email}")
    subscription_id, invoice_id, pay_url = subscribe(person)
    tell("visitor", f"subscribed; to pay at {pay_url}")
    call(person.http, "GET", f"/pay/{invoice_id}?lang=en")
    started = start_payment(person, invoice_id)
    tell("visitor", f"opened the pay page; it starts {started['provider']}'s widget")
    transaction = check_out(site, started["widget"])
    tell("visitor", f"paid by a test card (transaction {transaction or '?'})")
    found = wait_active(person, subscription_id)
    tell("visitor", f"the subscription is {found['status']} until {found['entitled_until']}")
    active = person.call("GET", "/subscriptions/api/v1/subscriptions", params={"active": "true"}).json()["items"]
    if [item["id"] for item in active] != [subscription_id]:
        raise ScenarioError(f"the list of active subscriptions has {active}")
    sale = Sale(person.user_id, person.email, "month", subscription_id, invoice_id, transaction, found["status"])
    person.http.close()
    return sale
