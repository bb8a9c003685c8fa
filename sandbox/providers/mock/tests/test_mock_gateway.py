"""The API against a running emulator: what each call does, and what is remembered of it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import httpx2
import pytest

from .conftest import KEYS, WAIT_S, Gateway, Start

pytestmark = pytest.mark.integration
OPENING = Decimal("90000000.00")


async def test_deposits_add_and_withdrawals_take(gateway: Gateway) -> None:
    taken = await gateway.pay("p-1", "100.10", type="deposit")
    assert (taken.status_code, taken.json()["status"], taken.json()["payment_id"]) == (200, "success", "p-1")
    sent = await gateway.pay(2, "40.05", recipient="+7 *** ** 11")
    assert sent.json()["payment_id"] == "2"
    assert Decimal(await gateway.balance()) == OPENING + Decimal("60.05")
    assert (await gateway.find("2")).json() == {
        "payment_id": "2", "type": "withdraw", "status": "success", "amount": "40.05", "currency": "RUB",
        "transaction_id": sent.json()["transaction_id"],
    }  # fmt: skip
    unknown = await gateway.find("3")
    assert (unknown.status_code, unknown.json()) == (404, {"error": "not_found"})
    facts = await gateway.log()
    assert [(fact["event"], fact["payment_id"], fact["amount"]) for fact in facts] == [
        ("transfer.made", "p-1", "100.10"),
        ("transfer.made", "2", "40.05"),
    ]
    assert facts[1]["recipient"] == "+7 *** ** 11"


@pytest.mark.parametrize(
    ("amount", "minor"), [("0.01", 1), (7, 700), ("12.5", 1250), (b"0.29", 29), (b"99999.99", 9999999)]
)
async def test_amounts_are_exact(gateway: Gateway, amount: str | int | bytes, minor: int) -> None:
    text = amount.decode() if isinstance(amount, bytes) else f'"{amount}"' if isinstance(amount, str) else str(amount)
    body = f'{{"payment_id": "p", "type": "withdraw", "amount": {text}}}'
    answer = await gateway.client.post("/mock-gateway/pay", auth=KEYS, content=body)
    assert answer.status_code == 200
    assert [fact["amount_minor"] for fact in await gateway.log("transfer.made")] == [minor]


async def test_one_key_has_one_effect_and_one_answer(gateway: Gateway) -> None:
    answers = await asyncio.gather(*(gateway.pay("p-1", "5.00") for _ in range(50)))
    assert {(answer.status_code, answer.content) for answer in answers} == {(200, answers[0].content)}
    assert await gateway.made() == {"p-1": 1}
    assert len(await gateway.log("call.repeated")) == 49
    other = await gateway.pay("p-1", "6.00")
    assert (other.status_code, other.json()["error"]) == (409, "idempotency_key_reused")
    assert await gateway.made() == {"p-1": 1}


async def test_another_key_or_none_makes_a_second_transfer(gateway: Gateway) -> None:
    await gateway.pay("p-1", key="one")
    await gateway.pay("p-1", key="two")
    await gateway.pay("p-2", key=None)
    await gateway.pay("p-2", key=None)
    assert await gateway.made() == {"p-1": 2, "p-2": 2}
    totals = (await gateway.client.get("/sandbox/totals", params={"type": "withdraw"})).json()
    assert totals["repeated"] == ["p-1", "p-2"]
    assert (totals["withdrawn_minor"], totals["deposited_minor"]) == (4800, 0)


async def test_a_dry_balance_sends_nothing(gateway: Gateway) -> None:
    assert (await gateway.client.put("/sandbox/balance", json={"RUB": "12.00"})).json() == {"RUB": "12.00"}
    short = await gateway.pay("p-1", "12.01")
    assert (short.status_code, short.json()) == (402, {"status": "failed", "error": "insufficient_balance"})
    assert (await gateway.find("p-1")).json()["status"] == "failed"
    assert await gateway.made() == {}
    await gateway.pay("p-2", "0.01", type="deposit")
    assert (await gateway.pay("p-1", "12.01")).status_code == 402, "a key has one answer"
    assert (await gateway.pay("p-1", "12.01", key="again")).status_code == 200
    assert (await gateway.client.get("/sandbox/balance")).json() == {"RUB": "0.00"}
    assert (await gateway.find("p-1")).json()["status"] == "success"
    assert (await gateway.pay("p-3", currency="USD")).status_code == 402
    for wrong in ("-1", "1.001", "much"):
        assert (await gateway.client.put("/sandbox/balance", json={"RUB": wrong})).status_code == 422


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"[]", b'{"type": "withdraw", "amount": 1}', b'{"payment_id": "p", "type": "steal", "amount": 1}',
        *(b'{"payment_id": "p", "type": "deposit", "amount": %s}' % amount
          for amount in (b"0", b"-1", b"1.001", b'"NaN"', b"null", b"true", b"1e400000", b'"1e999999999"',
                         b"1.0000000000000000000000000000000001", b"9" * 5000)),
        b'{"payment_id": "p", "type": "deposit", "amount": 1, "currency": "rouble"}',
        b'{"payment_id": "a/b", "type": "deposit", "amount": 1}',
        b'{"payment_id": "p", "type": "deposit", "amount": 1, "recipient": 7}',
    ],
    ids=lambda body: body[-40:].decode(),
)  # fmt: skip
async def test_requests_that_cannot_be_read(gateway: Gateway, body: bytes) -> None:
    answer = await gateway.client.post("/mock-gateway/pay", auth=KEYS, content=body)
    assert (answer.status_code, answer.json()["status"]) == (400, "failed")
    assert await gateway.log() == []


async def test_bodies_are_bounded(gateway: Gateway) -> None:
    assert (await gateway.pay("p", note="x" * 70_000)).status_code == 413


async def test_who_asks_has_to_say_so(gateway: Gateway) -> None:
    for auth in (None, (KEYS[0], "wrong"), ("nobody", KEYS[1])):
        for method, path in (
            ("POST", "/mock-gateway/pay"),
            ("GET", "/mock-gateway/payments/1"),
            ("GET", "/mock-gateway/balance"),
        ):
            answer = await gateway.client.request(method, path, auth=auth)
            assert answer.status_code == 401
    assert (await gateway.client.get("/mock-gateway/balance?currency=x", auth=KEYS)).status_code == 400


async def test_the_log_is_read_by_pages(gateway: Gateway) -> None:
    for number in range(5):
        await gateway.pay(f"p-{number}", type="deposit")
    first = (await gateway.client.get("/sandbox/log", params={"limit": 3})).json()
    rest = (await gateway.client.get("/sandbox/log", params={"limit": 3, "after": first["next"]})).json()
    assert [item["payment_id"] for item in first["items"] + rest["items"]] == [f"p-{number}" for number in range(5)]
    assert (first["more"], rest["more"]) == (True, False)
    one = (await gateway.client.get("/sandbox/log", params={"payment_id": "p-3"})).json()["items"]
    assert [item["payment_id"] for item in one] == ["p-3"]


async def test_reset_forgets_everything(gateway: Gateway) -> None:
    await gateway.pay("p-1")
    await gateway.chaos(fail_next=3)
    assert (await gateway.client.post("/sandbox/reset")).json() == {"reset": True}
    assert await gateway.log() == []
    assert Decimal(await gateway.balance()) == OPENING
    assert (await gateway.pay("p-1")).status_code == 200


async def test_restart_keeps_everything(start: Start) -> None:
    async with start(opening_balance="100.00") as gateway:
        sent = await gateway.pay("p-1", "30.00")
        await gateway.chaos(fail_next=2)
        assert (await gateway.pay("p-2", "30.00")).status_code == 422
    async with start(opening_balance="5.00") as gateway:
        assert await gateway.balance() == "70.00"
        assert (await gateway.pay("p-1", "30.00")).content == sent.content
        assert (await gateway.client.get("/sandbox/chaos")).json()["fail_next"] == 1
        assert (await gateway.pay("p-2", "30.00", key="other")).status_code == 422
        assert (await gateway.pay("p-2", "30.00", key="third")).status_code == 200
        assert await gateway.made() == {"p-1": 1, "p-2": 1}


class Process:
    """The emulator as a process of its own, which can be killed."""

    def __init__(self, data_dir: Path) -> None:
        settings = {"SANDBOX_MOCK_DATA_DIR": str(data_dir), "SANDBOX_MOCK_PORT": "0"}
        command = [sys.executable, "-m", "sandbox.providers.mock", "serve", "--log-level", "info"]
        self._process = subprocess.Popen(command, env=os.environ | settings, stderr=subprocess.PIPE)

    async def client(self) -> httpx2.AsyncClient:
        """A client of it, as soon as it says where it is."""
        assert self._process.stderr is not None
        while line := await asyncio.to_thread(self._process.stderr.readline):
            if b"running on" in line:
                url = next(word for word in line.decode().split() if word.startswith("http://"))
                return httpx2.AsyncClient(base_url=url, timeout=WAIT_S)
        raise AssertionError("the emulator did not start")

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)

    def end(self) -> None:
        self.kill()
        self._process.wait()
        assert self._process.stderr is not None
        self._process.stderr.close()


async def pay_until_killed(gateway: Gateway, process: Process, answered: list[str], first: int) -> None:
    for number in range(first, first + 100):
        try:
            await gateway.pay(f"p-{number}")
        except httpx2.TransportError:
            return
        answered.append(f"p-{number}")
        if len(answered) == 60:
            process.kill()


async def test_kill_9_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    process, answered = Process(tmp_path / "data"), list[str]()
    try:
        async with await process.client() as client:
            gateway = Gateway(client)
            await asyncio.gather(*(pay_until_killed(gateway, process, answered, first) for first in (0, 100, 200, 300)))
        process.end()
        assert 60 <= len(answered) < 400
        process = Process(tmp_path / "data")
        async with await process.client() as client:
            gateway = Gateway(client)
            made = await gateway.made()
            assert set(answered) <= set(made)
            for payment_id in made:
                assert (await gateway.pay(payment_id)).status_code == 200
            assert set((await gateway.made()).values()) == {1}
            assert Decimal(await gateway.balance()) == OPENING - 12 * len(made)
    finally:
        process.end()
