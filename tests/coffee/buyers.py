"""The load: people who want a coffee, pay or do not, too late or twice, while everything around them fails."""

import asyncio
import random
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2

from tests.chaos import buyers
from tests.coffee.machines import MENU, amount
from tests.e2e.coffee_scenario import PREFIX
from tests.e2e.scenario import APPROVED_CARD, DECLINED_CARD, THREE_DS_CARD, Site

AT_ONCE = 40
PATIENCE_S = 60.0
ORDERS_PER_S = 4.0
_PAUSE_S = 0.25
_REFUSED_PAUSE_S = 1.0
_AFTER_EXPIRY_S = 1.5
# Somebody who comes late is with us as long as an order can be paid, so they come first.
BEHAVIOURS = (
    ("pay", 50),
    ("link", 10),
    ("pay_twice", 12),
    ("decline_then_pay", 8),
    ("never_pay", 8),
    ("cancel_then_pay", 6),
    ("pay_late", 6),
)


@dataclass
class Wish(buyers.Purchase):
    """What one buyer did, as the buyer knows it."""

    device: str = ""
    order_id: str = ""
    token: str = field(default="", repr=False)
    contact: str = ""
    price_minor: int = 0


@dataclass
class Street:
    """What buyers know: the site, the machines, and what they went through so far."""

    site: Site
    public_id: str
    devices: tuple[str, ...]
    seed: int
    wishes: list[Wish] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)


class Phone:
    """A buyer's connections, with patience: what fails is asked again under the same key until time is up."""

    def __init__(self, street: Street) -> None:
        site, limits = street.site, httpx2.Limits(max_connections=AT_ONCE)
        self.street = street
        self.shop = httpx2.AsyncClient(base_url=site.public_url, timeout=15, trust_env=False, limits=limits)
        self.emulator = httpx2.AsyncClient(base_url=site.emulator_url, timeout=15, trust_env=False, limits=limits)
        self.machines = httpx2.AsyncClient(base_url=site.machines_url, timeout=15, trust_env=False, limits=limits)

    async def close(self) -> None:
        """Close the connections."""
        for client in (self.shop, self.emulator, self.machines):
            await client.aclose()

    async def ask(self, method: str, path: str, *, accept: tuple[int, ...], **options: Any) -> httpx2.Response:
        """Make a request until it is answered with one of `accept`; TimeoutError when patience ends."""
        deadline = time.monotonic() + PATIENCE_S
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        what = f"{method} {path.split('/')[1]}"
        while time.monotonic() < deadline:
            try:
                answer = await self.shop.request(method, path, headers=headers, **options)
                if answer.status_code in accept:
                    return answer
                self.street.failures[f"{what} {answer.status_code}"] += 1
            except httpx2.HTTPError as error:
                self.street.failures[f"{what} {type(error).__name__}"] += 1
            await asyncio.sleep(_PAUSE_S)
        raise TimeoutError(f"{method} {path} was not answered as it should in {PATIENCE_S:.0f} s")

    async def check_out(self, wish: Wish, card: str) -> bool:
        """Pay on the provider's side; True when the payer was told that it went through."""
        body = {
            "public_id": self.street.public_id, "amount": amount(wish.price_minor), "currency": "RUB",
            "externalId": wish.invoice_id, "accountId": f"order:{wish.order_id}", "paymentSchema": "Single",
            "card": card,
        }  # fmt: skip
        try:
            answer = await self.emulator.post("/checkout", json=body)
            return answer.status_code == 200 and bool(answer.json().get("success"))
        except (httpx2.HTTPError, ValueError):
            return False


async def want(phone: Phone, wish: Wish) -> None:
    """Walk one buyer to the machine, and to the money."""
    chance = random.Random(f"{phone.street.seed}/{wish.number}")
    expires_at = await _order(phone, wish, chance)
    if wish.behaviour == "never_pay":
        return
    started = await _start(phone, wish)
    if wish.behaviour == "pay_late":
        await _pay_late(phone, wish, started, expires_at)
        return
    if wish.behaviour == "decline_then_pay":
        await phone.check_out(wish, DECLINED_CARD)
        await _start(phone, wish)
    if wish.behaviour == "cancel_then_pay":
        path = f"{PREFIX}/public/orders/{wish.order_id}/cancel"
        await phone.ask("POST", path, params={"k": wish.token}, accept=(204, 409))
    cards = [APPROVED_CARD] * (2 if wish.behaviour == "pay_twice" else 1)
    answers = await asyncio.gather(*(phone.check_out(wish, card) for card in cards))
    wish.charges_seen = sum(answers)


