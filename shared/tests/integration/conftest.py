"""Tables of a service that exists in these tests only, in a schema of its own."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import psycopg
import pytest
import sqlalchemy as sa

from copeck.contracts.commands import InvoiceExpire
from copeck.contracts.envelope import Envelope
from copeck.kernel.ids import new_id
from copeck.storage.engine import Database
from copeck.storage.tables import dead_letter_table, idempotency_table, inbox_table, outbox_table

SCHEMA = "probe"
ROLE = "reminders"


@dataclass
class Probe:
    """The service's database and tables."""

    database: Database
    outbox: sa.Table
    inbox: sa.Table
    idempotency: sa.Table
    reasons: sa.Table
    effects: sa.Table
    urls: dict[str, str]

    async def outbox_count(self) -> int:
        async with self.database.reading() as tx:
            return int(await tx.scalar(sa.select(sa.func.count()).select_from(self.outbox)) or 0)

    async def effect_count(self) -> int:
        async with self.database.reading() as tx:
            return int(await tx.scalar(sa.select(sa.func.count()).select_from(self.effects)) or 0)


def expire_command(account: str = "customer:1", invoice_id: UUID | None = None) -> Envelope:
    """A message that the user `reminders` may send."""
    return Envelope.new(InvoiceExpire(account=account, invoice_id=invoice_id or new_id()), source="reminders")


@pytest.fixture
async def probe(database_urls: dict[str, str]) -> AsyncIterator[Probe]:
    metadata = sa.MetaData(schema=SCHEMA)
    tables = {
        "outbox": outbox_table(metadata),
        "inbox": inbox_table(metadata),
        "idempotency": idempotency_table(metadata),
        "reasons": dead_letter_table(metadata),
        "effects": sa.Table("effects", metadata, sa.Column("message_id", sa.Uuid), sa.Column("at", sa.DateTime(True))),
    }
    with psycopg.connect(database_urls["admin"]) as admin:
        admin.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
        admin.execute(f"CREATE SCHEMA {SCHEMA}")
        admin.execute(f"GRANT USAGE ON SCHEMA {SCHEMA} TO {ROLE}")
        admin.execute(
            f"ALTER DEFAULT PRIVILEGES IN SCHEMA {SCHEMA} GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {ROLE}"
        )
    engine = sa.create_engine(sa.make_url(database_urls["admin"]).set(drivername="postgresql+psycopg"))
    metadata.create_all(engine)
    engine.dispose()
    database = Database(database_urls[ROLE], pool_size=8, application="probe")
    yield Probe(database=database, urls=database_urls, **tables)
    await database.close()


def now() -> datetime:
    return datetime.now(UTC)
