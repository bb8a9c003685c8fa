"""A real updater process for integration tests, and shorthands for talking to it over a real broker."""

import signal
from collections.abc import Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg

from copeck.contracts import commands
from copeck.contracts.base import Message
from copeck.contracts.envelope import Envelope
from copeck.kernel.ids import new_id
from copeck.messaging.publisher import OutgoingMessage, Publisher
from copeck.testkit.waiting import eventually
from tests.support.forks import Fork

CUSTOMER = "customer:anna"


class UpdaterProcess:
    """`python -m billing_state_updater serve` as a child of the test."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.process: Fork | None = None

    async def start(self) -> None:
        """Start the process; it leases its shards by itself."""
        self.process = Fork("billing_state_updater", "serve", env=self.environment)

    async def stop(self, number: int = signal.SIGTERM, timeout_s: float = 20) -> int:
        """Send a signal and wait for the end; returns the exit status."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await self.process.wait(timeout_s)

    def signal(self, number: int) -> None:
        """Send a signal and wait for nothing."""
        assert self.process is not None
        self.process.send_signal(number)


@asynccontextmanager
async def running(environment: dict[str, str]) -> Any:
    """Run an updater for the length of a block."""
    updater = UpdaterProcess(environment)
    await updater.start()
    try:
        yield updater
    finally:
        if updater.process is not None and updater.process.returncode is None:
            updater.process.kill()
            await updater.process.wait()


async def send(broker: Any, user: str, messages: Iterable[Message], ids: Iterable[UUID] | None = None) -> list[UUID]:
    """Publish commands as a service does; returns their message ids."""
    publisher = await Publisher.connect(broker.urls[user], user_id=user)
    try:
        given = iter(ids) if ids is not None else None
        envelopes = [
            Envelope.new(message, source=user, id=next(given) if given is not None else None) for message in messages
        ]
        await publisher.publish_window([OutgoingMessage.of(envelope) for envelope in envelopes])
    finally:
        await publisher.close()
    return [envelope.id for envelope in envelopes]


def issue(invoice_id: UUID | None = None, **changes: Any) -> commands.InvoiceIssue:
    """Return an invoice of 199 roubles for a subscription."""
    terms: dict[str, Any] = {
        "account": CUSTOMER,
        "invoice_id": invoice_id or new_id(),
        "kind": "subscription",
        "product": "cinema",
        "payer": "anna",
        "beneficiary": "revenue:subscription",
        "amount_minor": 19_900,
        "currency": "RUB",
        "expires_at": datetime.now(UTC) + timedelta(hours=1),
    }
    return commands.InvoiceIssue(**(terms | changes))


def paid(invoice_id: UUID, **changes: Any) -> commands.PaymentReport:
    """Return a provider's word that an invoice was paid."""
    terms: dict[str, Any] = {
        "account": CUSTOMER,
        "invoice_id": invoice_id,
        "payment_id": new_id(),
        "provider": "cloudpayments",
        "shop": "main",
        "transaction": str(new_id().int % 10**9),
        "status": "succeeded",
        "amount_minor": 19_900,
        "currency": "RUB",
    }
    return commands.PaymentReport(**(terms | changes))


def read(message: Any) -> Envelope:
    """Read a message taken off a queue, under its strict contract."""
    return Envelope.parse(message.header.properties.headers, message.body)


async def rows(url: str, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """Read committed rows."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        return await (await connection.execute(statement, parameters)).fetchall()


async def status_becomes(url: str, invoice_id: UUID, status: str, timeout_s: float = 15) -> None:
    """Wait until an invoice has a status."""

    async def look() -> bool:
        found = await rows(url, "SELECT status FROM state.invoices WHERE id = %s", invoice_id)
        return found == [(status,)]

    await eventually(look, timeout_s=timeout_s, message=f"invoice {invoice_id} did not become {status}")
