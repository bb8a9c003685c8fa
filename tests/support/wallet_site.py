"""A gateway with wallets on a real database, and people of every role who call it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx2
import uvicorn
from fastapi import FastAPI

from copeck.testkit.tokens import TokenMint
from copeck.testkit.waiting import eventually
from payments_gateway.composition import make_context
from payments_gateway.handlers.context import Context
from payments_gateway.main import build
from payments_gateway.settings import GatewaySettings

PREFIX = "/payments/api/v1"
MOCK = {"provider": "mock", "shop": "main", "public_id": "pk_mock", "api_secret": "mock_secret"}
CARD = {"kind": "card_token", "token": "tk_1234567890"}


def rub(value: str) -> dict[str, str]:
    """An amount of roubles as it travels."""
    return {"value": value, "currency": "RUB"}


@dataclass
class Caller:
    """Somebody who is logged in."""

    client: httpx2.AsyncClient
    mint: TokenMint
    roles: tuple[str, ...] = ("customer",)
    user_id: UUID = field(default_factory=uuid4)

    @property
    def wallet(self) -> str:
        return f"wallet:{self.user_id}"

    async def get(self, path: str, **more: Any) -> httpx2.Response:
        return await self._call("GET", path, **more)

    async def post(self, path: str, body: Any, key: str | None = "", **more: Any) -> httpx2.Response:
        """Post under a new idempotency key, or under this one; None sends none."""
        headers = more.pop("headers", {})
        if key is not None:
            headers = {"Idempotency-Key": key or str(uuid4())} | headers
        return await self._call("POST", path, json=body, headers=headers, **more)

    async def put(self, path: str, body: Any, tag: str | None) -> httpx2.Response:
        return await self._call("PUT", path, json=body, headers={"If-Match": tag} if tag else {})

    async def _call(self, method: str, path: str, **more: Any) -> httpx2.Response:
        headers = self.mint.headers(self.user_id, self.roles) | more.pop("headers", {})
        return await self.client.request(method, f"{PREFIX}{path}", headers=headers, **more)


@dataclass
class WalletSite:
    """The application, without a socket, and those who call it."""

    context: Context
    settings: GatewaySettings
    mint: TokenMint
    client: httpx2.AsyncClient

    def somebody(self, *roles: str) -> Caller:
        return Caller(self.client, self.mint, roles or ("customer",))


def with_wallets(settings: GatewaySettings, jwks_url: str, **more: Any) -> GatewaySettings:
    """Settings of a gateway that knows callers, and has a shop that needs no page."""
    shop = type(settings.shops[0]).model_validate(MOCK)
    return settings.model_copy(update={"jwks_url": jwks_url, "shops": (*settings.shops, shop), **more})


@asynccontextmanager
async def wallet_site(settings: GatewaySettings, mint: TokenMint, clock: Any = None) -> AsyncIterator[WalletSite]:
    """Build the application for the length of a block."""
    context = make_context(settings, pool_size=4)
    if clock is not None:
        context.clock = clock
    app = build(settings, context, bus=False)
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as client:
        yield WalletSite(context, settings, mint, client)
    await context.close()


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[str]:
    """Serve an application on a free port until the block ends; gives its URL."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))
    task = asyncio.create_task(server.serve([listening]))
    await eventually(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listening.close()
