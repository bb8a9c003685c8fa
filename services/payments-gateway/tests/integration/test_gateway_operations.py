"""Operations against the emulator's process: refunds, voids, captures, and every way in which an answer gets lost."""

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from copeck.contracts import events
from copeck.contracts.envelope import Envelope
from copeck.kernel.ids import new_id
from copeck.testkit.waiting import eventually
from payments_gateway import tables
from payments_gateway.domain.models import OperationStatus
from payments_gateway.domain.operations import Outcome
from payments_gateway.handlers import events as event_handler
from payments_gateway.handlers import janitor, operations
from payments_gateway.handlers.context import Context
from payments_gateway.handlers.operations import talking
from payments_gateway.handlers.operations.taking import take
from payments_gateway.handlers.operations.talking import Talk, converse
from payments_gateway.handlers.operations.writing import write

from .conftest import PAYER, Emulator, invoice_event

pytestmark = pytest.mark.integration


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


@pytest.fixture
def world(gateway: Context, emulator: Emulator) -> World:
    return World(gateway, emulator)


async def test_a_payment_at_the_emulator_becomes_a_report(world: World) -> None:
    invoice_id, transaction = await world.paid()
    assert await world.statuses() == ["pending", "succeeded"]
    (report,) = [item for item in await world.reports() if item["status"] == "succeeded"]
    assert (report["invoice_id"], report["transaction"]) == (str(invoice_id), transaction)
    kinds = sorted(row["kind"] for row in await world.table("callbacks"))
    assert kinds == ["check", "pay"]


async def test_a_refund_is_made_once_and_reported_once(world: World) -> None:
    invoice_id, transaction = await world.paid()
    operation_id = await world.refund(invoice_id, transaction)
    assert await world.until(operation_id, "succeeded", "lease lost", "finished")
    await eventually(lambda: _callbacks(world, "refund"))
    (report,) = await world.reports("refund")
    assert (report["status"], report["amount_minor"]) == ("succeeded", 19900)
    assert report["refund_id"]
    assert len(await world.emulator.log("payment.refunded")) == 1
    assert await operations.execute(world.context, operation_id) == "finished"


@pytest.mark.parametrize("fault", ["error_after_success", "error_before", "too_many"])
async def test_i08_an_open_outcome_is_asked_about_and_never_repeated(world: World, fault: str) -> None:
    invoice_id, transaction = await world.paid()
    await world.emulator.client.post("/sandbox/notifications/hold")
    await world.emulator.arm(fault, "refund")
    operation_id = await world.refund(invoice_id, transaction)
    seen = await world.until(operation_id, "succeeded")
    assert seen == ["unknown", "succeeded"]
    assert await world.statuses("refund") == ["unknown", "succeeded"]
    assert len(await world.emulator.log("payment.refunded")) == 1
    keys = {row["idempotency_key"] for row in await world.table("requests") if row["path"] == "/payments/refund"}
    assert len(keys) == 1
    # The notification that comes at last has no second effect.
    await world.emulator.client.post("/sandbox/notifications/release")
    await eventually(lambda: _callbacks(world, "refund"))
    assert await world.statuses("refund") == ["unknown", "succeeded"]


