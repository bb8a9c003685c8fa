"""Payouts: to a token, a card and a phone; the balance; what repeats, fails or takes its time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from .conftest import KEYS, Emulator, Listener, Start

pytestmark = pytest.mark.integration
TOKEN, CARD, PHONE = "/payments/token/topup", "/payments/cards/topup", "/payments/alt/topup"


async def a_token(emulator: Emulator, **body: Any) -> str:
    answer = await emulator.client.post("/sandbox/tokens", json={"account_id": "user-1"} | body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["token"])


def to_phone(**parameters: Any) -> dict[str, Any]:
    return {
        "Amount": "12.00", "Currency": "RUB", "MemberId": "100000000111", "InvoiceId": "po-1",
        "Receiver": {"Phone": "+79991234567"},
    } | parameters  # fmt: skip


async def payouts(emulator: Emulator) -> dict[str, tuple[int, int]]:
    """Transfers that were really made, and their sum in kopecks, by order."""
    items = (await emulator.client.get("/sandbox/payouts", params={"public_id": KEYS[0]})).json()["items"]
    return {item["invoice_id"]: (item["transfers"], item["amount_minor"]) for item in items}


async def balance(emulator: Emulator) -> str:
    return str((await emulator.client.get("/sandbox/balance")).json()["RUB"])


async def test_to_a_token(emulator: Emulator, shop_listener: Listener) -> None:
    paid = await emulator.checkout()
    for token in (paid["token"], await a_token(emulator)):
        order = {"Token": token, "Amount": 59.5, "AccountId": "user-2", "Currency": "RUB", "InvoiceId": f"po-{token}"}
        answer = await emulator.api(TOKEN, order)
        assert (answer["Success"], answer["Message"]) == (True, None)
        model = answer["Model"]
        assert (model["Status"], model["Type"], model["Amount"]) == ("Completed", 2, 59.5)
        assert (model["Token"], model["CardLastFour"], model["TransactionIsInProcess"]) == (token, "3055", False)
        assert (await payouts(emulator))[f"po-{token}"] == (1, 5950)
    assert await balance(emulator) == "999999881.00"
    assert [item["recipient"] for item in await emulator.log("payout.accepted")] == ["card ****3055"] * 2
    assert (await emulator.client.get("/sandbox/totals")).json()["charged_minor"] == 19900
    await shop_listener.wait_for("pay")
    assert len(await emulator.log("notification.queued")) == 1, "nothing is said of payouts"


async def test_to_a_card_and_to_a_phone(emulator: Emulator) -> None:
    packet = (await emulator.client.post("/sandbox/cryptogram", json={"number": "4242424242424242"})).json()
    order = {"Amount": "1", "AccountId": "u", "Currency": "RUB", "InvoiceId": "card"} | packet
    assert (await emulator.api(CARD, order))["Model"]["Status"] == "Completed"
    unknown = (await emulator.client.post("/sandbox/cryptogram", json={"number": "5105105105105100"})).json()
    assert (await emulator.api(CARD, order | unknown))["Model"]["ReasonCode"] == 5014
    sent = await emulator.api(PHONE, to_phone())
    assert sent["Model"]["Receiver"] == {"Phone": "+79991234567"}
    assert (await emulator.log("payout.accepted"))[-1]["recipient"] == "sbp 100000000111 ***4567"
    form = to_phone(Amount="2", InvoiceId="form", Receiver='{"Phone": "79991234567"}')
    assert (await emulator.client.post(PHONE, data=form, auth=KEYS)).json()["Success"] is True
    assert await payouts(emulator) == {"card": (1, 100), "po-1": (1, 1200), "form": (1, 200)}


async def test_what_is_refused_is_no_transaction(emulator: Emulator) -> None:
    token = await a_token(emulator)
    foreign = await a_token(emulator, public_id="pk_other")
    order = {"Token": token, "Amount": "1", "AccountId": "u", "Currency": "RUB", "InvoiceId": "po"}
    for path, parameters, message in (
        (TOKEN, order | {"Token": "tk_nobody"}, "Token not found"),
        (TOKEN, order | {"Token": foreign}, "CrossTerminalTokenRestriction"),
        (TOKEN, order | {"AccountId": ""}, "AccountId is required"),
        (TOKEN, order | {"Currency": "USD"}, "Currency is not supported"),
        (TOKEN, order | {"Amount": "0.001"}, "amount has more than two decimals"),
        (CARD, order, "CardCryptogramPacket is required"),
        (PHONE, to_phone(Receiver=None), "Receiver is required"),
        (PHONE, to_phone(Receiver="{"), "Receiver cannot be read"),
        (PHONE, to_phone(Receiver={"Phone": "12345"}), "Receiver.Phone is wrong"),
        (PHONE, to_phone(MemberId=""), "MemberId is required"),
        (PHONE, to_phone(MemberId="bank"), "MemberId is wrong"),
    ):
        assert await emulator.api(path, parameters) == {"Success": False, "Message": message}
    assert await payouts(emulator) == {}
    assert await emulator.api("/v2/payments/find", {"InvoiceId": "po"}) == {"Success": False, "Message": "Not found"}
    assert (await emulator.client.post("/sandbox/tokens", json={"account_id": "u", "number": "42"})).status_code == 422


async def test_one_request_id_is_one_transfer(emulator: Emulator) -> None:
    headers = {"X-Request-ID": "payout:1:1"}
    first, second = [await emulator.api(PHONE, to_phone(), headers=headers) for _ in range(2)]
    assert first == second
    assert await payouts(emulator) == {"po-1": (1, 1200)}
    await emulator.api(PHONE, to_phone(), headers={"X-Request-ID": "payout:1:2"})
    await emulator.api(PHONE, to_phone())
    told = (await emulator.client.get("/sandbox/payouts")).json()
    assert (told["repeated"], told["paid_out_minor"]) == (["po-1"], 3600), "order numbers are not unique"


async def test_found_and_listed(emulator: Emulator) -> None:
    await emulator.api(PHONE, to_phone())
    found = await emulator.api("/v2/payments/find", {"InvoiceId": "po-1"})
    assert (found["Success"], found["Model"]["Type"], found["Model"]["Status"]) == (True, 2, "Completed")
    assert (await emulator.api("/payments/find", {"InvoiceId": "po-1"}))["Success"] is False, "payments only"
    period = {"CreatedDateGte": (datetime.now(UTC) - timedelta(hours=1)).isoformat(), "PageNumber": 1}
    assert [row["InvoiceId"] for row in (await emulator.api("/v2/payments/list", period))["Model"]] == ["po-1"]
    number = found["Model"]["TransactionId"]
    assert (await emulator.api("/payments/refund", {"TransactionId": number, "Amount": "1"}))["Success"] is False


async def test_a_dry_balance_declines(emulator: Emulator) -> None:
    put = await emulator.client.put("/sandbox/balance", json={"RUB": "12.00"})
    assert put.json() == {"public_id": KEYS[0], "RUB": "12.00"}
    short = await emulator.api(PHONE, to_phone(Amount="12.01"))
    assert (short["Success"], short["Model"]["ReasonCode"], short["Model"]["Status"]) == (False, 5051, "Failed")
    assert (await emulator.api("/v2/payments/find", {"InvoiceId": "po-1"}))["Model"]["Status"] == "Failed"
    assert await payouts(emulator) == {"po-1": (0, 0)}
    assert (await emulator.api(PHONE, to_phone()))["Success"] is True
    assert await balance(emulator) == "0.00"
    other = await emulator.client.put("/sandbox/balance", params={"public_id": "pk_other"}, json={"RUB": "1"})
    assert other.json()["RUB"] == "1.00"
    assert await balance(emulator) == "0.00"
    assert (await emulator.client.put("/sandbox/balance", json={"RUB": "-1"})).status_code == 422
    assert (await emulator.client.get("/sandbox/balance", params={"public_id": "nobody"})).status_code == 404
    await emulator.client.post("/sandbox/reset")
    assert await balance(emulator) == "1000000000.00"


@pytest.mark.parametrize(
    ("switch", "status", "made"), [("error_before", 500, 0), ("too_many", 429, 0), ("error_after_success", 500, 1)]
)
async def test_faults(emulator: Emulator, switch: str, status: int, made: int) -> None:
    headers = {"X-Request-ID": "payout:1:1"}
    await emulator.chaos(once=[{"switch": switch, "operation": "topup", "invoice_id": "po-1"}])
    answer = await emulator.client.post(PHONE, json=to_phone(), auth=KEYS, headers=headers)
    assert answer.status_code == status
    assert (await payouts(emulator)).get("po-1", (0, 0))[0] == made
    assert (await emulator.api(PHONE, to_phone(), headers=headers))["Success"] is True
    assert await payouts(emulator) == {"po-1": (1, 1200)}


async def test_silence_after_a_transfer(emulator: Emulator) -> None:
    await emulator.chaos(once=[{"switch": "timeout_after_success", "operation": "topup"}])
    with pytest.raises(httpx2.TimeoutException):
        await emulator.client.post(PHONE, json=to_phone(), auth=KEYS, timeout=0.3)
    assert await payouts(emulator) == {"po-1": (1, 1200)}


async def test_a_repeated_request_meets_a_fate_of_its_own(emulator: Emulator) -> None:
    await emulator.chaos(seed=5, probabilities={"error_before": 0.7}, operations={"error_before": ["topup"]})
    statuses: list[int] = []
    while 200 not in statuses and len(statuses) < 60:
        answer = await emulator.client.post(
            PHONE, json=to_phone(), auth=KEYS, headers={"X-Request-ID": "payout:1:1"}
        )  # fmt: skip
        statuses.append(answer.status_code)
    assert set(statuses) == {200, 500}
    assert await payouts(emulator) == {"po-1": (1, 1200)}


async def test_declined_by_chaos_then_paid(emulator: Emulator) -> None:
    await emulator.client.post("/sandbox/chaos/once", json={"switch": "decline", "operation": "topup"})
    assert (await emulator.api(PHONE, to_phone()))["Model"]["ReasonCode"] == 5051
    assert (await emulator.api(PHONE, to_phone(InvoiceId="po-2")))["Success"] is True
    assert await payouts(emulator) == {"po-1": (0, 0), "po-2": (1, 1200)}
    assert await balance(emulator) == "999999988.00"


async def test_under_way_for_a_while(start: Start, shop_listener: Listener) -> None:
    slow = {"probabilities": {"late_success": 1}, "options": {"late_success_ms": [150, 151]}}
    async with start() as emulator:
        await emulator.chaos(**slow, once=[{"switch": "decline", "operation": "settle", "invoice_id": "bad"}])
        accepted = await emulator.api(PHONE, to_phone())
        await emulator.api(PHONE, to_phone(InvoiceId="bad"))
        assert accepted["Success"] is True
        assert (accepted["Model"]["Status"], accepted["Model"]["TransactionIsInProcess"]) == ("Created", True)
        assert await payouts(emulator) == {"po-1": (0, 0), "bad": (0, 0)}
        assert await balance(emulator) == "999999976.00"
        await emulator.wait_log("payout.completed")
        await emulator.wait_log("payout.declined")
        assert (await emulator.api("/v2/payments/find", {"InvoiceId": "po-1"}))["Model"]["Status"] == "Completed"
        assert (await emulator.api("/v2/payments/find", {"InvoiceId": "bad"}))["Model"]["Status"] == "Failed"
        assert await balance(emulator) == "999999988.00", "what failed came back"
        await emulator.chaos(**slow | {"options": {"late_success_ms": [1500, 1501]}})
        await emulator.api(PHONE, to_phone(InvoiceId="cut"))
    assert not shop_listener.received
    async with start(notify_payouts=True) as emulator:
        await emulator.wait_log("payout.completed", 2)
        assert await payouts(emulator) == {"po-1": (1, 1200), "bad": (0, 0), "cut": (1, 1200)}
        [pay] = await shop_listener.wait_for("pay")
        assert b"OperationType=CardPayout" in pay.body
