"""The same work the usual way: one transaction a message through the ORM, 16 messages at a time.

It writes the same rows into the same tables and publishes the same event with a confirm; it has neither fencing nor
batches. Run as a process of its own: `python -m tests.bench.orm_baseline URL QUEUE_URL COUNT`, prints JSON.
"""

import asyncio
import json
import sys
import time
from datetime import UTC, date, datetime
from itertools import count
from typing import Any
from uuid import UUID

import aio_pika
from sqlalchemy import MetaData, select
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from copeck.contracts import commands
from copeck.contracts.envelope import Envelope
from copeck.contracts.events import InvoicePaid
from copeck.contracts.registry import EVENTS_EXCHANGE, UPDATER, shard_of, shard_queue
from copeck.kernel.ids import id_day, new_id
from copeck.storage.engine import driver_url

AT_ONCE = 16


class Base(DeclarativeBase):
    """The tables that one paid invoice touches."""

    metadata = MetaData(schema="state")


class Invoice(Base):
    """An invoice."""

    __tablename__ = "invoices"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    version: Mapped[int]
    status: Mapped[str]
    refunded_minor: Mapped[int]
    payment_id: Mapped[UUID | None]
    provider: Mapped[str]
    shop: Mapped[str]
    transaction: Mapped[str]
    method: Mapped[str]
    updated_at: Mapped[datetime]
    account: Mapped[str]
    kind: Mapped[str]
    product: Mapped[str]
    payer: Mapped[str]
    beneficiary: Mapped[str]
    amount_minor: Mapped[int]
    currency: Mapped[str]
    description: Mapped[str]
    late_policy: Mapped[str]
    capture: Mapped[str]
    expires_at: Mapped[datetime]
    references: Mapped[dict[str, str]] = mapped_column(JSONB)


class Transition(Base):
    """A link of the chain."""

    __tablename__ = "transitions"
    aggregate_id: Mapped[UUID] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    aggregate: Mapped[str]
    event: Mapped[str]
    status: Mapped[str]
    changes: Mapped[dict[str, Any]] = mapped_column(JSONB)
    cause_id: Mapped[UUID]
    cause_type: Mapped[str]
    actor: Mapped[str]
    shard: Mapped[int]
    epoch: Mapped[int]
    at: Mapped[datetime]


class Payment(Base):
    """An attempt."""

    __tablename__ = "payments"
    invoice_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    provider: Mapped[str]
    shop: Mapped[str]
    transaction: Mapped[str]
    status: Mapped[str]
    amount_minor: Mapped[int]
    currency: Mapped[str]
    method: Mapped[str]
    failure_code: Mapped[str]
    failure_reason: Mapped[str]
    late: Mapped[bool]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Transfer(Base):
    """A row of the books."""

    __tablename__ = "transfers"
    aggregate_id: Mapped[UUID] = mapped_column(primary_key=True)
    cause_id: Mapped[UUID] = mapped_column(primary_key=True)
    n: Mapped[int] = mapped_column(primary_key=True)
    debit_account: Mapped[str]
    credit_account: Mapped[str]
    amount_minor: Mapped[int]
    currency: Mapped[str]
    kind: Mapped[str]
    at: Mapped[datetime]


class Inbox(Base):
    """A message that was seen."""

    __tablename__ = "inbox"
    day: Mapped[date] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)


class Outbox(Base):
    """An event to publish."""

    __tablename__ = "outbox"
    shard: Mapped[int] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    message_id: Mapped[UUID]
    type: Mapped[str]
    subject: Mapped[str]
    cause_id: Mapped[UUID]
    body: Mapped[str]
    at: Mapped[datetime]


_sequence = count(1_000_000_000)


