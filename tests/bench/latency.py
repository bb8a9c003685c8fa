"""From a provider's callback to an active subscription, over the whole stack, at a steady rate.

Measured from outside: the clock starts when the signed callback is sent and stops when the event
`subscription.activated` arrives on a queue of the bench's own, so one hop more than the customer waits for.
"""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import statistics
import time
import uuid
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import aiormq
import httpx2

from deploy.devstack import prepare
from deploy.devstack.stack import Stack
from tests.chaos.buyers import Client, Shop
from tests.e2e.scenario import Site, manager_of, seed_plans

RATE_PER_S = 50
SECONDS = 20
WARM_UP = 50
_PREPARE_AT_ONCE = 8
_TIMEOUT_S = 30.0


def callback(invoice_id: str, transaction: int, account_id: str, amount: str = "199.00") -> bytes:
    """Return the body of a Pay notification in roubles."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
    fields = {
        "TransactionId": transaction,
        "Amount": amount,
        "Currency": "RUB",
        "PaymentAmount": amount,
        "PaymentCurrency": "RUB",
        "DateTime": now,
        "CardFirstSix": "400000",
        "CardLastFour": "3055",
        "CardType": "Visa",
        "CardExpDate": "12/49",
        "TestMode": 1,
        "Status": "Completed",
        "OperationType": "Payment",
        "GatewayName": "Test",
        "InvoiceId": invoice_id,
        "AccountId": account_id,
    }
    return urlencode(fields).encode()


def signed(secret: str, body: bytes) -> dict[str, str]:
    """Return the headers of a notification."""
    from urllib.parse import unquote_to_bytes

    def sign(message: bytes) -> str:
        return base64.b64encode(hmac.new(secret.encode(), message, hashlib.sha256).digest()).decode()

    return {
        "Content-Type": "application/x-www-form-urlencoded",
        "Content-HMAC": sign(body),
        "X-Content-HMAC": sign(unquote_to_bytes(body.replace(b"+", b" "))),
    }


async def _subscriptions(shop: Shop, count: int) -> dict[str, str]:
    """Make subscriptions that wait to be paid; returns subscription by invoice."""
    client, slots = Client(shop), asyncio.Semaphore(_PREPARE_AT_ONCE)
    made: dict[str, str] = {}

    async def one() -> None:
        async with slots:
            body = {"user_id": str(uuid.uuid4()), "plan_id": shop.plan_id}
            answer = await client.call("POST", "/admin/api/v1/subscriptions", json=body, accept=(201,))
            invoice = answer.json()["invoice"]["id"]
            await client.call("POST", f"/payments/api/v1/pay/{invoice}", json={"language": "en"}, accept=(200, 201))
            made[invoice] = answer.json()["id"]

    await asyncio.gather(*(one() for _ in range(count)))
    await client.close()
    return made


async def _measure(stack: Stack, shop: Shop, secret: str) -> dict[str, float]:
    made = await _subscriptions(shop, RATE_PER_S * SECONDS + WARM_UP)
    url = prepare.with_login(
        stack.infra.endpoints.rabbitmq_url, "deployer", stack.logins.broker["deployer"], "/billing"
    )
    connection = await aiormq.connect(url)
    channel = await connection.channel()
    queue = (await channel.queue_declare("", exclusive=True)).queue or ""
    await channel.queue_bind(queue, "billing.events", "subscription.activated")
    began: dict[str, float] = {}
    took: dict[str, float] = {}
    complete = asyncio.Event()

    async def arrived(message: Any) -> None:
        subscription = message.header.properties.headers["cloudEvents:subject"]
        if subscription in began:
            took.setdefault(subscription, time.monotonic() - began[subscription])
            if len(took) == len(made):
                complete.set()

    await channel.basic_consume(queue, arrived, no_ack=True)
    gateway = stack.state()["urls"]["payments-gateway"]
    path = "/payments/api/v1/paid/cloudpayments/main/pay"
    async with httpx2.AsyncClient(base_url=gateway, timeout=_TIMEOUT_S, trust_env=False) as client:
        answers: list[float] = []

        async def pay(invoice: str, subscription: str, number: int) -> None:
            body = callback(invoice, number, "")
            began[subscription] = time.monotonic()
            answer = await client.post(path, content=body, headers=signed(secret, body))
            answers.append(time.monotonic() - began[subscription])
            if answer.status_code != 200 or answer.json() != {"code": 0}:
                raise RuntimeError(f"a callback was answered {answer.status_code}: {answer.text[:200]}")

        tasks = []
        start = time.monotonic()
        for n, (invoice, subscription) in enumerate(made.items()):
            await asyncio.sleep(max(0.0, start + n / RATE_PER_S - time.monotonic()))
            tasks.append(asyncio.create_task(pay(invoice, subscription, 5 * 10**11 + n)))
        await asyncio.gather(*tasks)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(complete.wait(), _TIMEOUT_S)
    await connection.close()
    if len(took) < len(made):
        raise RuntimeError(f"{len(made) - len(took)} of {len(made)} subscriptions did not become active")
    # The first second fills connection pools and plans; it is not part of a steady rate.
    samples = sorted([took[subscription] for subscription in made.values()][WARM_UP:])
    steady = sorted(answers[WARM_UP:])
    return {
        "payments": float(len(samples)),
        "rate_per_s": float(RATE_PER_S),
        "p50_ms": statistics.median(samples) * 1000,
        "p99_ms": samples[int(len(samples) * 0.99)] * 1000,
        "max_ms": samples[-1] * 1000,
        "callback_answer_p99_ms": steady[int(len(steady) * 0.99)] * 1000,
    }


def run() -> dict[str, float]:
    """Start a stack of its own, measure, stop it."""
    # The servers of the other benches belong to an instance of that name already.
    with Stack("latency") as stack:
        state = stack.state()
        site = Site.of_state(state)
        seed_plans(site)
        manager = manager_of(site)
        plans = manager.call("GET", "/admin/api/v1/plans").json()["items"]
        manager.http.close()
        shop = Shop(site, state["shop"]["public_id"], next(plan["id"] for plan in plans if plan["code"] == "month"))
        return asyncio.run(_measure(stack, shop, state["shop"]["api_secret"]))
