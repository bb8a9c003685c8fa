"""A gateway on a real database, driven over HTTP without a socket; events are handed to its handler."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import httpx2
import pytest
import sqlalchemy as sa
from fastapi import FastAPI

from copeck.contracts import events
from copeck.contracts.envelope import Envelope
from copeck.kernel.clock import ManualClock
from copeck.kernel.ids import new_id
from payments_gateway import tables
from payments_gateway.composition import make_context
from payments_gateway.handlers import events as event_handler
from payments_gateway.handlers.context import Context
from payments_gateway.main import build
from payments_gateway.providers.cloudpayments.webhook import decoded, signature
from payments_gateway.settings import GatewaySettings

SECRET = "test_secret_key"
PREFIX = "/payments/api/v1"
PAYER = "customer:0190a5b0-0000-7000-8000-000000000001"


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
    await made.database.close()


@pytest.fixture
def app(settings: GatewaySettings, context: Context) -> FastAPI:
    return build(settings, context, bus=False)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://gateway") as made:
        yield made


def invoice_event(
    kind: type[events.InvoiceEvent] = events.InvoiceIssued, **changes: Any
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

    async def tell(kind: type[events.InvoiceEvent] = events.InvoiceIssued, **changes: Any) -> UUID:
        invoice_id, event = invoice_event(kind, **changes)
        await event_handler.handle(context, Envelope.new(event, source="state-updater", correlation_id="story-1"))
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
