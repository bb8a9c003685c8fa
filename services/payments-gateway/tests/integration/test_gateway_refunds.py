"""Refunds against the emulator's process: each is made once, whatever becomes of the answer (I-08)."""

from datetime import timedelta
from uuid import UUID

import pytest

from copeck.testkit.waiting import eventually
from payments_gateway.handlers import operations
from payments_gateway.handlers.context import Context
from payments_gateway.handlers.operations import talking
from payments_gateway.handlers.operations.taking import take
from payments_gateway.handlers.operations.talking import Talk, converse
from payments_gateway.providers.cloudpayments.client import CloudPaymentsClient

from .conftest import Emulator
from .operation_world import World, callbacks, end_lease

pytestmark = pytest.mark.integration


@pytest.fixture
def world(gateway: Context, emulator: Emulator) -> World:
    return World(gateway, emulator)


async def test_a_refund_is_made_once_and_reported_once(world: World) -> None:
    invoice_id, transaction = await world.paid()
    operation_id = await world.refund(invoice_id, transaction)
    assert await world.until(operation_id, "succeeded", "lease lost", "finished")
    await eventually(lambda: callbacks(world, "refund"))
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
    await eventually(lambda: callbacks(world, "refund"))
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
    monkeypatch.setattr(CloudPaymentsClient, "keys_remembered", timedelta(0))
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
    await eventually(lambda: callbacks(world, "refund"))
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
    await end_lease(world, operation_id)
    assert await world.until(operation_id, "succeeded") == ["succeeded"]
    assert len(await world.emulator.log("payment.refunded")) == 1
    assert await world.statuses("refund") == ["succeeded"]


async def test_a_refusal_is_final_and_says_why(world: World) -> None:
    invoice_id, transaction = await world.paid()
    operation_id = await world.refund(invoice_id, transaction, amount_minor=20000)
    assert await world.until(operation_id, "failed") == ["failed"]
    (report,) = await world.reports("refund")
    assert report["status"] == "failed"
    assert "exceeds" in report["failure_reason"]


async def test_a_refund_that_was_refused_is_made_when_it_is_asked_for_again(world: World) -> None:
    invoice_id, transaction = await world.paid()
    await world.emulator.arm("decline", "refund")
    assert await world.until(await world.refund(invoice_id, transaction), "failed") == ["failed"]
    again = await world.refund(invoice_id, transaction)
    assert await world.until(again, "succeeded", "finished", "lease lost")
    assert await world.statuses("refund") == ["failed", "succeeded"]
    first, second = await world.reports("refund")
    assert first["refund_id"] != second["refund_id"]
    assert len(await world.emulator.log("payment.refunded")) == 1


async def test_two_partial_refunds_are_two(world: World) -> None:
    invoice_id, transaction = await world.paid()
    for _ in range(2):
        operation_id = await world.refund(invoice_id, transaction, amount_minor=5000)
        assert await world.until(operation_id, "succeeded", "finished", "lease lost")
    await eventually(lambda: callbacks(world, "refund", 2))
    reports = await world.reports("refund")
    assert len({report["refund_id"] for report in reports}) == 2
    assert [report["status"] for report in reports] == ["succeeded", "succeeded"]
