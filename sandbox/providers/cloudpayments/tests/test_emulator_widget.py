"""The payer's pages, followed by links and forms as a browser would."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import KEYS, Emulator, Listener

pytestmark = pytest.mark.integration
CARD = {"expires": "12/49", "cvc": "123"}


async def opened(emulator: Emulator, **more: Any) -> str:
    intent = {
        "publicTerminalId": KEYS[0], "amount": 199.5, "currency": "RUB", "paymentSchema": "Single",
        "externalId": "inv-1", "userInfo": {"accountId": "user-1"}, "culture": "en-US",
    } | more  # fmt: skip
    answer = await emulator.client.post("/widget/intents", json=intent)
    assert answer.status_code == 200, answer.text
    assert answer.headers["access-control-allow-origin"] == "*"
    return str(answer.json()["path"])


async def test_script_is_served(emulator: Emulator) -> None:
    answer = await emulator.client.get("/bundles/cloudpayments.js")
    assert answer.headers["content-type"].startswith("text/javascript")
    assert "CloudPayments.prototype.start" in answer.text
    assert (await emulator.client.options("/widget/intents")).status_code == 204


async def test_paid_by_the_form(emulator: Emulator, shop_listener: Listener) -> None:
    path = await opened(emulator)
    page = await emulator.client.get(path)
    assert "199.50 RUB" in page.text
    assert '<html lang="en">' in page.text
    paid = await emulator.client.post(path, data={"number": "4000 0000 0000 3055", "email": "a@b.example", **CARD})
    assert "Payment completed" in paid.text
    again = await emulator.client.post(path, data={"number": "4000000000003055", **CARD})
    assert "Payment completed" in again.text
    assert len(await emulator.log("payment.charged")) == 1
    [pay] = await shop_listener.wait_for("pay")
    assert b"Email=a%40b.example" in pay.body


async def test_declined_then_paid_with_three_ds(emulator: Emulator) -> None:
    path = await opened(emulator, culture="ru-RU", paymentSchema="Dual")
    declined = await emulator.client.post(path, data={"number": "4000056655665556", **CARD})
    assert "Недостаточно средств на карте" in declined.text
    assert 'id="again"' in declined.text
    wrong = await emulator.client.post(path, data={"number": "4242", **CARD})
    assert wrong.status_code == 422
    assert "Проверьте номер карты" in wrong.text
    bank = await emulator.client.post(path, data={"number": "4242424242424242", **CARD})
    assert bank.status_code == 303
    page = await emulator.client.get(bank.headers["location"])
    assert "3-D Secure" in page.text
    number = bank.headers["location"].split("/")[2].split("?")[0]
    intent_id = path.rsplit("/", 1)[1]
    done = await emulator.client.post(f"/widget/3ds/{intent_id}", data={"MD": number, "PaRes": f"pares-ok-{number}"})
    assert "Оплата прошла успешно" in done.text
    assert len(await emulator.log("payment.authorized")) == 1


async def test_parameters_that_the_widget_refuses(emulator: Emulator) -> None:
    bodies: list[Any] = [
        {"publicTerminalId": "pk_nobody", "amount": 1},
        {"publicTerminalId": KEYS[0], "amount": 0},
        {"publicTerminalId": KEYS[0], "amount": 1, "paymentSchema": "Triple"},
        [],
    ]
    for body in bodies:
        assert (await emulator.client.post("/widget/intents", json=body)).status_code == 400
    assert (await emulator.client.post("/checkout", json={"public_id": KEYS[0], "amount": "x"})).status_code == 400
    assert (await emulator.client.get("/widget/form/none")).status_code == 404
    assert (await emulator.client.post("/widget/form/none", data={})).status_code == 404
    assert (await emulator.client.get("/acs/1", params={"intent": "none"})).status_code == 404
    assert (await emulator.client.post("/acs", data={"MD": "1", "TermUrl": "javascript:x"})).status_code == 400


async def test_texts_are_escaped(emulator: Emulator) -> None:
    page = await emulator.client.get(await opened(emulator, description="<script>alert(1)</script>"))
    assert "<script>alert(1)" not in page.text


async def test_cards_are_listed_and_health(emulator: Emulator) -> None:
    assert len((await emulator.client.get("/sandbox/cards")).json()) == 7
    assert (await emulator.client.get("/healthz")).json()["status"] == "ok"