@pytest.mark.parametrize("fault", ["error_after_success", "error_before"])
async def test_i08_a_refund_that_is_not_the_last_of_its_invoice_is_sent_again_under_its_key(
    world: World, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`find` shows the last one only, and a busy shop's list is longer than is read of it."""
    monkeypatch.setattr(talking, "_LIST_PAGES_BEFORE_CALL", 0)
    lost_id = await _lost_behind_another(world, fault)
    assert await world.until(lost_id, "succeeded") == ["succeeded"]
    assert len(await world.emulator.log("payment.refunded")) == 2


@pytest.mark.parametrize("fault", ["error_after_success", "error_before"])
async def test_i08_a_refund_whose_call_may_not_be_repeated_stays_open_while_the_list_has_no_end(
    world: World, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the key is forgotten, a call that was executed would be another refund."""
    monkeypatch.setattr(talking, "_KEY_REMEMBERED", timedelta(0))
    monkeypatch.setattr(talking, "_LIST_PAGES_MAX", 0)
    lost_id = await _lost_behind_another(world, fault)
    seen: list[str] = []

    async def asked() -> bool:
        seen.append(await operations.execute(world.context, lost_id))
        return "unknown" in seen

    await eventually(asked)
    assert set(seen) <= {"early", "unknown"}
    refunded = await world.emulator.log("payment.refunded")
    assert len(refunded) == (2 if fault == "error_after_success" else 1)


async def _lost_behind_another(world: World, fault: str) -> UUID:
    """Refund in part, lose the answer, and refund as much again; returns the first one's operation."""
    invoice_id, transaction = await world.paid()
    await world.emulator.client.post("/sandbox/notifications/hold")
    await world.emulator.arm(fault, "refund")
    lost_id = await world.refund(invoice_id, transaction, amount_minor=5000)
    assert await operations.execute(world.context, lost_id) == "unknown"
    later_id = await world.refund(invoice_id, transaction, amount_minor=5000)
    assert await world.until(later_id, "succeeded") == ["succeeded"]
    return lost_id


async def test_i08_a_refund_whose_answer_is_lost_is_finished_by_its_notification(world: World) -> None:
    invoice_id, transaction = await world.paid()
    await world.emulator.arm("error_after_success", "refund")
    operation_id = await world.refund(invoice_id, transaction)
    await operations.execute(world.context, operation_id)
    await eventually(lambda: _callbacks(world, "refund"))
    reports = await world.reports("refund")
    assert reports[-1]["status"] == "succeeded"
    assert reports[-1]["refund_id"] is not None
    assert await operations.execute(world.context, operation_id) == "finished"


async def test_i08_a_worker_that_died_while_calling_is_followed_by_a_question(world: World) -> None:
    invoice_id, transaction = await world.paid()
    await world.emulator.client.post("/sandbox/notifications/hold")
    operation_id = await world.refund(invoice_id, transaction)
    (operation,) = (await take(world.context, [operation_id], 1)).leased
    # The worker made the call and died before it wrote anything.
    await converse(world.context, operation, Talk())
    assert await operations.execute(world.context, operation_id) == "leased"
    await _end_lease(world, operation_id)
    assert await world.until(operation_id, "succeeded") == ["succeeded"]
    assert len(await world.emulator.log("payment.refunded")) == 1
    assert await world.statuses("refund") == ["succeeded"]


async def test_an_outcome_is_not_written_by_a_lease_that_is_over(world: World) -> None:
    invoice_id, transaction = await world.paid()
    await world.emulator.client.post("/sandbox/notifications/hold")
    operation_id = await world.refund(invoice_id, transaction)
    taken = await take(world.context, [operation_id], 1)
    (operation,) = taken.leased
    await _end_lease(world, operation_id)
    assert await world.until(operation_id, "succeeded") == ["succeeded"]
    late = Outcome(OperationStatus.FAILED, "failed", again=False)
    assert await write(world.context, operation, taken.token, late, Talk()) == "lease lost"
    assert await world.statuses("refund") == ["succeeded"]


async def test_a_refusal_is_final_and_says_why(world: World) -> None:
    invoice_id, transaction = await world.paid()
    operation_id = await world.refund(invoice_id, transaction, amount_minor=20000)
    assert await world.until(operation_id, "failed") == ["failed"]
    (report,) = await world.reports("refund")
    assert report["status"] == "failed"
    assert "exceeds" in report["failure_reason"]


async def test_two_partial_refunds_are_two(world: World) -> None:
    invoice_id, transaction = await world.paid()
    for _ in range(2):
        operation_id = await world.refund(invoice_id, transaction, amount_minor=5000)
        assert await world.until(operation_id, "succeeded", "finished", "lease lost")
    await eventually(lambda: _callbacks(world, "refund", 2))
    reports = await world.reports("refund")
    assert len({report["refund_id"] for report in reports}) == 2
    assert [report["status"] for report in reports] == ["succeeded", "succeeded"]


async def test_a_hold_is_captured(world: World) -> None:
    invoice_id, transaction = await world.paid(hold=True)
    operation_id = await world.hold(events.InvoiceCaptureRequested, invoice_id, transaction)
    assert (await world.until(operation_id, "succeeded"))[-1] == "succeeded"
    await eventually(lambda: _callbacks(world, "confirm"))
    assert await world.statuses("payment") == ["pending", "authorized", "succeeded"]


async def test_a_capture_that_was_refused_can_be_asked_for_again(world: World) -> None:
    invoice_id, transaction = await world.paid(hold=True)
    refused = await world.hold(events.InvoiceCaptureRequested, invoice_id, transaction)
    async with world.context.database.transaction() as tx:
        await tx.execute(sa.update(tables.operations).where(tables.operations.c.id == refused).values(status="failed"))
    again = await world.hold(events.InvoiceCaptureRequested, invoice_id, transaction)
    assert again != refused
    assert (await world.until(again, "succeeded"))[-1] == "succeeded"
    assert len({row["idempotency_key"] for row in await world.table("operations")}) == 2
    assert (await world.statuses("payment"))[-1] == "succeeded"


async def test_a_hold_whose_capture_was_refused_can_be_voided(world: World) -> None:
    invoice_id, transaction = await world.paid(hold=True)
    refused = await world.hold(events.InvoiceCaptureRequested, invoice_id, transaction)
    async with world.context.database.transaction() as tx:
        await tx.execute(sa.update(tables.operations).where(tables.operations.c.id == refused).values(status="failed"))
    released = await world.hold(events.InvoiceVoidRequested, invoice_id, transaction)
    assert (await world.until(released, "succeeded"))[-1] == "succeeded"
    assert (await world.statuses("payment"))[-1] == "canceled"


async def test_a_hold_is_voided_also_when_the_answer_is_lost(world: World) -> None:
    invoice_id, transaction = await world.paid(hold=True)
    await world.emulator.arm("error_after_success", "void")
    operation_id = await world.hold(events.InvoiceVoidRequested, invoice_id, transaction)
    assert await world.until(operation_id, "succeeded") == ["unknown", "succeeded"]
    await eventually(lambda: _callbacks(world, "cancel"))
    assert await world.statuses("payment") == ["pending", "authorized", "canceled"]


async def test_a_dropped_notification_is_made_up_for_by_the_janitor(world: World) -> None:
    await world.emulator.chaos(probabilities={"drop": 1.0})
    invoice_id = await world.invoice()
    answer = await world.emulator.charge(invoice_id)
    assert answer["Success"]
    await eventually(lambda: _due(world))
    taken: list[UUID] = []
    world.context.enqueue = world.context.enqueue_questions = taken.extend
    assert (await janitor.run(world.context)).attempts == 1
    (operation_id,) = taken
    assert await world.until(operation_id, "succeeded") == ["succeeded"]
    assert (await world.statuses("payment"))[-1] == "succeeded"


async def test_a_transaction_that_nobody_told_of_is_found_in_the_provider_s_list(world: World) -> None:
    await world.emulator.chaos(probabilities={"drop": 1.0})
    invoice_id = await world.invoice()
    first = await world.emulator.charge(invoice_id)
    await world.emulator.client.post(
        "/payments/refund",
        json={"TransactionId": first["Model"]["TransactionId"], "Amount": "199.00"},
        auth=("pk_test", "test_secret_key"),
    )
    found = 0

    async def both() -> bool:
        nonlocal found
        found += (await janitor.sweep(world.context))["found"]
        return found >= 2

    # The list is asked for whole seconds: what was made in this one comes with the next.
    await eventually(both)
    assert (await world.statuses("payment"))[-1] == "succeeded"
    assert await world.statuses("refund") == ["succeeded"]
    assert (await janitor.sweep(world.context))["found"] == 0


async def test_a_lost_task_is_sent_again(world: World) -> None:
    invoice_id, transaction = await world.paid()
    operation_id = await world.refund(invoice_id, transaction)
    async with world.context.database.transaction() as tx:
        await tx.execute(sa.delete(tables.operations_due))
        await tx.execute(sa.insert(tables.operations_due).values(due_at=sa.func.now(), operation_id=operation_id))
    taken: list[UUID] = []
    world.context.enqueue = world.context.enqueue_questions = taken.extend
    assert (await janitor.run(world.context)).operations == 1
    assert taken == [operation_id]
    assert (await janitor.run(world.context)).operations == 0


async def test_questions_never_stand_before_money_that_is_owed(world: World) -> None:
    refund = await world.refund(*await world.paid())
    await world.emulator.chaos(probabilities={"drop": 1.0})
    invoice_id = await world.invoice()
    await world.emulator.charge(invoice_id)
    await eventually(lambda: _due(world, 2))
    async with world.context.database.transaction() as tx:
        await tx.execute(sa.delete(tables.operations_due))
        await tx.execute(sa.insert(tables.operations_due).values(due_at=sa.func.now(), operation_id=refund))
    money: list[UUID] = []
    questions: list[UUID] = []
    world.context.enqueue, world.context.enqueue_questions = money.extend, questions.extend
    await janitor.run(world.context)
    assert money == [refund]
    asked = [row["id"] for row in await world.table("operations") if row["kind"] == "status_query"]
    assert asked
    assert sorted(questions) == sorted(asked)


async def test_i06_an_instruction_that_comes_twice_makes_one_operation(world: World) -> None:
    invoice_id, transaction = await world.paid()
    data = events.RefundRequested(
        refund_id=new_id(), invoice_id=invoice_id, version=1, status="requested", origin="requested", account=PAYER,
        amount_minor=100, currency="RUB", provider="cloudpayments", shop="main", transaction=transaction,
    )  # fmt: skip
    first = Envelope.new(data, source="state-updater")
    for envelope in (first, first, Envelope.new(data, source="state-updater")):
        await event_handler.handle(world.context, envelope)
    assert len(await world.table("operations")) == 1


async def test_i14_nothing_secret_is_kept(world: World) -> None:
    invoice_id, transaction = await world.paid()
    operation_id = await world.refund(invoice_id, transaction)
    await world.until(operation_id, "succeeded", "finished", "lease lost")
    await janitor.sweep(world.context)
    (token,) = [row[0] for row in [(await _token(world),)]]
    for table in tables.metadata.sorted_tables:
        text = str(await world.table(table.name))
        for secret in (token, "test_secret_key", "4000000000003055"):
            assert secret not in text, table.name


async def _token(world: World) -> str:
    answer = await world.emulator.client.post("/payments/tokens/list", auth=("pk_test", "test_secret_key"))
    return str(answer.json()["Model"][0]["Token"])


async def _callbacks(world: World, kind: str, count: int = 1) -> bool:
    return len([row for row in await world.table("callbacks") if row["kind"] == kind]) >= count


async def _due(world: World, count: int = 1) -> bool:
    now = world.context.clock.now()
    return sum(row["due_at"] <= now for row in await world.table("attempts_due")) >= count


async def _end_lease(world: World, operation_id: UUID) -> None:
    past = world.context.clock.now() - timedelta(seconds=1)
    async with world.context.database.transaction() as tx:
        change = sa.update(tables.operations).where(tables.operations.c.id == operation_id)
        await tx.execute(change.values(leased_until=past))
