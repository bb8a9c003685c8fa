"""The API against a running emulator, with a shop that answers its notifications."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from typing import Any
from urllib.parse import parse_qs, unquote_plus

import orjson
import pytest

from .conftest import KEYS, Emulator, Listener, Received, Start

pytestmark = pytest.mark.integration


def signed(item: Received, secret: str = KEYS[1]) -> bool:
    """Check both signatures the way a shop would, without the emulator's code."""

    def mac(message: bytes) -> str:
        return base64.b64encode(hmac.new(secret.encode(), message, hashlib.sha256).digest()).decode()

    plain = item.body if item.body.startswith(b"{") else unquote_plus(item.body.decode()).encode()
    return (item.headers.get("content-hmac"), item.headers.get("x-content-hmac")) == (mac(item.body), mac(plain))


def fields(item: Received) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(item.body.decode(), keep_blank_values=True).items()}


async def cryptogram(emulator: Emulator, number: str) -> str:
    answer = await emulator.client.post("/sandbox/cryptogram", json={"number": number})
    return str(answer.json()["CardCryptogramPacket"])


async def test_paid_order_is_checked_charged_and_notified(emulator: Emulator, shop_listener: Listener) -> None:
    outcome = await emulator.checkout(metadata={"кофе": 1})
    assert (outcome["status"], outcome["amount_minor"]) == ("Completed", 19900)
    [check] = await shop_listener.wait_for("check")
    [pay] = await shop_listener.wait_for("pay")
    assert signed(check)
    assert signed(pay)
    assert not signed(pay, "another")
    told = fields(pay)
    assert told["Amount"] == "199.00"
    assert told["TransactionId"] == str(outcome["transactionId"])
    assert (told["InvoiceId"], told["AccountId"], told["Status"]) == ("inv-1", "user-1", "Completed")
    assert (told["OperationType"], told["TestMode"], told["Token"]) == ("Payment", "1", outcome["token"])
    assert orjson.loads(told["Data"]) == {"кофе": 1}
    assert "4000000000003055" not in pay.body.decode()
    totals = (await emulator.client.get("/sandbox/totals")).json()
    assert (totals["charged_minor"], totals["refunded_minor"]) == (19900, 0)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b'{"code":10}', 3001), (b'{"code":11}', 3002), (b'{"code":12}', 3003), (b'{"code":13}', 3008),
        (b'{"code":20}', 3004), (b'{"code":99}', 3005), (b"garbage", 3005), (500, 3006),
    ],
)  # fmt: skip
async def test_check_refusals_decline(
    emulator: Emulator, shop_listener: Listener, answer: bytes | int, code: int
) -> None:
    shop_listener.answers["check"] = [answer]
    outcome = await emulator.checkout()
    assert (outcome["status"], outcome["reasonCode"]) == ("Declined", code)
    await shop_listener.wait_for("fail")
    assert len(shop_listener.of("check")) == 1
    assert not shop_listener.of("pay")


async def test_check_without_answer_declines(start: Start, shop_listener: Listener) -> None:
    async with start(shop={"notify_url": "http://127.0.0.1:9/{type}"}, notify_attempts_max=1) as emulator:
        assert (await emulator.checkout())["reasonCode"] == 3007


async def test_declined_card_tells_why(emulator: Emulator, shop_listener: Listener) -> None:
    outcome = await emulator.checkout(card="4000056655665556", culture="en-US")
    assert (outcome["reason"], outcome["message"]) == ("InsufficientFunds", "Insufficient funds")
    [fail] = await shop_listener.wait_for("fail")
    assert (fields(fail)["ReasonCode"], fields(fail)["Reason"]) == ("5051", "InsufficientFunds")
    assert (await emulator.checkout(decline_with=5057))["reasonCode"] == 5057
    assert (await emulator.checkout(card="4242424242424242", three_ds="refuse"))["reasonCode"] == 5206
    assert (await emulator.checkout(card="4242424242424242"))["status"] == "Completed"
    waiting = await emulator.checkout(card="4242424242424242", three_ds="abandon")
    assert waiting["status"] == "AwaitingAuthentication"


