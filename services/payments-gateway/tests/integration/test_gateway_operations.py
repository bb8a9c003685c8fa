"""Operations against the emulator's process: voids, captures, questions, and every way in which an answer gets lost."""

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
from payments_gateway.handlers import janitor
from payments_gateway.handlers.context import Context
from payments_gateway.handlers.operations.taking import take
from payments_gateway.handlers.operations.talking import Talk
from payments_gateway.handlers.operations.writing import write

from .conftest import PAYER, Emulator
from .operation_world import World, callbacks, end_lease

pytestmark = pytest.mark.integration


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


async def test_an_outcome_is_not_written_by_a_lease_that_is_over(world: World) -> None:
    invoice_id, transaction = await world.paid()
    await world.emulator.client.post("/sandbox/notifications/hold")
    operation_id = await world.refund(invoice_id, transaction)
    taken = await take(world.context, [operation_id], 1)
    (operation,) = taken.leased
    await end_lease(world, operation_id)
    assert await world.until(operation_id, "succeeded") == ["succeeded"]
    late = Outcome(OperationStatus.FAILED, "failed", again=False)
    assert await write(world.context, operation, taken.token, late, Talk()) == "lease lost"
    assert await world.statuses("refund") == ["succeeded"]


async def test_a_hold_is_captured(world: World) -> None:
    invoice_id, transaction = await world.paid(hold=True)
    operation_id = await world.hold(events.InvoiceCaptureRequested, invoice_id, transaction)
    assert (await world.until(operation_id, "succeeded"))[-1] == "succeeded"
    await eventually(lambda: callbacks(world, "confirm"))
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
    await eventually(lambda: callbacks(world, "cancel"))
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


async def _due(world: World, count: int = 1) -> bool:
    now = world.context.clock.now()
    return sum(row["due_at"] <= now for row in await world.table("attempts_due")) >= count
