"""The gateway's CloudPayments code against the emulator, which was written apart from it.

What one side sends, the other must understand: methods, signatures and fields, in every encoding that can be chosen.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
import uvicorn
from fastapi import FastAPI, Request
from pydantic import SecretStr

from copeck.kernel.money import Money
from payments_gateway.domain.provider import AttemptStatus, NotificationKind, RawCallback, Shop, Verdict
from payments_gateway.domain.provider import WidgetOrder as Order
from payments_gateway.providers.cloudpayments import mapping, webhook
from payments_gateway.providers.cloudpayments.client import CloudPaymentsClient
from sandbox.providers.cloudpayments.app import create_app
from sandbox.providers.cloudpayments.settings import Settings
from sandbox.providers.cloudpayments.settings import Shop as Terminal

pytestmark = pytest.mark.integration
KEYS = ("pk_contract", "contract_secret")
WAIT_S = 10.0
NO_FUNDS = "4000056655665556"


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[str]:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))
        task = asyncio.create_task(server.serve(sockets=[bound]))
        async with asyncio.timeout(WAIT_S):
            while not server.started:  # noqa: ASYNC110 - the server offers no event
                await asyncio.sleep(0.005)
        try:
            yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


@dataclass
class World:
    """The emulator, the gateway's client of it, and the notifications that came."""

    http: httpx2.AsyncClient
    shop: Shop
    client: CloudPaymentsClient = field(default_factory=CloudPaymentsClient)
    received: list[tuple[NotificationKind, RawCallback]] = field(default_factory=list)

    async def pay(self, **more: Any) -> dict[str, Any]:
        body = {"public_id": KEYS[0], "amount": "199.90", "externalId": str(uuid4()), "accountId": "customer"} | more
        answer = await self.http.post("/checkout", json=body)
        assert answer.status_code == 200, answer.text
        return {**answer.json(), "invoice_id": body["externalId"]}

    async def callback(self, kind: NotificationKind) -> RawCallback:
        async with asyncio.timeout(WAIT_S):
            while True:
                found = [callback for name, callback in self.received if name is kind]
                if found:
                    return found[-1]
                await asyncio.sleep(0.01)


def receiver(received: list[tuple[NotificationKind, RawCallback]]) -> FastAPI:
    """A shop that takes everything, keeping it as the gateway would."""
    app = FastAPI()

    @app.api_route("/{kind}", methods=["GET", "POST"])
    async def take(kind: NotificationKind, request: Request) -> dict[str, int]:
        body = request.url.query.encode() if request.method == "GET" else await request.body()
        headers = {name.lower(): value for name, value in request.headers.items()}
        received.append((kind, RawCallback(request.method, body, headers, headers.get("content-type", ""))))
        return {"code": 0}

    return app


@asynccontextmanager
async def world_of(data_dir: Path, **terminal: Any) -> AsyncIterator[World]:
    received: list[tuple[NotificationKind, RawCallback]] = []
    async with serving(receiver(received)) as shop_url:
        shop = Terminal(public_id=KEYS[0], api_secret=SecretStr(KEYS[1]), notify_url=shop_url + "/{type}", **terminal)
        app = create_app(Settings(data_dir=data_dir, shops=[shop], time_scale=0.0005))
        async with serving(app) as url, httpx2.AsyncClient(base_url=url, timeout=WAIT_S) as http:
            built = World(http, Shop("cloudpayments", "main", *KEYS, api_url=url), received=received)
            yield built
            await built.client.close()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with world_of(tmp_path) as built:
        yield built


