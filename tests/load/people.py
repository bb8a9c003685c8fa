"""Who is there before the load begins: wallets with money, and invoices that wait to be paid."""

import asyncio
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import psycopg

from copeck.contracts import commands
from copeck.contracts.envelope import Envelope
from copeck.kernel.ids import new_id
from copeck.messaging.publisher import OutgoingMessage, Publisher
from copeck.testkit.tokens import TokenMint

OPENING_MINOR = 500_000
HOT_OPENING_MINOR = 20_000_000
CURRENCY = "RUB"
_WINDOW = 500
_READY_TIMEOUT_S = 120
_TOKEN_TTL_S = 3600


@dataclass
class Owner:
    """A wallet's owner, and the headers that speak for them."""

    user_id: uuid.UUID
    headers: dict[str, str]

    @property
    def wallet(self) -> str:
        """The account of their wallet."""
        return f"wallet:{self.user_id}"


@dataclass
class World:
    """The owners, the first of whom takes half of the traffic, a manager, and invoices that nobody paid yet."""

    owners: list[Owner]
    manager: Owner
    invoices: list[uuid.UUID] = field(default_factory=list)


def owner(mint: TokenMint, roles: tuple[str, ...] = ("customer",)) -> Owner:
    """Make somebody who may call the services."""
    user_id = uuid.uuid4()
    token = mint.token(user_id, roles, ttl_s=_TOKEN_TTL_S)
    return Owner(user_id, {"Authorization": f"Bearer {token}"})


async def prepare(
    mint: TokenMint, broker_url: str, database: "psycopg.Connection[tuple[object, ...]]", wallets: int, invoices: int
) -> World:
    """Open the wallets and issue the invoices over the bus; wait until the gateway knows them all."""
    world = World([owner(mint) for _ in range(wallets)], owner(mint, ("manager",)))
    world.invoices = [new_id() for _ in range(invoices)]
    expires_at = datetime.now(UTC) + timedelta(hours=6)
    messages = [
        commands.WalletOpen(
            account=one.wallet, currency=CURRENCY, opening_minor=OPENING_MINOR if n else HOT_OPENING_MINOR
        )
        for n, one in enumerate(world.owners)
    ]
    bills = [
        commands.InvoiceIssue(
            account=f"customer:{world.owners[n % wallets].user_id}", invoice_id=invoice_id, kind="manual",
            product="cinema", payer="", beneficiary="revenue:cinema", amount_minor=100 + n % 900, currency=CURRENCY,
            description="load", expires_at=expires_at,
        )
        for n, invoice_id in enumerate(world.invoices)
    ]  # fmt: skip
    publisher = await Publisher.connect(broker_url)
    everything = [_outgoing(Envelope.new(data, source="gateway")) for data in (*messages, *bills)]
    for start in range(0, len(everything), _WINDOW):
        await publisher.publish_window(everything[start : start + _WINDOW])
    await publisher.close()
    await _until_known(database, invoices)
    return world


def _outgoing(envelope: Envelope) -> OutgoingMessage:
    return OutgoingMessage(
        str(envelope.id), envelope.exchange, envelope.routing_key, envelope.body(), envelope.headers()
    )


async def _until_known(database: "psycopg.Connection[tuple[object, ...]]", invoices: int) -> None:
    async with asyncio.timeout(_READY_TIMEOUT_S):
        while True:
            row = database.execute("SELECT count(*) FROM gateway.invoices").fetchone()
            if row is not None and int(str(row[0])) >= invoices:
                return
            await asyncio.sleep(0.2)