async def test_notification_is_repeated_until_code_zero(emulator: Emulator, shop_listener: Listener) -> None:
    shop_listener.answers["pay"] = [500, b"<html>", b'{"code":13}']
    await emulator.checkout()
    assert len(await shop_listener.wait_for("pay", 4)) == 4
    attempts = await emulator.wait_log("notification.attempt", 4)
    assert [item["attempt"] for item in attempts] == [1, 2, 3, 4]
    assert [item["state"] for item in attempts] == ["pending", "pending", "pending", "delivered"]
    assert len({item.body for item in shop_listener.of("pay")}) == 1


async def test_basic_auth_and_envelope(emulator: Emulator) -> None:
    assert (await emulator.client.post("/test")).status_code == 401
    for auth in ((KEYS[0], "wrong"), ("pk_nobody", KEYS[1]), ("pk_other", KEYS[1])):
        answer = await emulator.client.post("/test", auth=auth)
        assert answer.status_code == 401
    answer = await emulator.client.get("/test", auth=KEYS)
    assert answer.json()["Success"] is True
    refused = await emulator.api("/payments/get", {"TransactionId": 1})
    assert refused == {"Success": False, "Message": "Not found"}
    assert (await emulator.api("/payments/refund", {"TransactionId": 1}))["Success"] is False
    assert (await emulator.client.post("/payments/get", content=b"{", auth=KEYS,
            headers={"Content-Type": "application/json"})).status_code == 400  # fmt: skip


async def test_form_and_json_bodies_are_the_same(emulator: Emulator) -> None:
    await emulator.checkout()
    by_json = await emulator.api("/v2/payments/find", {"invoiceId": "inv-1"})
    form = await emulator.client.post("/v2/payments/find", data={"InvoiceId": "inv-1"}, auth=KEYS)
    assert by_json == form.json()
    assert b'"Amount":199.00' in form.content
    model = by_json["Model"]
    assert (model["Status"], model["StatusCode"], model["Type"]) == ("Completed", 3, 0)
    assert model["CreatedDate"].startswith("/Date(")


async def test_hold_confirm_void(emulator: Emulator, shop_listener: Listener) -> None:
    held = await emulator.checkout(paymentSchema="Dual")
    assert held["status"] == "Authorized"
    tx_id = held["transactionId"]
    assert not (await emulator.api("/payments/refund", {"TransactionId": tx_id, "Amount": "1"}))["Success"]
    assert not (await emulator.api("/payments/confirm", {"TransactionId": tx_id, "Amount": "200.00"}))["Success"]
    assert (await emulator.api("/payments/confirm", {"TransactionId": tx_id, "Amount": "150.00"}))["Success"]
    [confirm] = await shop_listener.wait_for("confirm")
    assert (fields(confirm)["Amount"], fields(confirm)["Status"]) == ("150.00", "Completed")
    assert not (await emulator.api("/payments/void", {"TransactionId": tx_id}))["Success"]
    second = await emulator.checkout(paymentSchema="Dual", externalId="inv-2")
    assert (await emulator.api("/payments/void", {"TransactionId": second["transactionId"]}))["Success"]
    [cancel] = await shop_listener.wait_for("cancel")
    assert fields(cancel)["TransactionId"] == str(second["transactionId"])
    third = await emulator.checkout(paymentSchema="Dual", externalId="inv-3")
    voided = await emulator.client.post("/sandbox/holds/release", json={"older_than_ms": 0})
    assert voided.json() == {"voided": 1}
    model = (await emulator.client.get(f"/sandbox/transactions/{third['transactionId']}")).json()
    assert model["Status"] == "Cancelled"
    assert (await emulator.client.get("/sandbox/totals")).json()["charged_minor"] == 15000