async def apply(session: AsyncSession, envelope: Envelope) -> Envelope | None:
    """Do what the updater does for a payment that succeeded, row by row."""
    data = envelope.data
    assert isinstance(data, commands.PaymentReport)
    seen = insert(Inbox).values(day=id_day(envelope.id), id=envelope.id).on_conflict_do_nothing().returning(Inbox.id)
    if (await session.execute(seen)).first() is None:
        return None
    invoice = (
        await session.execute(select(Invoice).where(Invoice.id == data.invoice_id).with_for_update(key_share=True))
    ).scalar_one()
    known = (await session.execute(select(Payment).where(Payment.invoice_id == invoice.id))).scalars().all()
    assert not known
    assert invoice.status in ("issued", "pending")
    now, shard = datetime.now(UTC), shard_of(data.account)
    invoice.version += 1
    invoice.status = "paid"
    invoice.payment_id, invoice.provider, invoice.shop = data.payment_id, data.provider, data.shop
    invoice.transaction, invoice.method, invoice.updated_at = data.transaction, data.method, now
    attempt = {
        "id": data.payment_id, "invoice_id": invoice.id, "provider": data.provider, "shop": data.shop,
        "transaction": data.transaction, "status": "succeeded", "amount_minor": data.amount_minor,
        "currency": data.currency, "method": data.method, "failure_code": "", "failure_reason": "", "late": False,
    }  # fmt: skip
    session.add(Payment(**attempt, created_at=now, updated_at=now))
    changes = {name: str(value) for name, value in attempt.items()}
    session.add(
        Transition(
            aggregate_id=invoice.id, version=invoice.version, aggregate="invoice", event="paid", status="paid",
            changes={"attempt": changes, **changes}, cause_id=envelope.id, cause_type=envelope.type, actor="",
            shard=shard, epoch=0, at=now,
        )
    )  # fmt: skip
    session.add(
        Transfer(
            aggregate_id=invoice.id, cause_id=envelope.id, n=0, debit_account=f"provider:{data.provider}:{data.shop}",
            credit_account=invoice.beneficiary, amount_minor=data.amount_minor, currency=data.currency,
            kind="payment", at=now,
        )
    )  # fmt: skip
    fields = {name: getattr(invoice, name) for name in InvoicePaid.model_fields if hasattr(invoice, name)}
    event = Envelope.new(InvoicePaid(invoice_id=invoice.id, **fields), source=UPDATER, cause_id=envelope.id)
    session.add(
        Outbox(
            shard=shard, seq=next(_sequence), day=now.date(), message_id=new_id(), type=event.type,
            subject=event.subject, cause_id=envelope.id, body=event.body().decode(), at=now,
        )
    )  # fmt: skip
    return event


async def main(database_url: str, broker_url: str, wanted: int) -> None:
    """Consume `wanted` commands from the shards' queues, `AT_ONCE` at a time, and print the rate."""
    engine = create_async_engine(driver_url(database_url), pool_size=AT_ONCE, max_overflow=0)
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    connection = await aio_pika.connect(broker_url)
    channel = await connection.channel(publisher_confirms=True)
    await channel.set_qos(AT_ONCE)
    exchange = await channel.get_exchange(EVENTS_EXCHANGE, ensure=False)
    slots, finished, done = asyncio.Semaphore(AT_ONCE), asyncio.Event(), 0
    warm = max(AT_ONCE, wanted // 10)
    began = 0.0

    async def work(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        nonlocal done, began
        async with slots:
            envelope = Envelope.parse(dict(message.headers), message.body, message_id=message.message_id)
            async with sessions() as session, session.begin():
                event = await apply(session, envelope)
            if event is not None:
                await exchange.publish(
                    aio_pika.Message(
                        event.body(), headers=dict(event.headers()), message_id=str(event.id), user_id=UPDATER,
                        content_type="application/json", delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                    ),
                    routing_key=event.routing_key,
                )  # fmt: skip
            await message.ack()
            done += 1
            if done == warm:
                began = time.monotonic()
            if done >= wanted:
                finished.set()

    for shard in range(16):
        queue = await channel.get_queue(shard_queue(shard), ensure=False)
        await queue.consume(work)
    await asyncio.wait_for(finished.wait(), 300)
    print(json.dumps({"commands": done, "per_second": (done - warm) / (time.monotonic() - began)}))
    await connection.close()
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
