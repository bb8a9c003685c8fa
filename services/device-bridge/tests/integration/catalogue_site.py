"""The device service over HTTP without the bus: people of every role, and what only the bus would do, by hand."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import httpx2
import psycopg
from fastapi import FastAPI

from copeck.kernel.clock import ManualClock
from copeck.kernel.ids import id_at
from copeck.storage.engine import libpq_url
from copeck.testkit.tokens import TokenMint
from copeck.web.keys import StaticKeys
from device_bridge.handlers.context import Context
from device_bridge.service import build_app
from device_bridge.settings import DevicesSettings

PREFIX = "/devices/api/v1"
SILENT = "frame-v1-silent"


@dataclass
class Person:
    """Somebody with a role, and their requests."""

    http: httpx2.AsyncClient
    user_id: UUID
    token: str

    async def call(self, method: str, path: str, *, expect: int = 200, **options: Any) -> httpx2.Response:
        """Make one request and look at its status."""
        headers = {"Authorization": f"Bearer {self.token}", **options.pop("headers", {})}
        answer = await self.http.request(method, f"{PREFIX}{path}", headers=headers, **options)
        assert answer.status_code == expect, f"{method} {path}: {answer.status_code}: {answer.text[:600]}"
        return answer

    async def read(self, path: str, **query: Any) -> Any:
        """Read something."""
        return (await self.call("GET", path, params=query)).json()

    async def upload(self, path: str, text: str, *, expect: int = 200, **query: Any) -> Any:
        """Send a file."""
        headers = {"Content-Type": "text/csv"}
        answer = await self.call("POST", path, content=text.encode(), headers=headers, params=query, expect=expect)
        return answer.json()

    async def tag(self, path: str) -> dict[str, str]:
        """Read something, and return its ETag as If-Match."""
        return {"If-Match": (await self.call("GET", path)).headers["ETag"]}


@dataclass
class Site:
    """The running application."""

    app: FastAPI
    http: httpx2.AsyncClient
    mint: TokenMint
    context: Context
    clock: ManualClock
    admin_url: str

    def person(self, *roles: str, user_id: UUID | None = None) -> Person:
        """Return somebody with these roles."""
        who = user_id or uuid4()
        return Person(self.http, who, self.mint.token(who, roles))

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Do by hand what other services do."""
        with psycopg.connect(libpq_url(self.admin_url), autocommit=True) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    async def merchant(self, **changes: Any) -> Person:
        """Have a manager make a merchant; returns its owner."""
        owner = self.person("merchant")
        body = {"name": "Coffee by the lake", "owner_id": str(owner.user_id), **changes}
        await self.person("manager").call("POST", "/merchants", json=body, expect=201)
        return owner

    async def device(self, owner: Person, code: str = "kofe-17", **changes: Any) -> str:
        """Have a manager add a machine of a merchant's."""
        body = {"id": code, "merchant_id": str(owner.user_id), "name": "Lobby", "model": SILENT, **changes}
        await self.person("manager").call("POST", "/devices", json=body, expect=201)
        return code

    async def drink(self, owner: Person, code: str, value: str | None = "150.00", **changes: Any) -> None:
        """Have a merchant add a drink."""
        price = {"value": value, "currency": "RUB"} if value else None
        body = {"drink_id": "latte", "size": "medium", "name": "Латте", "price": price, **changes}
        await owner.call("POST", f"/devices/{code}/drinks", json=body, expect=201)

    def order(
        self,
        merchant: UUID,
        device_id: str,
        paid_at: datetime,
        *,
        status: str = "successful",
        mode: str = "platform_shop",
        price_minor: int = 15_000,
        commission_minor: int = 750,
    ) -> tuple[UUID, UUID]:
        """Note an order that was paid at a moment; returns its id and its invoice's."""
        order, invoice = id_at(paid_at), uuid4()
        self.sql(
            "INSERT INTO devices.orders (id, device_id, merchant_id, mode, drink_id, size, drink_name, price_minor,"
            " commission_minor, currency, fiscal, status, reason, language, invoice_id, invoice_version, expires_at,"
            " brew_timeout_s, paid_at, brew_by, version, created_at, updated_at, refund_status) VALUES (%s, %s, %s, %s,"
            " 'latte', 'medium', 'Латте', %s, %s, 'RUB', '{}', %s, '', 'ru', %s, 3, %s, 180, %s, %s, 3, %s, %s, %s)",
            *(order, device_id, merchant, mode, price_minor, commission_minor, status, invoice),
            *[paid_at] * 5,
            "requested" if status == "failed" else None,
        )
        return order, invoice

    def refund(
        self, invoice: UUID, source: str, at: datetime, *, amount: int, commission: int, status: str = "succeeded"
    ) -> None:
        """Note a refund as the state updater does."""
        self.sql(
            "INSERT INTO state.refunds VALUES (%s, %s, 1, %s, 'requested', %s, %s, %s, 'RUB', NULL, 'mock', 'main',"
            " 't', '', 'brew_failed', '', '', %s, %s)",
            *(invoice, uuid4(), status, source, amount, commission, at, at),
        )


@asynccontextmanager
async def site_of(database_urls: dict[str, str], mint: TokenMint, clock: ManualClock) -> AsyncIterator[Site]:
    """Start the application."""
    settings = DevicesSettings(
        database_url=database_urls["devices"],
        public_url="http://coffee.test",
        device_secret="a secret of tests that is long enough",  # type: ignore[arg-type]
    )
    app = build_app(settings, clock=clock, keys=StaticKeys(mint.jwks()), with_bus=False)
    async with app.router.lifespan_context(app):
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://coffee.test") as http:
            yield Site(app, http, mint, app.state.context, clock, database_urls["admin"])
