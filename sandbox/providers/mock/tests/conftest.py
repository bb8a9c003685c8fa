"""The emulator in this process, served on a port."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from pydantic import SecretStr

from copeck.testkit.waiting import eventually
from sandbox.providers.mock.app import create_app
from sandbox.providers.mock.settings import Settings, Shop

KEYS = ("mock_test", "mock_test_secret")
WAIT_S = 10.0


@dataclass
class Gateway:
    """A running emulator and a client of it."""

    client: httpx2.AsyncClient

    async def pay(
        self, payment_id: str | int, amount: object = "12.00", *, type: str = "withdraw", key: str | None = "",
        timeout_s: float = WAIT_S, **body: Any,
    ) -> httpx2.Response:  # fmt: skip
        """Pay; the key is that of the payment when none is given, and none when it is None."""
        headers = {} if key is None else {"Idempotency-Key": key or f"key-{payment_id}"}
        return await self.client.post(
            "/mock-gateway/pay", auth=KEYS, headers=headers, timeout=timeout_s,
            json={"payment_id": payment_id, "type": type, "amount": amount, "currency": "RUB"} | body,
        )  # fmt: skip

    async def find(self, payment_id: str) -> httpx2.Response:
        return await self.client.get(f"/mock-gateway/payments/{payment_id}", auth=KEYS)

    async def balance(self) -> str:
        answer = await self.client.get("/mock-gateway/balance", params={"currency": "RUB"}, auth=KEYS)
        assert answer.status_code == 200
        return str(answer.json()["balance"])

    async def log(self, event: str | None = None) -> list[dict[str, Any]]:
        answer = await self.client.get("/sandbox/log", params={"event": event} if event else {})
        return list(answer.json()["items"])

    async def made(self) -> dict[str, int]:
        """How many transfers were made, by reference."""
        items = (await self.client.get("/sandbox/totals")).json()["items"]
        return {item["payment_id"]: item["transfers"] for item in items}

    async def chaos(self, **body: Any) -> None:
        answer = await self.client.put("/sandbox/chaos", json=body)
        assert answer.status_code == 200, answer.text


Start = Callable[..., AbstractAsyncContextManager[Gateway]]


def starter(data_dir: Path) -> Start:
    @asynccontextmanager
    async def run(**settings: Any) -> AsyncIterator[Gateway]:
        shop = Shop(public_id=KEYS[0], api_secret=SecretStr(KEYS[1]))
        app = create_app(Settings(data_dir=data_dir, shops=[shop], **settings))
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))
            task = asyncio.create_task(server.serve(sockets=[bound]))
            await eventually(lambda: server.started)
            url = f"http://127.0.0.1:{bound.getsockname()[1]}"
            async with httpx2.AsyncClient(base_url=url, timeout=WAIT_S) as client:
                yield Gateway(client)
            server.should_exit = True
            await task

    return run


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Start an emulator; starting again in one test finds the state of the first."""
    return starter(tmp_path / "mock")


@pytest.fixture(scope="session")
async def running_gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    async with starter(tmp_path_factory.mktemp("mock"))() as running:
        yield running


@pytest.fixture
async def gateway(running_gateway: Gateway) -> Gateway:
    """One emulator for most tests, emptied before each."""
    await running_gateway.client.post("/sandbox/reset")
    return running_gateway
