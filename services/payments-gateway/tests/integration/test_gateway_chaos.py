"""The gateway against a provider at its worst: every charge and every refund is reported once, as it truly was."""

import asyncio
import random
from collections import Counter
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from copeck.contracts import events
from copeck.contracts.envelope import Envelope
from copeck.kernel.ids import new_id
from copeck.testkit.waiting import eventually
from payments_gateway import tables
from payments_gateway.handlers import events as event_handler
from payments_gateway.handlers import janitor, operations
from payments_gateway.handlers.context import Context

from .conftest import PAYER, Emulator
from .test_gateway_operations import World

pytestmark = pytest.mark.integration

INVOICES = 30
ROUNDS_UNDER_FIRE = 3
SEED = 20261121
CARDS = ("4000000000003055", "4111111111111111", "4000056655665556")
CHAOS = {
    "seed": SEED,
    "probabilities": {
        "duplicate": 0.3,
        "reorder": 0.3,
        "delay": 0.3,
        "drop": 0.2,
        "lose_answer": 0.2,
        "forged": 0.2,
        "wrong_amount": 0.1,
        "late_success": 0.2,
        "error_before": 0.1,
        "error_after_success": 0.2,
        "too_many": 0.1,
    },
    "operations": {
        name: ["refund", "get", "find", "list"] for name in ("error_before", "error_after_success", "too_many")
    },
    "options": {"delay_ms": [10, 500], "late_success_ms": [10, 300], "wrong_amount_hidden_from_check": True},
}


async def test_i06_i08_whatever_the_provider_does_every_charge_and_refund_is_reported_once(
    gateway: Context, emulator: Emulator
) -> None:
    world = World(gateway, emulator)
    await emulator.chaos(**CHAOS)
    work = Work(world)
    await asyncio.gather(*(work.buy() for _ in range(INVOICES)))
    for _ in range(ROUNDS_UNDER_FIRE):
        await work.settled()
    # The emulator's faults are bound to the request's id: the same call would meet the same fault for ever.
    await emulator.client.delete("/sandbox/chaos")
    await eventually(work.settled, timeout_s=60)
    charged, refunded = await work.truth()
    reported = await work.reported("payment.report")
    assert reported == charged
    assert await work.reported("refund.report") == refunded
    assert sum(refunded.values()) == len(work.refunds)
    assert {row["status"] for row in await world.table("operations") if row["kind"] == "refund"} == {"succeeded"}
    assert {row["verdict"] for row in await world.table("callbacks")} >= {"accepted", "duplicate", "checked"}
    assert await world.table("forged_callbacks")


class Work:
    """Buyers, a worker, a janitor, and what they know."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.tasks: list[UUID] = []
        self.heard: set[str] = set()
        self.refunds: set[str] = set()
        self.random = random.Random(SEED)
        world.context.enqueue = world.context.enqueue_questions = self.tasks.extend

    async def buy(self) -> None:
        invoice_id = await self.world.invoice()
        for _ in range(2):
            answer = await self.world.emulator.charge(invoice_id, self.random.choice(CARDS))
            if answer["Success"]:
                break

    async def settled(self) -> bool:
        """Do one round of all background work; tell whether the books agree with the provider."""
        await self.world.emulator.client.post("/sandbox/notifications/hurry")
        await janitor.run(self.world.context)
        await janitor.sweep(self.world.context)
        await self._ask_for_refunds()
        tasks, self.tasks[:] = list(dict.fromkeys(self.tasks)), []
        await asyncio.gather(*(operations.execute(self.world.context, operation_id) for operation_id in tasks))
        await self._hurry()
        charged, refunded = await self.truth()
        reports = await self.reported("payment.report"), await self.reported("refund.report")
        due = [row for row in await self.world.table("operations") if row["status"] not in ("succeeded", "failed")]
        return reports == (charged, refunded) and len(self.refunds) >= len(charged) // 2 and not _refunds(due)

    async def _ask_for_refunds(self) -> None:
        """Have the updater ask for a refund of every second payment that it heard of."""
        for report in await self.world.reports("payment.report"):
            transaction = report["transaction"]
            if report["status"] != "succeeded" or transaction in self.heard:
                continue
            self.heard.add(transaction)
            if len(self.heard) % 2:
                continue
            self.refunds.add(transaction)
            data = events.RefundRequested(
                refund_id=new_id(), invoice_id=UUID(report["invoice_id"]), version=1, status="requested",
                origin="requested", account=PAYER, amount_minor=report["amount_minor"], currency="RUB",
                provider="cloudpayments", shop="main", transaction=transaction, payment_id=UUID(report["payment_id"]),
            )  # fmt: skip
            await event_handler.handle(self.world.context, Envelope.new(data, source="state-updater"))

    async def _hurry(self) -> None:
        """Let the janitor find now what it would find later."""
        now = self.world.context.clock.now()
        async with self.world.context.database.transaction() as tx:
            open_ = sa.select(tables.operations.c.id).where(
                tables.operations.c.status.in_(("unknown", "pending", "ready"))
            )
            for operation_id in list((await tx.execute(open_)).scalars()):
                self.tasks.append(operation_id)
            # What somebody works on is left alone: the gateway locks operations in its own order.
            later = sa.select(tables.operations.c.id).where(tables.operations.c.next_at > now)
            free = later.with_for_update(key_share=True, skip_locked=True)
            await tx.execute(sa.update(tables.operations).where(tables.operations.c.id.in_(free)).values(next_at=now))

    async def truth(self) -> tuple[Counter[Any], Counter[Any]]:
        """What the provider did, by its own log."""
        charged = await self.world.emulator.log("payment.charged")
        refunded = await self.world.emulator.log("payment.refunded")
        return (
            Counter((str(item["transaction_id"]), item["amount_minor"]) for item in charged),
            Counter((str(item["transaction_id"]), item["amount_minor"]) for item in refunded),
        )

    async def reported(self, kind: str) -> Counter[Any]:
        """What the updater was told to have succeeded."""
        told = [item for item in await self.world.reports(kind) if item["status"] == "succeeded"]
        return Counter((item["transaction"], item["amount_minor"]) for item in told)


def _refunds(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["kind"] == "refund"]
