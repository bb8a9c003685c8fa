"""A gateway on a real database, driven over HTTP without a socket; events are handed to its handler."""

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import httpx2
import pytest
import sqlalchemy as sa
import uvicorn
from fastapi import FastAPI

from copeck.contracts import events
from copeck.contracts.envelope import Envelope
from copeck.kernel.clock import ManualClock
from copeck.kernel.ids import new_id
from copeck.observability.logs import configure_logging
from copeck.testkit.tokens import TokenMint
from copeck.testkit.waiting import eventually
from payments_gateway import tables
from payments_gateway.composition import make_context
from payments_gateway.handlers import events as event_handler
from payments_gateway.handlers.context import Context
from payments_gateway.main import build
from payments_gateway.providers.cloudpayments.webhook import decoded, signature
from payments_gateway.settings import GatewaySettings
from tests.support.wallet_site import WalletSite, wallet_site, with_wallets

SECRET = "test_secret_key"
MERCHANT_SECRET = "a secret of the merchant's own"
PREFIX = "/payments/api/v1"
PAYER = "customer:0190a5b0-0000-7000-8000-000000000001"


@pytest.fixture(scope="session", autouse=True)
def logs() -> None:
    """Log as in production: the development format draws every traceback with all its locals, which takes seconds."""
    configure_logging("gateway-test", "WARNING", "ecs")


@pytest.fixture
def settings(database_urls: dict[str, str]) -> GatewaySettings:
    shop = {"provider": "cloudpayments", "shop": "main", "public_id": "pk_test", "api_secret": SECRET}
    other = shop | {"shop": "coffee", "public_id": "pk_coffee", "api_secret": "other_secret", "products": ["coffee"]}
    return GatewaySettings.model_validate(
        {
            "database_url": database_urls["gateway"],
            "shops": [shop, other],
            "cloudpayments_api_url": "http://127.0.0.1:1",
            "cloudpayments_widget_url": "http://127.0.0.1:8090/widget/cloudpayments.js",
        }
    )


@pytest.fixture
async def context(settings: GatewaySettings, clock: ManualClock) -> AsyncIterator[Context]:
    made = make_context(settings, pool_size=4)
    made.clock = clock
    yield made
    await made.close()


@pytest.fixture
def app(settings: GatewaySettings, context: Context) -> FastAPI:
    return build(settings, context, bus=False)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://gateway") as made:
        yield made


def invoice_event(
    kind: type[events.InvoiceEvent] = events.InvoiceIssued, /, **changes: Any
) -> tuple[UUID, events.InvoiceEvent]:
    """An invoice's event with sensible values."""
    from copeck.kernel.clock import SystemClock

    values: dict[str, Any] = {
        "invoice_id": new_id(),
        "version": 1,
        "status": "issued",
        "kind": "subscription",
        "product": "cinema",
        "account": PAYER,
        "payer": PAYER,
        "amount_minor": 19900,
        "currency": "RUB",
        "description": "Подписка «Кино» на месяц",
        "expires_at": SystemClock().now() + timedelta(hours=1),
    } | changes
    event = kind(**values)
    return event.invoice_id, event


@pytest.fixture
def told(context: Context) -> Callable[..., Awaitable[UUID]]:
    """Tell the gateway an event, as the bus would; returns the invoice's id."""

    async def tell(kind: type[events.InvoiceEvent] = events.InvoiceIssued, /, **changes: Any) -> UUID:
        invoice_id, event = invoice_event(kind, **changes)
        envelope = Envelope.new(event, source="state-updater", correlation_id="story-1")
        await event_handler.Events(context).handle(envelope)
        return invoice_id

    return tell


def signed(fields: dict[str, Any], secret: str = SECRET, *, as_json: bool = False) -> tuple[bytes, dict[str, str]]:
    """A notification's body and headers, signed as CloudPayments does."""
    if as_json:
        body = json.dumps(fields, ensure_ascii=False).encode()
        plain, kind = body, "application/json"
    else:
        body = urlencode(fields).encode()
        plain, kind = decoded(body), "application/x-www-form-urlencoded"
    return body, {
        "Content-Type": kind,
        "Content-HMAC": signature(secret, body),
        "X-Content-HMAC": signature(secret, plain),
    }


def payment(invoice_id: UUID, transaction: int = 1001, **changes: Any) -> dict[str, Any]:
    """Fields of a Check, Pay or Fail notification."""
    return {
        "TransactionId": transaction,
        "Amount": "199.00",
        "Currency": "RUB",
        "PaymentAmount": "199.00",
        "PaymentCurrency": "RUB",
        "DateTime": "2026-11-21 10:00:00",
        "CardFirstSix": "424242",
        "CardLastFour": "4242",
        "CardType": "Visa",
        "CardExpDate": "12/49",
        "TestMode": "1",
        "OperationType": "Payment",
        "Status": "Completed",
        "GatewayName": "Test",
        "InvoiceId": str(invoice_id),
        "AccountId": PAYER,
        "Token": "tk_secret_token",
    } | changes


@pytest.fixture
def notify(client: httpx2.AsyncClient) -> Callable[..., Awaitable[httpx2.Response]]:
    """Send a signed notification."""

    async def send(
        kind: str, fields: dict[str, Any], *, shop: str = "main", secret: str = SECRET, as_json: bool = False
    ) -> httpx2.Response:
        body, headers = signed(fields, secret, as_json=as_json)
        return await client.post(f"{PREFIX}/paid/cloudpayments/{shop}/{kind}", content=body, headers=headers)

    return send


