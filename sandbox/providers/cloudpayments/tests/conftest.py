"""The emulator in this process, and a shop that listens to it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
import uvicorn
from fastapi import FastAPI, Request, Response
from pydantic import SecretStr

from sandbox.providers.cloudpayments.app import create_app
from sandbox.providers.cloudpayments.settings import Settings, Shop

KEYS = ("pk_test", "test_secret_key")
WAIT_S = 10.0


@dataclass
class Received:
    """One notification as it arrived."""

    type: str
    method: str
    body: bytes
    headers: dict[str, str]


@dataclass
class Listener:
    """The shop: remembers everything, answers what a test wants."""

    url: str = ""
    received: list[Received] = field(default_factory=list)
    answers: dict[str, list[bytes | int]] = field(default_factory=dict)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def take(self, kind: str, request: Request) -> Response:
        body = request.url.query.encode() if request.method == "GET" else await request.body()
        async with self.changed:
            self.received.append(Received(kind, request.method, body, dict(request.headers)))
            self.changed.notify_all()
        queued = self.answers.get(kind, [])
        answer = queued.pop(0) if queued else b'{"code":0}'
        return Response(status_code=answer) if isinstance(answer, int) else Response(answer)

    def of(self, kind: str) -> list[Received]:
        return [item for item in self.received if item.type == kind]

    async def wait_for(self, kind: str, count: int = 1) -> list[Received]:
        async with asyncio.timeout(WAIT_S), self.changed:
            await self.changed.wait_for(lambda: len(self.of(kind)) >= count)
        return self.of(kind)


@asynccontextmanager
async def listening(app: FastAPI) -> AsyncIterator[str]:
    """Serve an application on a free port of this host."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))
        server.config.load()
        task = asyncio.create_task(server.serve(sockets=[bound]))
        async with asyncio.timeout(WAIT_S):
            while not server.started:  # noqa: ASYNC110 - the server offers no event
                await asyncio.sleep(0.005)
        try:
            yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


@pytest.fixture(scope="session")
async def running_listener() -> AsyncIterator[Listener]:
    listener = Listener()
    app = FastAPI()

    @app.api_route("/{kind}", methods=["GET", "POST"])
    async def notified(kind: str, request: Request) -> Response:
        return await listener.take(kind, request)

    async with listening(app) as url:
        listener.url = url
        yield listener


@pytest.fixture
def shop_listener(running_listener: Listener) -> Listener:
    running_listener.received.clear()
    running_listener.answers.clear()
    return running_listener


@dataclass
class Emulator:
    """A running emulator and a client of it."""

    client: httpx2.AsyncClient

    async def api(self, path: str, parameters: dict[str, Any], **options: Any) -> Any:
        answer = await self.client.post(path, json=parameters, auth=options.pop("auth", KEYS), **options)
        assert answer.status_code == 200, (path, answer.status_code, answer.text)
        return orjson.loads(answer.content)

    async def checkout(self, **body: Any) -> Any:
        body = {"public_id": KEYS[0], "amount": "199.00", "externalId": "inv-1", "accountId": "user-1"} | body
        answer = await self.client.post("/checkout", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def log(self, event: str | None = None) -> list[dict[str, Any]]:
        answer = await self.client.get("/sandbox/log", params={"event": event} if event else {})
        return list(answer.json()["items"])

    async def wait_log(self, event: str, count: int = 1) -> list[dict[str, Any]]:
        async with asyncio.timeout(WAIT_S):
            while len(items := await self.log(event)) < count:  # noqa: ASYNC110 - another process's log
                await asyncio.sleep(0.01)
        return items

    async def chaos(self, **body: Any) -> None:
        answer = await self.client.put("/sandbox/chaos", json=body)
        assert answer.status_code == 200, answer.text


Start = Callable[..., AbstractAsyncContextManager[Emulator]]


def starter(data_dir: Path, notify_url: str) -> Start:
    @asynccontextmanager
    async def run(shop: dict[str, Any] | None = None, **settings: Any) -> AsyncIterator[Emulator]:
        terminal: dict[str, Any] = {"public_id": KEYS[0], "api_secret": SecretStr(KEYS[1]), "max_concurrent": 50}
        other = Shop(public_id="pk_other", api_secret=SecretStr("other_secret"), name="other")
        chosen: dict[str, Any] = {"time_scale": 0.0005, "notify_url": notify_url} | settings
        app = create_app(Settings(data_dir=data_dir, shops=[Shop(**terminal | (shop or {})), other], **chosen))
        async with listening(app) as url, httpx2.AsyncClient(base_url=url, timeout=WAIT_S) as client:
            yield Emulator(client)

    return run


@pytest.fixture
def start(tmp_path: Path, shop_listener: Listener) -> Start:
    """Start an emulator; starting again in one test finds the state of the first."""
    return starter(tmp_path / "emulator", shop_listener.url + "/{type}")


@pytest.fixture(scope="session")
async def running_emulator(
    tmp_path_factory: pytest.TempPathFactory, running_listener: Listener
) -> AsyncIterator[Emulator]:
    async with starter(tmp_path_factory.mktemp("emulator"), running_listener.url + "/{type}")() as running:
        yield running


@pytest.fixture
async def emulator(running_emulator: Emulator, shop_listener: Listener) -> Emulator:
    """One emulator for most tests, emptied before each."""
    await running_emulator.client.post("/sandbox/reset")
    shop_listener.received.clear()
    return running_emulator
