"""The load on wallets and payouts: money is asked out while everything breaks, some is called off or tried again."""

import asyncio
import contextlib
import random
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.chaos.buyers import Client, Shop
from tests.e2e.scenario import Person, ScenarioError, log_in, manager_of, register

AT_ONCE = 6
OWNERS = 4
_PREFIX = "/payments/api/v1"
_DECIDE_S = 60.0
_PAUSE_S = 0.25
_RETRIES_MAX = 4
# A deposit is asked for now and then; it is the withdrawals that may go wrong in more ways.
BEHAVIOURS = (("pay_out", 40), ("cancel", 15), ("retry", 15), ("withdraw", 20), ("deposit", 10))
PROVIDERS = ("mock", "cloudpayments")


@dataclass
class Outgoing:
    """What one person did with one payout (or deposit), as that person knows it."""

    number: int
    behaviour: str
    provider: str
    payout_id: str = ""
    finished: bool = False
    trouble: str = ""


@dataclass
class Desk:
    """Who asks, and what was asked so far."""

    shop: Shop
    token: str
    """A card token that the provider knows, for payouts to it."""
    owners: list[Person] = field(default_factory=list)
    asked: list[Outgoing] = field(default_factory=list)
    troubles: Counter[str] = field(default_factory=Counter)


def open_desk(shop: Shop) -> Desk:
    """Register wallet owners and give each of them money, before anything breaks."""
    with httpx2.Client(base_url=shop.site.emulator_url, timeout=15, trust_env=False) as emulator:
        answer = emulator.post("/sandbox/tokens", json={"public_id": shop.public_id, "account_id": "chaos"})
        answer.raise_for_status()
        desk = Desk(shop, str(answer.json()["token"]))
    for _ in range(OWNERS):
        owner = log_in(register(shop.site))
        owner.call(
            "POST",
            f"{_PREFIX}/payments/deposit",
            json={"amount": _money(500_000), "provider": "mock"},
            headers={"Idempotency-Key": str(uuid.uuid4())},
            expect=(202,),
        )
        # From here on only the token is used, on connections of the load's own.
        owner.http.close()
        desk.owners.append(owner)
    return desk


def ask_for_one(desk: Desk) -> None:
    """Ask for one payout through the mock provider, as a manager; whatever goes wrong is somebody else's harm."""
    body = {
        "source": "house:payouts", "amount": _money(12_300), "provider": "mock", "description": "chaos",
        "recipient": {"kind": "sbp", "phone": "+79161234567", "bank_id": "100000000004"},
    }  # fmt: skip
    with (
        contextlib.suppress(httpx2.HTTPError, ScenarioError),
        contextlib.closing(manager_of(desk.shop.site).http) as manager,
    ):
        manager.post(f"{_PREFIX}/payouts", json=body, headers={"Idempotency-Key": str(uuid.uuid4())})


def _money(minor: int) -> dict[str, str]:
    return {"value": f"{minor // 100}.{minor % 100:02d}", "currency": "RUB"}


async def paying_out(desk: Desk, count: int, seed: int) -> None:
    """Ask for `count` payouts and deposits, a few at a time."""
    chance = random.Random(seed + 1)
    names, weights = [name for name, _ in BEHAVIOURS], [weight for _, weight in BEHAVIOURS]
    plan = [Outgoing(n, chance.choices(names, weights)[0], chance.choice(PROVIDERS)) for n in range(count)]
    desk.asked.extend(plan)
    client, slots = Client(desk.shop), asyncio.Semaphore(AT_ONCE)

    async def one(outgoing: Outgoing) -> None:
        async with slots:
            try:
                await _ask(desk, client, outgoing, chance.randint(100, 20_000))
                outgoing.finished = True
            except (TimeoutError, httpx2.HTTPError, KeyError) as error:
                outgoing.trouble = f"{type(error).__name__}: {error}"
                desk.troubles[outgoing.trouble[:100]] += 1

    await asyncio.gather(*(one(outgoing) for outgoing in plan))
    await client.close()


async def _ask(desk: Desk, client: Client, outgoing: Outgoing, minor: int) -> None:
    recipient: dict[str, Any] = {"kind": "card_token", "token": desk.token}
    if outgoing.provider == "mock" or outgoing.behaviour in ("deposit", "withdraw"):
        recipient = {"kind": "sbp", "phone": "+79161234567", "bank_id": "100000000004"}
    body: dict[str, Any] = {"amount": _money(minor), "provider": outgoing.provider}
    if outgoing.behaviour in ("deposit", "withdraw"):
        owner = desk.owners[outgoing.number % len(desk.owners)]
        body["provider"] = "mock"
        if outgoing.behaviour == "withdraw":
            body["recipient"] = recipient
        path = f"{_PREFIX}/payments/{outgoing.behaviour}"
        authorization = {"Authorization": owner.http.headers["Authorization"]}
        answer = await client.call("POST", path, json=body, headers=authorization, accept=(202,))
        outgoing.payout_id = answer.json()["id"]
        return
    body |= {"source": "house:payouts", "recipient": recipient, "description": f"chaos {outgoing.number}"}
    answer = await client.call("POST", f"{_PREFIX}/payouts", json=body, accept=(202,))
    outgoing.payout_id = answer.json()["id"]
    if outgoing.behaviour == "cancel":
        await client.call("POST", f"{_PREFIX}/payouts/{outgoing.payout_id}/cancel", accept=(200, 202, 409))
    if outgoing.behaviour == "retry":
        await _retry(client, outgoing.payout_id)


async def _retry(client: Client, payout_id: str) -> None:
    """Try a payout again as often as it fails, within reason; one that never fails needs none of it."""
    tries = 0
    for _ in range(int(_DECIDE_S / _PAUSE_S)):
        found = (await client.call("GET", f"{_PREFIX}/payouts/{payout_id}", accept=(200,))).json()
        if found["status"] in ("completed", "canceled") or tries >= _RETRIES_MAX:
            return
        if found["status"] == "failed":
            tries += 1
            # 409: somebody was faster, or nobody knows yet what became of the last try.
            await client.call("POST", f"{_PREFIX}/payouts/{payout_id}/retry", accept=(200, 202, 409))
        await asyncio.sleep(_PAUSE_S)