async def test_refund_in_parts_with_request_id(emulator: Emulator, shop_listener: Listener) -> None:
    tx_id = (await emulator.checkout())["transactionId"]
    body = {"TransactionId": tx_id, "Amount": "100.00"}
    first, twin = await asyncio.gather(
        emulator.api("/payments/refund", body, headers={"X-Request-ID": "r1"}),
        emulator.api("/payments/refund", body, headers={"X-Request-ID": "r1"}),
    )
    assert first == twin
    assert first["Success"]
    assert first["Model"]["TransactionId"] != tx_id
    assert not (await emulator.api("/payments/refund", body))["Success"]
    rest = await emulator.api("/payments/refund", {"TransactionId": tx_id, "Amount": "99.00"})
    assert rest["Success"]
    refunds = [fields(item) for item in await shop_listener.wait_for("refund", 2)]
    assert {item["PaymentTransactionId"] for item in refunds} == {str(tx_id)}
    assert sorted(item["Amount"] for item in refunds) == ["100.00", "99.00"]
    assert (await emulator.api("/payments/find", {"InvoiceId": "inv-1"}))["Model"]["Refunded"] is True
    assert (await emulator.api("/v2/payments/find", {"InvoiceId": "inv-1"}))["Model"]["Type"] == 1
    assert (await emulator.client.get("/sandbox/totals")).json()["refunded_minor"] == 19900


async def test_token_works_for_its_payer_and_terminal_only(emulator: Emulator) -> None:
    token = (await emulator.checkout(card="4111111111111111"))["token"]
    body = {"Amount": "10", "AccountId": "user-1", "Token": token, "TrInitiatorCode": 1, "InvoiceId": "inv-2"}
    declined = await emulator.api("/payments/tokens/charge", body)
    assert (declined["Success"], declined["Model"]["ReasonCode"]) == (False, 5051)
    for change in ({"AccountId": "user-2"}, {"TrInitiatorCode": None}, {"TrInitiatorCode": 0}, {"Token": "none"}):
        refused = await emulator.api("/payments/tokens/charge", body | change)
        assert "Model" not in refused, change
    cross = await emulator.api("/payments/tokens/charge", body, auth=("pk_other", "other_secret"))
    assert cross["Message"] == "CrossTerminalTokenRestriction"
    good = (await emulator.checkout())["token"]
    paid = await emulator.api("/payments/tokens/auth", body | {"Token": good})
    assert paid["Model"]["Status"] == "Authorized"
    listed = await emulator.api("/payments/tokens/list", {})
    assert {item["Token"] for item in listed["Model"]} == {token, good}


async def test_cryptogram_with_three_ds(emulator: Emulator) -> None:
    body = {"Amount": 10, "IpAddress": "1.2.3.4", "InvoiceId": "inv-9",
            "CardCryptogramPacket": await cryptogram(emulator, "4242424242424242")}  # fmt: skip
    wanted = await emulator.api("/payments/cards/charge", body)
    assert wanted["Success"] is False
    assert wanted["Model"]["AcsUrl"].endswith("/acs")
    tx_id = wanted["Model"]["TransactionId"]
    page = await emulator.client.post(
        "/acs", data={"MD": str(tx_id), "PaReq": wanted["Model"]["PaReq"], "TermUrl": "http://shop/back"}
    )
    assert f"pares-ok-{tx_id}" in page.text
    paid = await emulator.api("/payments/cards/post3ds", {"TransactionId": tx_id, "PaRes": f"pares-ok-{tx_id}"})
    assert paid["Model"]["Status"] == "Completed"
    plain = await emulator.api(
        "/payments/cards/auth", body | {"CardCryptogramPacket": await cryptogram(emulator, "4000000000003055")}
    )
    assert plain["Model"]["Status"] == "Authorized"
    assert not (await emulator.api("/payments/cards/charge", body | {"CardCryptogramPacket": "x"}))["Success"]


async def test_lists_by_day_and_period(emulator: Emulator) -> None:
    for number in range(3):
        await emulator.checkout(externalId=f"inv-{number}", card="4000056655665556" if number == 2 else None)
    day = (await emulator.api("/v2/payments/find", {"InvoiceId": "inv-0"}))["Model"]["CreatedDateIso"][:10]
    assert len((await emulator.api("/payments/list", {"Date": day}))["Model"]) == 3
    period = {"CreatedDateGte": f"{day}T00:00:00Z", "PageNumber": 1}
    declined = await emulator.api("/v2/payments/list", period | {"Statuses": ["Declined"]})
    assert [item["InvoiceId"] for item in declined["Model"]] == ["inv-2"]
    assert (await emulator.api("/v2/payments/list", period | {"PageNumber": 2}))["Model"] == []
    assert not (await emulator.api("/payments/list", {"Date": day, "TimeZone": "Nowhere"}))["Success"]