@pytest.mark.parametrize("shape", ["form", "json", "get", "windows-1251"])
async def test_signed_notifications_are_understood(tmp_path: Path, shape: str) -> None:
    terminal: dict[str, Any] = {"json": {"notify_body": "json"}, "get": {"notify_method": "GET"}}.get(shape, {})
    payment_id = uuid4()
    async with world_of(tmp_path, **terminal) as world:
        if shape == "windows-1251":
            shown = await world.http.post("/site/notifications/pay/get", auth=KEYS)
            body = {"Address": shown.json()["Model"]["Address"], "Encoding": "Windows1251", "HttpMethod": "POST"}
            await world.http.post("/site/notifications/pay/update", json=body, auth=KEYS)
        paid = await world.pay(description="Кофе + чай", metadata={"payment_id": str(payment_id)})
        raw = await world.callback(NotificationKind.PAY)
    assert webhook.verify(KEYS[1], raw)
    assert not webhook.verify("another", raw)
    fields = webhook.fields(raw)
    assert fields["Description"] == "Кофе + чай"
    seen = mapping.notification(NotificationKind.PAY, fields)
    assert seen.transaction_id == str(paid["transactionId"])
    assert (seen.invoice_ref, seen.account_ref, seen.payment_id) == (paid["invoice_id"], "customer", payment_id)
    assert (str(seen.amount), seen.currency, seen.status) == ("199.90", "RUB", AttemptStatus.SUCCEEDED)
    assert (seen.card_last_four, seen.is_test) == ("3055", True)
    clean, sealed = webhook.seal(KEYS[1], raw.body)
    assert paid["token"].encode() not in clean
    assert webhook.unseal(KEYS[1], clean, sealed) == raw.body


async def test_every_kind_of_notification_is_read(world: World) -> None:
    receipt = {"Items": [{"label": "Coffee", "price": 1, "quantity": 1, "amount": 1}]}
    recurrent = {"interval": "Month", "period": 1}
    paid = await world.pay(metadata={"CloudPayments": {"CustomerReceipt": receipt}}, recurrent=recurrent)
    held = await world.pay(paymentSchema="Dual")
    other = await world.pay(paymentSchema="Dual")
    declined = await world.pay(card=NO_FUNDS)
    number = str(held["transactionId"])
    amount = Money.parse("99.90", "RUB")
    confirmed = await world.client.confirm(world.shop, key="confirm", transaction_id=number, amount=amount)
    assert confirmed.verdict is Verdict.SUCCEEDED
    voided = await world.client.void(world.shop, key="void", transaction_id=str(other["transactionId"]))
    assert voided.verdict is Verdict.SUCCEEDED
    refund_id = uuid4()
    refunded = await world.client.refund(
        world.shop, key="refund", transaction_id=number, amount=amount, refund_id=refund_id
    )
    assert refunded.verdict is Verdict.SUCCEEDED
    read = {}
    for kind in NotificationKind:
        raw = await world.callback(kind)
        assert webhook.verify(KEYS[1], raw), kind
        read[kind] = mapping.notification(kind, webhook.fields(raw))
    assert read[NotificationKind.FAIL].reason_code == declined["reasonCode"] == 5051
    assert read[NotificationKind.REFUND].original_transaction_id == number
    assert read[NotificationKind.REFUND].refund_id == refund_id
    assert read[NotificationKind.REFUND].transaction_id == refunded.transaction_id
    assert str(read[NotificationKind.CONFIRM].amount) == "99.90"
    assert read[NotificationKind.CANCEL].transaction_id == str(other["transactionId"])
    assert read[NotificationKind.RECEIPT].transaction_id == str(paid["transactionId"])


