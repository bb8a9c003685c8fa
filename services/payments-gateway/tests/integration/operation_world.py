"""A gateway and the emulator's process, with what tests of its operations do to both."""

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from copeck.contracts import events
from copeck.contracts.envelope import Envelope
from copeck.kernel.ids import new_id
from copeck.testkit.waiting import eventually
from payments_gateway import tables
from payments_gateway.handlers import events as event_handler
from payments_gateway.handlers import operations
from payments_gateway.handlers.context import Context

from .conftest import PAYER, Emulator, invoice_event


@dataclass
class World:
    """A gateway and its provider, with what a test does to both."""

    context: Context
    emulator: Emulator

    async def invoice(self, **changes: Any) -> UUID:
        invoice_id, event = invoice_event(**changes)
        await event_handler.handle(self.context, Envelope.new(event, source="state-updater"))
        return invoice_id

    async def table(self, name: str) -> list[dict[str, Any]]:
        async with self.context.database.reading() as tx:
            return [row._asdict() for row in await tx.execute(sa.select(tables.metadata.tables[f"gateway.{name}"]))]

    async def reports(self, kind: str = "") -> list[dict[str, Any]]:
        found = sorted(await self.table("outbox"), key=lambda row: int(row["id"]))
        read = [{"type": row["routing_key"].rsplit(".", 1)[0], **json.loads(row["body"])} for row in found]
        return [report for report in read if report["type"].startswith(kind)]

    async def statuses(self, kind: str = "") -> list[str]:
        return [report["status"] for report in await self.reports(kind)]

    async def paid(self, **options: Any) -> tuple[UUID, str]:
        """An invoice that is paid (or held) at the provider, and the provider's transaction."""
        invoice_id = await self.invoice()
        answer = await self.emulator.charge(invoice_id, **options)
        assert answer["Success"], answer
        await eventually(lambda: self._told_of(invoice_id))
        return invoice_id, str(answer["Model"]["TransactionId"])

    async def _told_of(self, invoice_id: UUID) -> bool:
        seen = [item["status"] for item in await self.reports("payment") if item["invoice_id"] == str(invoice_id)]
        return bool({"succeeded", "authorized"} & set(seen))

    async def refund(self, invoice_id: UUID, transaction: str, amount_minor: int = 19900) -> UUID:
        """Have the updater ask for a refund; returns the operation's id."""
        data = events.RefundRequested(
            refund_id=new_id(),
            invoice_id=invoice_id,
            version=1,
            status="requested",
            origin="requested",
            account=PAYER,
            amount_minor=amount_minor,
            currency="RUB",
            provider="cloudpayments",
            shop="main",
            transaction=transaction,
        )
        return await self._operation(data)

    async def hold(self, kind: type[events.InvoiceEvent], invoice_id: UUID, transaction: str) -> UUID:
        """Have the updater ask for a void or a capture."""
        _, data = invoice_event(
            kind,
            invoice_id=invoice_id,
            version=9,
            status="authorized",
            provider="cloudpayments",
            shop="main",
            transaction=transaction,
            payment_id=UUID((await self.reports("payment"))[0]["payment_id"]),
        )
        return await self._operation(data)

    async def _operation(self, data: Any) -> UUID:
        taken: list[UUID] = []
        self.context.enqueue = self.context.enqueue_questions = taken.extend
        await event_handler.handle(self.context, Envelope.new(data, source="state-updater"))
        (operation_id,) = taken
        return operation_id

    async def until(self, operation_id: UUID, *ends: str) -> list[str]:
        """Execute an operation until it ends; returns where every try ended."""
        seen: list[str] = []

        async def once() -> bool:
            ended = await operations.execute(self.context, operation_id)
            if ended not in ("early", "leased"):
                seen.append(ended)
            return bool(seen) and seen[-1] in ends

        await eventually(once, timeout_s=20)
        return seen


async def callbacks(world: World, kind: str, count: int = 1) -> bool:
    return len([row for row in await world.table("callbacks") if row["kind"] == kind]) >= count


async def end_lease(world: World, operation_id: UUID) -> None:
    past = world.context.clock.now() - timedelta(seconds=1)
    async with world.context.database.transaction() as tx:
        change = sa.update(tables.operations).where(tables.operations.c.id == operation_id)
        await tx.execute(change.values(leased_until=past))
