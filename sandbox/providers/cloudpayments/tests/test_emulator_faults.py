"""Chaos switches, forged notifications, and what a crash leaves."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from .conftest import KEYS, WAIT_S, Emulator, Listener, Start
from .test_emulator_payments import fields, signed

pytestmark = pytest.mark.integration


async def test_duplicate_and_lost_answers(emulator: Emulator, shop_listener: Listener) -> None:
    await emulator.chaos(once=[{"switch": "duplicate", "operation": "pay"}], options={"duplicate_delay_ms": [0, 5]})
    await emulator.checkout()
    first, second = await shop_listener.wait_for("pay", 2)
    assert first.body == second.body
    await emulator.chaos(once=[{"switch": "lose_answer", "operation": "pay"}])
    await emulator.checkout(externalId="inv-2")
    assert len(await shop_listener.wait_for("pay", 4)) == 4


async def test_drop_delay_reorder(emulator: Emulator, shop_listener: Listener) -> None:
    await emulator.chaos(once=[{"switch": "drop", "operation": "pay", "invoice_id": "dropped"}])
    dropped = await emulator.checkout(externalId="dropped")
    await emulator.chaos(
        probabilities={"reorder": 1}, operations={"reorder": ["pay"]}, options={"reorder_window_ms": 400}
    )
    paid = await emulator.checkout(externalId="late")
    await emulator.api("/payments/refund", {"TransactionId": paid["transactionId"], "Amount": "1"})
    await shop_listener.wait_for("refund")
    assert not shop_listener.of("pay")
    [pay] = await shop_listener.wait_for("pay")
    assert fields(pay)["InvoiceId"] == "late"
    assert (await emulator.api("/payments/get", {"TransactionId": dropped["transactionId"]}))["Model"][
        "StatusCode"
    ] == 3


async def test_forged_notifications_never_verify(emulator: Emulator, shop_listener: Listener) -> None:
    for kind in ("wrong_secret", "no_signature", "stale_signature"):
        await emulator.chaos(options={"forged_with": kind}, once=[{"switch": "forged", "operation": "fail"}])
        await emulator.checkout(externalId=kind, card="4000056655665556")
    forged = await shop_listener.wait_for("pay", 3)
    assert not any(signed(item) for item in forged)
    assert {fields(item)["InvoiceId"] for item in forged} == {"wrong_secret", "no_signature", "stale_signature"}
    assert all(signed(item) for item in await shop_listener.wait_for("fail", 3))
    body = {"public_id": KEYS[0], "type": "pay", "fields": {"TransactionId": 5, "InvoiceId": "x", "Amount": "1.00"}}
    await emulator.client.post("/sandbox/forge", json=body)
    assert len(await emulator.wait_log("notification.forged", 4)) == 4
    assert (await emulator.client.get("/sandbox/totals")).json()["charged_minor"] == 0


async def test_wrong_amount_is_what_was_charged(emulator: Emulator, shop_listener: Listener) -> None:
    await emulator.chaos(
        probabilities={"wrong_amount": 1}, options={"wrong_amount_minor": -9900, "wrong_amount_hidden_from_check": True}
    )
    assert (await emulator.checkout())["amount_minor"] == 10000
    [pay] = await shop_listener.wait_for("pay")
    assert fields(pay)["Amount"] == "100.00"
    assert fields(shop_listener.of("check")[0])["Amount"] == "199.00"
    await emulator.chaos(probabilities={"wrong_amount": 1})
    await emulator.checkout()
    assert fields(shop_listener.of("check")[1])["Amount"] == "198.00"
    assert (await emulator.client.get("/sandbox/totals")).json()["charged_minor"] == 29800


async def test_late_success(emulator: Emulator, shop_listener: Listener) -> None:
    await emulator.chaos(once=[{"switch": "late_success"}], options={"late_success_ms": [150, 151]})
    outcome = await emulator.checkout()
    assert (outcome["status"], outcome["success"]) == ("Pending", False)
    found = await emulator.api("/payments/find", {"InvoiceId": "inv-1"})
    assert found["Model"]["Status"] == "Pending"
    [pay] = await shop_listener.wait_for("pay")
    assert fields(pay)["Status"] == "Completed"
    assert len(await emulator.log("payment.charged")) == 1


async def test_errors_around_success(emulator: Emulator) -> None:
    paid = await emulator.checkout()
    body = {"TransactionId": paid["transactionId"], "Amount": "199.00"}
    headers = {"X-Request-ID": "refund-1"}
    for switch, status in (("too_many", 429), ("error_before", 500)):
        await emulator.chaos(once=[{"switch": switch, "operation": "refund"}])
        answer = await emulator.client.post("/payments/refund", json=body, auth=KEYS, headers=headers)
        assert answer.status_code == status
        assert not await emulator.log("payment.refunded")
    await emulator.chaos(once=[{"switch": "error_after_success", "operation": "refund"}])
    answer = await emulator.client.post("/payments/refund", json=body, auth=KEYS, headers=headers)
    assert answer.status_code == 500
    assert len(await emulator.log("payment.refunded")) == 1
    assert (await emulator.api("/payments/refund", body, headers=headers))["Success"]
    assert len(await emulator.log("payment.refunded")) == 1
    await emulator.chaos(once=[{"switch": "error_after_success", "operation": "checkout"}])
    failed = await emulator.client.post("/checkout", json={"public_id": KEYS[0], "amount": "1", "externalId": "e"})
    assert failed.status_code == 500
    assert len(await emulator.log("payment.charged")) == 2
    await emulator.chaos(
        once=[{"switch": "timeout_after_success", "operation": "refund"}], options={"timeout_ms": 60_000}
    )
    refund = emulator.client.post(
        "/payments/refund", auth=KEYS, timeout=0.3,
        json={"TransactionId": (await emulator.log("payment.charged"))[1]["transaction_id"], "Amount": "1"},
    )  # fmt: skip
    with pytest.raises(httpx2.TimeoutException):
        await refund
    assert len(await emulator.log("payment.refunded")) == 2


async def test_declined_by_chaos(emulator: Emulator) -> None:
    await emulator.client.post("/sandbox/chaos/once", json={"switch": "decline", "operation": "charge"})
    assert (await emulator.checkout())["reasonCode"] == 5051
    paid = await emulator.checkout()
    await emulator.client.post("/sandbox/chaos/once", json={"switch": "decline", "operation": "refund"})
    body = {"TransactionId": paid["transactionId"], "Amount": "1"}
    refused = await emulator.api("/payments/refund", body)
    assert (refused["Success"], refused["Model"]["ReasonCode"]) == (False, 6013)
    assert (await emulator.client.get("/sandbox/chaos")).json()["once"] == []
    assert (await emulator.client.delete("/sandbox/chaos")).status_code == 200


async def test_hold_release_and_hurry(start: Start, shop_listener: Listener) -> None:
    shop_listener.answers["pay"] = [500]
    async with start(time_scale=1.0) as emulator:
        await emulator.client.post("/sandbox/notifications/hold")
        await emulator.checkout()
        assert (await emulator.client.get("/sandbox/notifications")).json()["pending"] == 1
        assert not shop_listener.of("pay")
        await emulator.client.post("/sandbox/notifications/release")
        await emulator.wait_log("notification.attempt")
        await emulator.client.post("/sandbox/notifications/hurry")
        attempts = await emulator.wait_log("notification.attempt", 2)
        assert attempts[-1]["state"] == "delivered"
        delivered = await emulator.client.get("/sandbox/notifications", params={"state": "delivered"})
        assert len(delivered.json()["items"]) == 1


async def test_reset_forgets_all_but_ids(emulator: Emulator) -> None:
    first = await emulator.checkout()
    assert (await emulator.client.post("/sandbox/reset")).json() == {"reset": True}
    assert await emulator.log() == []
    assert (await emulator.checkout())["transactionId"] > first["transactionId"]


async def test_restart_sends_what_was_not_answered(start: Start, shop_listener: Listener) -> None:
    shop_listener.answers["pay"] = [500] * 3
    async with start(time_scale=1.0) as emulator:
        await emulator.chaos(once=[{"switch": "late_success", "invoice_id": "late"}],
                             options={"late_success_ms": [50, 51]})  # fmt: skip
        await emulator.checkout()
        await emulator.wait_log("notification.attempt")
        assert (await emulator.checkout(externalId="late"))["status"] == "Pending"
    async with start() as emulator:
        await emulator.client.post("/sandbox/notifications/hurry")
        await emulator.wait_log("payment.charged", 2)
        await shop_listener.wait_for("pay", 5)


async def test_kill_9_loses_nothing_that_was_answered(tmp_path: Path, shop_listener: Listener) -> None:
    def run() -> subprocess.Popen[bytes]:
        settings = {
            "SANDBOX_CLOUDPAYMENTS_DATA_DIR": str(tmp_path / "data"), "SANDBOX_CLOUDPAYMENTS_PORT": "0",
            "SANDBOX_CLOUDPAYMENTS_NOTIFY_URL": shop_listener.url + "/{type}",
            "SANDBOX_CLOUDPAYMENTS_TIME_SCALE": "0.0005",
        }  # fmt: skip
        return subprocess.Popen(
            [sys.executable, "-m", "sandbox.providers.cloudpayments", "serve", "--log-level", "info"],
            env=os.environ | settings, stderr=subprocess.PIPE,
        )  # fmt: skip

    def end(process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stderr is not None
        process.stderr.close()

    async def address(process: subprocess.Popen[bytes]) -> str:
        assert process.stderr is not None
        while line := await asyncio.to_thread(process.stderr.readline):
            if b"running on" in line:
                return next(word for word in line.decode().split() if word.startswith("http://"))
        raise AssertionError("the emulator did not start")

    process = run()
    try:
        async with httpx2.AsyncClient(base_url=await address(process), timeout=WAIT_S) as client:
            await client.post("/sandbox/notifications/hold")
            charged = await Emulator(client).checkout()
        end(process)
        process = run()
        async with httpx2.AsyncClient(base_url=await address(process), timeout=WAIT_S) as client:
            emulator = Emulator(client)
            assert [item["transaction_id"] for item in await emulator.log("payment.charged")] == [
                charged["transactionId"]
            ]
            await client.post("/sandbox/notifications/release")
            await shop_listener.wait_for("pay")
            assert (await emulator.checkout(externalId="inv-2"))["transactionId"] > charged["transactionId"]
    finally:
        end(process)