async def test_refund_is_made_once_by_key_and_found(world: World) -> None:
    paid = await world.pay()
    number, refund_id = str(paid["transactionId"]), uuid4()
    amount = Money.parse("100.00", "RUB")
    answers = [
        await world.client.refund(world.shop, key="same", transaction_id=number, amount=amount, refund_id=refund_id)
        for _ in range(2)
    ]
    assert answers[0].verdict is answers[1].verdict is Verdict.SUCCEEDED
    assert answers[0].transaction_id == answers[1].transaction_id
    rest = await world.client.refund(world.shop, key="more", transaction_id=number, amount=amount, refund_id=uuid4())
    assert rest.verdict is Verdict.REJECTED
    got = await world.client.get(world.shop, transaction_id=number)
    [payment] = got.transactions
    assert (payment.status, payment.amount, payment.refunded) == (
        AttemptStatus.SUCCEEDED, Money.parse("199.90", "RUB"), True
    )  # fmt: skip
    found = await world.client.find(world.shop, invoice_id=paid["invoice_id"])
    [last] = found.transactions
    assert (last.is_refund, last.refund_id, last.original_transaction_id) == (True, refund_id, number)
    now = datetime.now(UTC)
    listed = await world.client.list_between(
        world.shop, since=now - timedelta(minutes=5), until=now + timedelta(minutes=1), page=1
    )
    assert [item.is_refund for item in listed.transactions] == [False, True]
    nothing = await world.client.find(world.shop, invoice_id=uuid4())
    assert nothing.known
    assert nothing.transactions == ()


@pytest.mark.parametrize(
    ("switch", "verdict"),
    [("too_many", Verdict.UNKNOWN), ("error_before", Verdict.UNKNOWN), ("error_after_success", Verdict.UNKNOWN)],
)
async def test_faults_are_unknown_and_the_same_key_settles_them(world: World, switch: str, verdict: Verdict) -> None:
    number = str((await world.pay())["transactionId"])
    await world.http.put("/sandbox/chaos", json={"once": [{"switch": switch, "operation": "refund"}]})
    amount, refund_id = Money.parse("199.90", "RUB"), uuid4()
    answers = [
        await world.client.refund(world.shop, key="key", transaction_id=number, amount=amount, refund_id=refund_id)
        for _ in range(2)
    ]
    assert [answer.verdict for answer in answers] == [verdict, Verdict.SUCCEEDED]
    totals = (await world.http.get("/sandbox/totals")).json()
    assert totals["refunded_minor"] == 19990


async def test_wrong_secret_was_not_executed(world: World) -> None:
    number = str((await world.pay())["transactionId"])
    wrong = Shop("cloudpayments", "main", KEYS[0], "wrong", api_url=world.shop.api_url)
    answer = await world.client.void(wrong, key="key", transaction_id=number)
    assert answer.verdict is Verdict.NOT_SENT


async def test_forged_notifications_are_refused(world: World) -> None:
    for forged_with in ("wrong_secret", "no_signature", "stale_signature"):
        world.received.clear()
        await world.http.put("/sandbox/chaos", json={
            "options": {"forged_with": forged_with}, "once": [{"switch": "forged", "operation": "fail"}],
        })  # fmt: skip
        await world.pay(card=NO_FUNDS)
        assert not webhook.verify(KEYS[1], await world.callback(NotificationKind.PAY)), forged_with
        assert webhook.verify(KEYS[1], await world.callback(NotificationKind.FAIL))


async def test_widget_takes_our_parameters(world: World) -> None:
    invoice_id, payment_id = uuid4(), uuid4()
    order = Order(
        invoice_id=invoice_id, payment_id=payment_id, amount=Money.parse("0.10", "RUB"), description="Cinema",
        account_ref="customer", language="en", two_stage=True,
    )  # fmt: skip
    parameters = mapping.widget_parameters(KEYS[0], order)
    answer = await world.http.post("/widget/intents", json={**parameters, "amount": float(parameters["amount"])})
    assert answer.status_code == 200, answer.text
    card = {"number": "4000000000003055", "expires": "12/49", "cvc": "123"}
    page = await world.http.post(answer.json()["path"], data=card)
    assert "Payment completed" in page.text
    raw = await world.callback(NotificationKind.PAY)
    seen = mapping.notification(NotificationKind.PAY, webhook.fields(raw))
    assert (seen.invoice_ref, seen.payment_id, str(seen.amount)) == (str(invoice_id), payment_id, "0.10")
    assert seen.status is AttemptStatus.AUTHORIZED