async def test_concurrency_limit(start: Start, shop_listener: Listener) -> None:
    async with start(shop={"max_concurrent": None}) as emulator:
        await emulator.chaos(
            probabilities={"timeout_after_success": 1}, operations={"timeout_after_success": ["test"]},
            options={"timeout_ms": 700},
        )  # fmt: skip
        answers = await asyncio.gather(*(emulator.client.post("/test", auth=KEYS) for _ in range(8)))
        assert sorted(answer.status_code for answer in answers) == [429] * 3 + [504] * 5


async def test_addresses_by_the_api(emulator: Emulator, shop_listener: Listener) -> None:
    update = {"Address": shop_listener.url + "/pay", "IsEnabled": True}
    assert (await emulator.api("/site/notifications/Pay/update", update))["Success"]
    shown = (await emulator.api("/site/notifications/pay/get", {}))["Model"]
    assert (shown["HttpMethod"], shown["Encoding"], shown["Format"]) == ("GET", "UTF8", "CloudPayments")
    assert (await emulator.api("/site/notifications/check/update", {"IsEnabled": False}))["Success"]
    assert not (await emulator.api("/site/notifications/none/get", {}))["Success"]
    assert not (await emulator.api("/site/notifications/pay/update", {"Address": "ftp://x"}))["Success"]
    await emulator.checkout()
    [pay] = await shop_listener.wait_for("pay")
    assert pay.method == "GET"
    assert signed(pay)
    assert not shop_listener.of("check")


async def test_json_notifications(start: Start, shop_listener: Listener) -> None:
    async with start(shop={"notify_body": "json"}) as emulator:
        await emulator.checkout()
        [pay] = await shop_listener.wait_for("pay")
    assert signed(pay)
    assert b'"Amount":199.00' in pay.body
    assert pay.headers["content-type"].startswith("application/json")


async def test_subscriptions_of_the_provider(emulator: Emulator, shop_listener: Listener) -> None:
    paid = await emulator.checkout(card="4111111111111111", recurrent={"interval": "Month", "period": 1})
    [recurrent] = await shop_listener.wait_for("recurrent")
    subscription_id = fields(recurrent)["Id"]
    assert fields(recurrent)["Status"] == "Active"
    for status in ("PastDue", "PastDue", "Rejected"):
        answer = await emulator.client.post(
            f"/sandbox/subscriptions/{subscription_id}/charge", json={"public_id": KEYS[0]}
        )
        assert answer.json()["subscription"]["Status"] == status
    terms: dict[str, Any] = {
        "Token": paid["token"], "AccountId": "user-1", "Description": "d", "Amount": "5", "Currency": "RUB",
        "RequireConfirmation": False, "StartDate": "2099-01-01T00:00:00", "Interval": "Week", "Period": 2,
    }  # fmt: skip
    made = (await emulator.api("/subscriptions/create", terms))["Model"]
    assert (made["Status"], made["Amount"]) == ("Active", 5.0)
    changed = await emulator.api("/subscriptions/update", {"Id": made["Id"], "Amount": "7.50"})
    assert changed["Model"]["Amount"] == 7.5
    assert len((await emulator.api("/subscriptions/find", {"AccountId": "user-1"}))["Model"]) == 2
    assert (await emulator.api("/subscriptions/cancel", {"Id": made["Id"]}))["Success"]
    assert (await emulator.api("/subscriptions/get", {"Id": made["Id"]}))["Model"]["Status"] == "Cancelled"
    assert not (await emulator.api("/subscriptions/get", {"Id": "none"}))["Success"]


async def test_receipts(emulator: Emulator, shop_listener: Listener) -> None:
    receipt = {"Items": [{"label": "Кофе", "price": 199, "quantity": 1, "amount": 199, "vat": 20}]}
    outcome = await emulator.checkout(metadata={"CloudPayments": {"CustomerReceipt": receipt}})
    [printed] = await shop_listener.wait_for("receipt")
    assert fields(printed)["Type"] == "Income"
    answer = await emulator.client.post(
        "/sandbox/receipts", json={"public_id": KEYS[0], "transaction_id": outcome["transactionId"]}
    )
    assert answer.status_code == 200
    assert len(await shop_listener.wait_for("receipt", 2)) == 2
