"""The load: buyers who subscribe, pay, change their minds and try again, as people do while a site is failing."""

import asyncio
import random
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.e2e.scenario import APPROVED_CARD, DECLINED_CARD, Site

AT_ONCE = 12
PATIENCE_S = 90.0
PRICE = "199.00"
_PAUSE_S = 0.25


@dataclass
class Purchase:
    """What one buyer did, as the buyer knows it; unknown outcomes stay unknown."""

    number: int
    behaviour: str
    subscription_id: str = ""
    invoice_id: str = ""
    charges_seen: int = 0
    """Charges that the provider acknowledged to the payer."""
    finished: bool = False
    trouble: str = ""


@dataclass
class Shop:
    """What buyers need to know of the shop."""

    site: Site
    public_id: str
    plan_id: str
    purchases: list[Purchase] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)


BEHAVIOURS = (
    ("pay", 62),
    ("decline_then_pay", 10),
    ("pay_twice", 10),
    ("cancel_then_pay", 6),
    ("refund", 6),
    ("refund_part", 6),
)


class Client:
    """The manager's connection, with patience: whatever fails is tried again with the same key until time is up."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._http = httpx2.AsyncClient(base_url=shop.site.public_url, timeout=15, trust_env=False)
        self._emulator = httpx2.AsyncClient(base_url=shop.site.emulator_url, timeout=15, trust_env=False)
        self._login = asyncio.Lock()
        self._token = ""

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()
        await self._emulator.aclose()

    async def _ensure_token(self, old: str) -> None:
        async with self._login:
            if self._token != old:
                return
            people = self._shop.site.manager
            body = {"email": people["email"], "password": people["password"]}
            answer = await self._http.post("/auth/api/v1/login", json=body)
            answer.raise_for_status()
            self._token = answer.json()["access_token"]

    async def call(self, method: str, path: str, *, accept: tuple[int, ...], **options: Any) -> httpx2.Response:
        """Make a request until it is answered with one of `accept`; TimeoutError when patience ends."""
        deadline = time.monotonic() + PATIENCE_S
        key = str(uuid.uuid4())
        while time.monotonic() < deadline:
            token = self._token
            try:
                if not token:
                    await self._ensure_token(token)
                    continue
                headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": key, **options.get("headers", {})}
                answer = await self._http.request(method, path, **{**options, "headers": headers})
                if answer.status_code in accept:
                    return answer
                if answer.status_code == 401:
                    await self._ensure_token(token)
                self._shop.failures[f"{method} {path.split('/')[1]} {answer.status_code}"] += 1
            except httpx2.HTTPError as error:
                self._shop.failures[f"{method} {path.split('/')[1]} {type(error).__name__}"] += 1
            await asyncio.sleep(_PAUSE_S)
        raise TimeoutError(f"{method} {path} was not answered as it should in {PATIENCE_S:.0f} s")

    async def check_out(self, invoice_id: str, payer: str, card: str) -> dict[str, Any] | None:
        """Pay on the provider's side; nothing when the outcome is not known to the payer."""
        body = {
            "public_id": self._shop.public_id, "amount": PRICE, "currency": "RUB", "externalId": invoice_id,
            "accountId": payer, "paymentSchema": "Single", "card": card,
        }  # fmt: skip
        try:
            answer = await self._emulator.post("/checkout", json=body)
            return dict(answer.json()) if answer.status_code == 200 else None
        except (httpx2.HTTPError, ValueError):
            return None


async def buy(client: Client, shop: Shop, purchase: Purchase) -> None:
    """Walk one buyer through a purchase."""
    payer = str(uuid.uuid4())
    made = await client.call(
        "POST", "/admin/api/v1/subscriptions", json={"user_id": payer, "plan_id": shop.plan_id}, accept=(201,)
    )
    purchase.subscription_id = made.json()["id"]
    purchase.invoice_id = made.json()["invoice"]["id"]
    await _start(client, purchase)
    if purchase.behaviour == "decline_then_pay":
        await client.check_out(purchase.invoice_id, payer, DECLINED_CARD)
        await _start(client, purchase)
    if purchase.behaviour == "cancel_then_pay":
        path = f"/admin/api/v1/invoices/{purchase.invoice_id}/cancel"
        await client.call("POST", path, json={"reason": "chaos"}, accept=(202, 409))
    cards = [APPROVED_CARD] * (2 if purchase.behaviour == "pay_twice" else 1)
    answers = await asyncio.gather(*(client.check_out(purchase.invoice_id, payer, card) for card in cards))
    purchase.charges_seen = sum(bool(answer and answer.get("success")) for answer in answers)
    if purchase.behaviour.startswith("refund") and purchase.charges_seen:
        await _refund(client, purchase)


async def _start(client: Client, purchase: Purchase) -> None:
    """Press the button of the pay page; an invoice that cannot be paid any more says so with 409 or 410."""
    path = f"/payments/api/v1/pay/{purchase.invoice_id}"
    await client.call("POST", path, json={"language": "en"}, accept=(200, 201, 409, 410))


async def _refund(client: Client, purchase: Purchase) -> None:
    path = f"/admin/api/v1/invoices/{purchase.invoice_id}/refund"
    body: dict[str, Any] = {"reason": "chaos"}
    if purchase.behaviour == "refund_part":
        body["amount"] = {"value": "50.00", "currency": "RUB"}
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = await client.call("GET", f"/admin/api/v1/invoices/{purchase.invoice_id}", accept=(200, 404))
        if found.status_code == 200 and found.json()["status"] == "paid":
            await client.call("POST", path, json=body, accept=(202,))
            return
        await asyncio.sleep(_PAUSE_S)


async def shopping(shop: Shop, count: int, seed: int, progress: Any) -> None:
    """Run `count` buyers, a few at a time."""
    chance = random.Random(seed)
    names, weights = zip(*BEHAVIOURS, strict=True)
    plan = [Purchase(n, chance.choices(names, weights)[0]) for n in range(count)]
    shop.purchases.extend(plan)
    client, slots = Client(shop), asyncio.Semaphore(AT_ONCE)

    async def one(purchase: Purchase) -> None:
        async with slots:
            try:
                await buy(client, shop, purchase)
                purchase.finished = True
            except (TimeoutError, httpx2.HTTPError, KeyError) as error:
                purchase.trouble = f"{type(error).__name__}: {error}"
            progress()

    await asyncio.gather(*(one(purchase) for purchase in plan))
    await client.close()
