"""What a bench works on: databases loaded by COPY, a broker with the production topology, commands in its queues."""

import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg

from copeck.contracts import commands
from copeck.contracts.envelope import Envelope
from copeck.contracts.registry import shard_queue
from copeck.kernel.ids import new_id
from copeck.messaging import topology
from copeck.messaging.publisher import OutgoingMessage, Publisher
from copeck.testkit.postgres import TestDatabases, database_url
from copeck.testkit.rabbit import Broker, create_broker, drop_hosts

RUN = f"bench{os.getpid()}"
PAYERS = 1_000
EVENTS_QUEUE = "subscriptions.events"
_WINDOW = 500


@dataclass
class Bench:
    """The servers of one bench run."""

    databases: TestDatabases
    broker: Broker

    @classmethod
    async def prepare(cls) -> "Bench":
        """Make the template database and the virtual host; events go into one quorum queue."""
        databases = TestDatabases(RUN)
        databases.create_template()
        broker = create_broker(RUN, "bench")
        for queue in topology.queues():
            for exchange, key in queue.bindings if queue.name == "gateway.events" else ():
                await broker.unbind(exchange, queue.name, key)
        return cls(databases, broker)

    def close(self) -> None:
        """Delete everything that the run made."""
        self.databases.drop_all()
        drop_hosts(RUN)

    async def purge(self) -> None:
        """Empty the queues."""
        connection = await self.broker.connect_admin()
        channel = await connection.channel()
        for queue in (EVENTS_QUEUE, *(shard_queue(n) for n in range(16))):
            await channel.queue_purge(queue)
        await connection.close()


def account_of(n: int) -> str:
    """Return the payer of the n-th invoice."""
    return f"customer:{n % PAYERS}"


def load(database: str, count: int) -> list[tuple[UUID, str]]:
    """Fill a database with issued invoices and their chains by COPY; returns (invoice, account) of each."""
    now = datetime.now(UTC)
    expires = now + timedelta(days=7)
    made = [(new_id(), account_of(n)) for n in range(count)]
    with psycopg.connect(database_url(database)) as connection:
        with connection.cursor().copy(
            "COPY state.invoices (id, version, status, updated_at, account, kind, product, payer, beneficiary, "
            "amount_minor, currency, late_policy, capture, expires_at, issued_at) FROM STDIN"
        ) as rows:
            for invoice, account in made:
                rows.write_row(
                    (invoice, 1, "issued", now, account, "subscription", "cinema", account[9:], "revenue:subscription",
                     19_900, "RUB", "refund", "automatic", expires, now)
                )  # fmt: skip
        with connection.cursor().copy(
            "COPY state.transitions (aggregate_id, version, aggregate, event, status, changes, cause_id, cause_type, "
            "actor, shard, epoch, at) FROM STDIN"
        ) as rows:
            for invoice, _ in made:
                rows.write_row(
                    (invoice, 1, "invoice", "issued", "issued", "{}", invoice, "invoice.issue", "", 0, 0, now)
                )
        connection.execute("ANALYZE")
        connection.commit()
    with psycopg.connect(database_url(database), autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE state.invoices")
        connection.execute("CHECKPOINT")
    return made


def reports(invoices: Sequence[tuple[UUID, str]], seed: int) -> Iterator[Envelope]:
    """Yield the provider's word that each of the invoices was paid, in random order."""
    order = list(invoices)
    random.Random(seed).shuffle(order)
    for invoice, account in order:
        data = commands.PaymentReport(
            account=account,
            invoice_id=invoice,
            payment_id=new_id(),
            provider="cloudpayments",
            shop="main",
            transaction=str(invoice.int % 10**15),
            status="succeeded",
            amount_minor=19_900,
            currency="RUB",
            method="card 424242******4242",
        )
        yield Envelope.new(data, source="gateway")


async def enqueue(broker: Broker, envelopes: Iterator[Envelope]) -> int:
    """Publish commands, persistent and confirmed; returns how many."""
    publisher = await Publisher.connect(broker.urls["gateway"], user_id="gateway")
    count = 0
    window: list[OutgoingMessage] = []
    for envelope in envelopes:
        window.append(OutgoingMessage.of(envelope))
        if len(window) == _WINDOW:
            await publisher.publish_window(window)
            count += len(window)
            window = []
    if window:
        await publisher.publish_window(window)
        count += len(window)
    await publisher.close()
    return count


def environment(bench: Bench, database: str, **more: Any) -> dict[str, str]:
    """Return the environment of an updater of the bench."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COPECK_")}
    values = {
        "COPECK_DATABASE_URL": database_url(database, "state_updater"),
        "COPECK_BROKER_URL": bench.broker.urls["state-updater"],
        "COPECK_LOG_LEVEL": "WARNING",
    }
    return {**inherited, **values, **{f"COPECK_{name.upper()}": str(value) for name, value in more.items()}}