async def _order(phone: Phone, wish: Wish, chance: random.Random) -> float:
    """Order at one machine after another until one takes the order; return when it can be paid no more."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        wish.device = chance.choice(phone.street.devices)
        drink, size, _, wish.price_minor = chance.choice(MENU)
        body: dict[str, Any] = {"drink": drink, "size": size, "language": "en"}
        body["price"] = {"value": amount(wish.price_minor), "currency": "RUB"}
        if wish.number % 3 == 0:
            wish.contact = body["contact"] = f"buyer-{wish.number}@example.org"
        if wish.behaviour == "link":
            body["link"] = await _shown_link(phone, wish.device, drink, size)
        path = f"{PREFIX}/public/devices/{wish.device}/orders"
        answer = await phone.ask("POST", path, json=body, accept=(201, 403, 409, 410))
        if answer.status_code == 201:
            made = answer.json()
            wish.order_id, wish.token, wish.invoice_id = made["order_id"], made["token"], made["invoice_id"]
            return datetime.fromisoformat(made["status"]["expires_at"]).timestamp()
        phone.street.failures[f"refused: {str(answer.json().get('type', '')).rpartition(':')[2]}"] += 1
        await asyncio.sleep(_REFUSED_PAUSE_S)
    raise TimeoutError("no machine took an order")


async def _shown_link(phone: Phone, device: str, drink: str, size: str) -> dict[str, Any]:
    """Press a button on the machine, and read the code that it shows."""
    answer = await phone.machines.post(f"/control/machines/{device}/choose", json={"drink": drink, "size": size})
    answer.raise_for_status()
    said = parse_qs(urlsplit(answer.json()["url"]).query)
    return {"order": said["order"][0], "ts": int(said["ts"][0]), "sig": said["sig"][0]}


async def _start(phone: Phone, wish: Wish) -> dict[str, Any]:
    """Press the button of the pay page; empty when the invoice cannot be paid any more."""
    path = f"/payments/api/v1/pay/{wish.invoice_id}"
    answer = await phone.ask("POST", path, json={"language": "en"}, accept=(200, 201, 409, 410))
    return dict(answer.json().get("widget") or {}) if answer.status_code in (200, 201) else {}


async def _pay_late(phone: Phone, wish: Wish, widget: dict[str, Any], expires_at: float) -> None:
    """Come back from the bank's page when the order has expired: the provider takes the money all the same."""
    while widget and time.time() < expires_at - _AFTER_EXPIRY_S:
        intent = (await phone.emulator.post("/widget/intents", json=widget)).json()
        card = {"number": THREE_DS_CARD, "expires": "12/49", "cvc": "123", "email": "late@example.org"}
        page = await phone.emulator.post(intent["path"], data=card)
        if page.status_code == 303:
            transaction = urlsplit(page.headers["Location"]).path.rpartition("/")[2]
            await asyncio.sleep(max(0.0, expires_at + _AFTER_EXPIRY_S - time.time()))
            passed = {"MD": transaction, "PaRes": f"pares-ok-{transaction}"}
            (await phone.emulator.post(f"/widget/3ds/{intent['id']}", data=passed)).raise_for_status()
            return
        # The shop could not be asked: try again while there is time.
        await asyncio.sleep(1.0)


def plan_of(count: int, seed: int) -> list[Wish]:
    """Return who wants what: every behaviour at least once, those who come late first."""
    chance = random.Random(seed)
    names, weights = [name for name, _ in BEHAVIOURS], [weight for _, weight in BEHAVIOURS]
    chosen = [*names, "pay_late", *chance.choices(names, weights, k=max(0, count - len(names) - 1))][:count]
    chosen.sort(key=lambda name: name != "pay_late")
    rest = chosen[chosen.count("pay_late") :]
    chance.shuffle(rest)
    return [Wish(n, name) for n, name in enumerate([*chosen[: chosen.count("pay_late")], *rest])]


async def queueing(street: Street, count: int, spread_s: float, progress: Any) -> None:
    """Let `count` buyers come one after the other within `spread_s` seconds."""
    street.wishes.extend(plan_of(count, street.seed))
    phone, slots = Phone(street), asyncio.Semaphore(AT_ONCE)
    began = time.monotonic()

    async def one(wish: Wish) -> None:
        await asyncio.sleep(max(0.0, began + spread_s * wish.number / count - time.monotonic()))
        # Who waits for an order to expire takes no place away from others.
        place = asyncio.Semaphore() if wish.behaviour == "pay_late" else slots
        async with place:
            try:
                await want(phone, wish)
                wish.finished = True
            except (TimeoutError, httpx2.HTTPError, KeyError) as error:
                wish.trouble = f"{type(error).__name__}: {error}"
            progress()

    await asyncio.gather(*(one(wish) for wish in street.wishes))
    await phone.close()