@pytest.fixture
def rows(context: Context) -> Callable[..., Awaitable[list[dict[str, Any]]]]:
    """Read a table of the gateway."""

    async def read(name: str) -> list[dict[str, Any]]:
        table = tables.metadata.tables[f"gateway.{name}"]
        async with context.database.reading() as tx:
            return [row._asdict() for row in await tx.execute(sa.select(table))]

    return read


@pytest.fixture
def reports(rows: Callable[..., Awaitable[list[dict[str, Any]]]]) -> Callable[[], Awaitable[list[dict[str, Any]]]]:
    """Read the commands in the outbox, oldest first."""

    async def read() -> list[dict[str, Any]]:
        found = sorted(await rows("outbox"), key=lambda row: int(row["id"]))
        return [{"type": row["routing_key"].rsplit(".", 1)[0], **json.loads(row["body"])} for row in found]

    return read


@pytest.fixture
async def site(
    settings: GatewaySettings, clock: ManualClock, token_mint: TokenMint, jwks_url: str, redis_url: str
) -> AsyncIterator[WalletSite]:
    """A gateway with wallets, and people of every role."""
    async with wallet_site(with_wallets(settings, jwks_url, redis_url=redis_url), token_mint, clock) as made:
        yield made


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


@dataclass
class Emulator:
    """The running emulator of CloudPayments, as a payer and as a test see it."""

    url: str
    gateway_port: int
    client: httpx2.AsyncClient

    async def card(self, number: str = "4000000000003055") -> str:
        answer = await self.client.post("/sandbox/cryptogram", json={"number": number})
        return str(answer.json()["CardCryptogramPacket"])

    async def charge(
        self, invoice_id: UUID, number: str = "4000000000003055", *, hold: bool = False, **more: Any
    ) -> dict[str, Any]:
        """Pay as the widget would; returns the provider's answer."""
        body = {
            "Amount": "199.00",
            "Currency": "RUB",
            "IpAddress": "127.0.0.1",
            "InvoiceId": str(invoice_id),
            "AccountId": PAYER,
            "CardCryptogramPacket": await self.card(number),
        } | more
        path = "/payments/cards/auth" if hold else "/payments/cards/charge"
        answer = await self.client.post(path, json=body, auth=("pk_test", SECRET))
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def log(self, event: str) -> list[dict[str, Any]]:
        answer = await self.client.get("/sandbox/log", params={"event": event, "limit": 10_000})
        return list(answer.json()["items"])

    async def chaos(self, **body: Any) -> None:
        answer = await self.client.put("/sandbox/chaos", json=body)
        assert answer.status_code == 200, answer.text

    async def arm(self, switch: str, operation: str, count: int = 1) -> None:
        body = {"switch": switch, "operation": operation, "count": count}
        answer = await self.client.post("/sandbox/chaos/once", json=body)
        assert answer.status_code == 200, answer.text


@pytest.fixture(scope="session")
async def emulator_process(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[str, int]]:
    port, gateway_port = free_port(), free_port()
    shop = {"name": "main", "public_id": "pk_test", "api_secret": SECRET, "max_concurrent": 100}
    own = {"name": "own", "public_id": "pk_merchant", "api_secret": MERCHANT_SECRET, "notify_types": []}
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "SANDBOX_CLOUDPAYMENTS_SHOPS": json.dumps([shop, own]),
        "SANDBOX_CLOUDPAYMENTS_PORT": str(port),
        "SANDBOX_CLOUDPAYMENTS_DATA_DIR": str(tmp_path_factory.mktemp("emulator")),
        "SANDBOX_CLOUDPAYMENTS_NOTIFY_URL": f"http://127.0.0.1:{gateway_port}{PREFIX}/paid/cloudpayments/{{shop}}/{{type}}",
        "SANDBOX_CLOUDPAYMENTS_TIME_SCALE": "0.001",
    }
    command = (sys.executable, "-m", "sandbox.providers.cloudpayments", "serve")
    process = await asyncio.create_subprocess_exec(*command, env=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        async with httpx2.AsyncClient(base_url=url, trust_env=False) as client:

            async def healthy() -> bool:
                try:
                    return (await client.get("/healthz")).status_code == 200
                except httpx2.HTTPError:
                    return False

            await eventually(healthy, timeout_s=30)
        yield url, gateway_port
    finally:
        process.terminate()
        await process.wait()


@pytest.fixture
async def emulator(emulator_process: tuple[str, int]) -> AsyncIterator[Emulator]:
    url, gateway_port = emulator_process
    async with httpx2.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:
        await client.delete("/sandbox/chaos")
        await client.post("/sandbox/notifications/release")
        await client.post("/sandbox/reset")
        yield Emulator(url, gateway_port, client)
        await client.delete("/sandbox/chaos")
        await client.post("/sandbox/reset")


@asynccontextmanager
async def serving(app: FastAPI, port: int) -> AsyncIterator[None]:
    """Serve an application on a port until the block ends."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", access_log=False))
    task = asyncio.create_task(server.serve())
    await eventually(lambda: server.started)
    try:
        yield
    finally:
        server.should_exit = True
        await task


@pytest.fixture
async def gateway(settings: GatewaySettings, emulator: Emulator) -> AsyncIterator[Context]:
    """A gateway that the emulator reaches over HTTP, on the system's clock, without a bus."""
    told = settings.model_copy(
        update={
            "cloudpayments_api_url": emulator.url,
            "operation_retry_base_s": 0.001,
            "operation_retry_cap_s": 0.01,
            "attempt_asked_after_s": 1,
            "reconcile_lag_s": 0,
        }
    )
    made = make_context(told, pool_size=4)
    async with serving(build(told, made, bus=False), emulator.gateway_port):
        yield made
    await made.close()
