"""Payouts through the mock gateway's process: each is sent at most once, whatever happens on the way (I-08)."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import httpx2
import pytest
import sqlalchemy as sa

from copeck.contracts import events
from copeck.kernel.money import Money
from copeck.testkit.waiting import eventually
from payments_gateway import tables
from payments_gateway.domain.models import OperationStatus
from payments_gateway.domain.recipients import Recipient, RecipientKind
from payments_gateway.domain.routing import Shops
from payments_gateway.handlers import catch_up, operations
from payments_gateway.handlers import events as event_handler
from payments_gateway.handlers.operations.taking import take
from payments_gateway.handlers.operations.talking import Talk, converse
from payments_gateway.handlers.payout_balance import provider_balance
from payments_gateway.handlers.reconciliation import reconcile
from payments_gateway.main import build
from payments_gateway.settings import GatewaySettings
from payments_gateway.store import operations as operation_store

from .conftest import PREFIX, SECRET, Emulator, payment, signed
from .payout_world import MOCK_SECRET, TOKEN, MockGateway, PayoutWorld, mock_process, payout_world, put_switch

pytestmark = pytest.mark.integration


@pytest.fixture(scope="session")
async def mock_running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MockGateway]:
    async with mock_process(tmp_path_factory.mktemp("mock")) as running:
        yield running


@pytest.fixture
async def provider(mock_running: MockGateway) -> MockGateway:
    await mock_running.client.post("/sandbox/reset")
    return mock_running


@pytest.fixture
async def world(
    settings: GatewaySettings, database_urls: dict[str, str], provider: MockGateway, redis_url: str, emulator: Emulator
) -> AsyncIterator[PayoutWorld]:
    async with payout_world(settings, database_urls, provider, redis_url, emulator.url) as made:
        yield made


async def test_a_payout_is_announced_sent_once_and_reported(world: PayoutWorld) -> None:
    payout_id = await world.payout()
    operation_id = await world.pending(payout_id)
    assert world.tasks == [operation_id]
    assert await operations.execute(world.context, operation_id) == "announced"
    assert await world.provider.transfers() == {}
    await world.updater()
    await event_handler.Events(world.context).handle(world.event(events.PayoutProcessing, payout_id))
    assert world.tasks == [operation_id, operation_id]
    assert await operations.execute(world.context, operation_id) == "succeeded"
    assert await world.provider.transfers() == {f"{payout_id}-1": 1}
    done = (await world.reports())[-1]
    assert await world.statuses() == ["processing", "completed"]
    assert (done["payout_id"], done["attempt"]) == (str(payout_id), 1)
    assert done["transaction"].startswith("mock_")
    assert await operations.execute(world.context, operation_id) == "finished"


async def test_i06_a_payout_s_event_twice_and_a_task_twice_are_one_transfer(world: PayoutWorld) -> None:
    payout_id, operation_id = await world.begun()
    await event_handler.Events(world.context).handle(world.event(events.PayoutPending, payout_id))
    assert len(await world.table("operations")) == 1
    ended = await asyncio.gather(*(operations.execute(world.context, operation_id) for _ in range(5)))
    # One of them sends it; the others find it leased, or finished already.
    assert ended.count("succeeded") == 1
    assert set(ended) <= {"succeeded", "leased", "finished"}
    assert await world.provider.transfers() == {f"{payout_id}-1": 1}


async def test_a_refusal_fails_a_payout_at_once_with_its_reason(world: PayoutWorld) -> None:
    await world.provider.chaos(fail_next=1)
    _, operation_id = await world.begun()
    assert await world.until(operation_id, "failed") == ["failed"]
    failed = (await world.reports())[-1]
    assert (failed["status"], failed["failure_code"]) == ("failed", "declined")
    assert await world.provider.transfers() == {}


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        ("error_before", ["unknown", "succeeded"]),
        ("error_after_success", ["unknown", "succeeded"]),
        ("timeout_before", ["unknown", "succeeded"]),
        ("timeout_after_success", ["unknown", "succeeded"]),
        ("too_many", ["ready", "succeeded"]),
    ],
)
async def test_i08_an_answer_that_is_lost_is_asked_about_and_one_transfer_is_made(
    world: PayoutWorld, fault: str, seen: list[str]
) -> None:
    await world.provider.arm(fault)
    payout_id, operation_id = await world.begun()
    assert await world.until(operation_id, "succeeded", "failed") == seen
    assert await world.provider.transfers() == {f"{payout_id}-1": 1}
    keys = {row["idempotency_key"] for row in await world.table("requests")}
    assert keys == {f"payout:{payout_id}:1"}
    middle = ["unknown"] if seen[0] == "unknown" else []
    assert await world.statuses() == ["processing", *middle, "completed"]


async def test_i08_a_worker_that_died_after_the_transfer_is_followed_by_a_question(world: PayoutWorld) -> None:
    payout_id, operation_id = await world.begun()
    taken = await take(world.context, [operation_id], 1)
    (operation,) = taken.leased
    talk = Talk(recipient=taken.recipients[payout_id])
    assert (await converse(world.context, operation, talk)).status == "succeeded"
    assert await operations.execute(world.context, operation_id) == "leased"
    await _end_lease(world, operation_id)
    assert await world.until(operation_id, "succeeded") == ["succeeded"]
    assert await world.provider.transfers() == {f"{payout_id}-1": 1}
    assert await world.statuses() == ["processing", "completed"]


async def test_a_dry_balance_holds_payouts_back_until_it_is_filled(world: PayoutWorld) -> None:
    payout_id = await world.payout()
    await world.provider.balance("10.09")
    operation_id = await world.pending(payout_id)
    assert await operations.execute(world.context, operation_id) == "put off"
    row = await world.operation(operation_id)
    assert (row["failure_reason"], row["attempts"], row["status"]) == ("provider_balance_short", 0, "ready")
    assert await world.statuses() == []
    assert await provider_balance(world.context, "mock", "main", "RUB") == Money(1009, "RUB")
    await world.provider.balance("10.10")
    await world.until(operation_id, "announced")
    await world.updater()
    assert (await world.until(operation_id, "succeeded"))[-1] == "succeeded"
    assert await provider_balance(world.context, "mock", "main", "RUB") == Money(0, "RUB")
    assert await world.provider.transfers() == {f"{payout_id}-1": 1}


@pytest.mark.parametrize("when", ["before the report", "after the report", "while it has no shop"])
async def test_a_payout_that_was_canceled_is_never_sent(world: PayoutWorld, when: str) -> None:
    payout_id = await world.payout()
    operation_id = await world.pending(payout_id)
    if when == "after the report":
        assert await operations.execute(world.context, operation_id) == "announced"
        assert await operations.execute(world.context, operation_id) == "waits"
    if when == "while it has no shop":
        world.context.shops = Shops([])
    await world.set_state(payout_id, "canceled")
    before = await world.statuses()
    assert await operations.execute(world.context, operation_id) == "superseded"
    assert await operations.execute(world.context, operation_id) == "finished"
    assert (await world.operation(operation_id))["failure_code"] == "superseded"
    assert await world.provider.transfers() == {}
    assert await world.statuses() == before


async def test_i08_what_was_paid_after_all_is_not_sent_when_it_is_tried_again(world: PayoutWorld) -> None:
    """The provider's list told of the first try's transfer after the updater had decided on the second."""
    payout_id = await world.payout()
    first = await world.pending(payout_id)
    async with world.context.database.transaction() as tx:
        paid = {"status": OperationStatus.SUCCEEDED, "result_transaction_id": "mock_1"}
        await operation_store.write(tx, first, None, world.context.clock.now(), **paid)
    await world.set_state(payout_id, "pending", attempt=2)
    second = await world.pending(payout_id, attempt=2)
    assert await operations.execute(world.context, second) == "superseded"
    (report,) = await world.reports()
    assert (report["status"], report["attempt"], report["transaction"]) == ("completed", 2, "mock_1")
    assert await operations.execute(world.context, second) == "finished"
    assert await world.provider.transfers() == {}


async def test_a_try_that_another_followed_is_never_sent(world: PayoutWorld) -> None:
    payout_id = await world.payout()
    first = await world.pending(payout_id)
    await world.set_state(payout_id, "pending", attempt=2)
    second = await world.pending(payout_id, attempt=2)
    assert await operations.execute(world.context, first) == "superseded"
    assert await operations.execute(world.context, second) == "announced"
    await world.updater()
    assert (await world.until(second, "succeeded"))[-1] == "succeeded"
    assert await world.provider.transfers() == {f"{payout_id}-2": 1}


@pytest.mark.parametrize("name", ["payouts", "provider:mock"])
async def test_a_stopped_switch_holds_payouts_back_and_costs_no_try(world: PayoutWorld, name: str) -> None:
    payout_id, operation_id = await world.begun()
    await put_switch(world, name, stopped=True)
    assert await operations.execute(world.context, operation_id) == "put off"
    row = await world.operation(operation_id)
    assert (row["status"], row["attempts"], row["failure_reason"]) == ("ready", 0, "stopped: the bank is closed")
    await put_switch(world, name, stopped=False, version=2)
    assert (await world.until(operation_id, "succeeded"))[-1] == "succeeded"
    assert await world.provider.transfers() == {f"{payout_id}-1": 1}


async def test_i08_an_unknown_outcome_is_asked_about_also_while_payouts_are_stopped(world: PayoutWorld) -> None:
    await world.provider.arm("error_before")
    _, operation_id = await world.begun()
    assert await world.until(operation_id, "unknown") == ["unknown"]
    await put_switch(world, "payouts", stopped=True)
    asked = len(await world.table("requests"))
    assert await world.until(operation_id, "unknown") == ["unknown"]
    assert len(await world.table("requests")) == asked + 1
    assert await world.provider.transfers() == {}


async def test_what_was_never_executed_fails_after_so_many_tries(world: PayoutWorld) -> None:
    world.context.settings = world.context.settings.model_copy(update={"operation_attempts_max": 3})
    await world.provider.arm("too_many", count=10)
    _, operation_id = await world.begun()
    assert await world.until(operation_id, "failed") == ["ready", "ready", "failed"]
    failed = (await world.reports())[-1]
    assert (failed["status"], failed["failure_code"]) == ("failed", "provider_unavailable")


async def test_i08_what_may_have_been_executed_never_fails_by_counting(world: PayoutWorld) -> None:
    world.context.settings = world.context.settings.model_copy(update={"operation_attempts_max": 2})
    await world.provider.arm("error_after_success")
    await world.provider.arm("error_before", "find", count=10)
    payout_id, operation_id = await world.begun()
    for _ in range(5):
        assert (await world.until(operation_id, "unknown")) == ["unknown"]
    assert await world.statuses() == ["processing", "unknown"]
    await world.provider.calm()
    assert (await world.until(operation_id, "succeeded"))[-1] == "succeeded"
    assert await world.provider.transfers() == {f"{payout_id}-1": 1}


async def test_a_breaker_opens_waits_without_counting_and_closes_after_one_probe(world: PayoutWorld) -> None:
    begun = [await world.begun() for _ in range(4)]
    world.context.breaker._failures_max = 2
    world.context.breaker._open_ms = 2000
    await world.provider.arm("too_many", count=2)
    ids = [operation_id for _, operation_id in begun]
    assert [await operations.execute(world.context, one) for one in ids[:2]] == ["ready", "ready"]
    # Open: nothing is sent, and no try is counted.
    assert await operations.execute(world.context, ids[2]) == "put off"
    row = await world.operation(ids[2])
    assert (row["attempts"], row["failure_reason"]) == (0, "breaker_open")
    calls = len(await world.table("requests"))
    await _due_now(world)
    ended = await operations.execute_many(world.context, ids)
    assert set(ended.values()) == {"put off"}
    assert len(await world.table("requests")) == calls

    async def probed() -> bool:
        await _due_now(world)
        probe = await operations.execute_many(world.context, ids)
        return sorted(probe.values()) == ["put off", "put off", "put off", "succeeded"]

    # Half open: one of four is sent, the others wait for what comes of it.
    await eventually(probed, timeout_s=20)
    await _due_now(world)
    rest = await operations.execute_many(world.context, ids)
    assert sorted(rest.values()) == ["finished", "succeeded", "succeeded", "succeeded"]
    assert set((await world.provider.transfers()).values()) == {1}


async def test_without_redis_the_breaker_counts_as_closed(world: PayoutWorld) -> None:
    await world.context.breaker.close()
    world.context.breaker = type(world.context.breaker)("redis://127.0.0.1:1", 1, 30.0)
    await world.provider.arm("too_many", count=3)
    _, operation_id = await world.begun()
    assert await world.until(operation_id, "succeeded") == ["ready", "ready", "ready", "succeeded"]


async def test_a_group_is_executed_together_and_one_that_is_leased_does_not_hold_it_up(world: PayoutWorld) -> None:
    begun = [await world.begun() for _ in range(operations.GROUP_MAX)]
    ids = [operation_id for _, operation_id in begun]
    await take(world.context, ids[:1], 1)
    started = time.monotonic()
    ended = await operations.execute_many(world.context, ids)
    assert time.monotonic() - started < operations.TASK_TIMEOUT_S
    assert [ended[one] for one in ids] == ["leased", *["succeeded"] * (operations.GROUP_MAX - 1)]
    assert len(await world.provider.transfers()) == operations.GROUP_MAX - 1


PHONE = Recipient(RecipientKind.SBP, phone="+79001234567", bank_id="100000000004")


@pytest.mark.parametrize("fault", ["", "error_after_success", "error_before", "too_many", "late_success"])
async def test_i08_cloudpayments_pays_out_once_whatever_becomes_of_the_answer(
    world: PayoutWorld, emulator: Emulator, fault: str
) -> None:
    if fault:
        await emulator.arm(fault, "topup")
    payout_id, operation_id = await world.begun(recipient=PHONE, provider="cloudpayments")
    assert (await world.until(operation_id, "succeeded", "failed"))[-1] == "succeeded"
    made = await emulator.log("payout.completed")
    assert [item["invoice_id"] for item in made] == [f"{payout_id}-1"]
    assert (await world.statuses())[-1] == "completed"


async def test_the_provider_s_list_has_a_payout_asked_about_whose_answer_was_lost(
    world: PayoutWorld, emulator: Emulator
) -> None:
    # The list's moments are whole seconds, and the payout is of this one.
    world.context.settings = world.context.settings.model_copy(update={"reconcile_lag_s": -5})
    await emulator.arm("error_after_success", "topup")
    _, operation_id = await world.begun(recipient=PHONE, provider="cloudpayments")
    assert await world.until(operation_id, "unknown") == ["unknown"]
    world.tasks.clear()
    shop = world.context.shops.get("cloudpayments", "main")
    assert shop is not None
    assert await reconcile(world.context, shop) == 0
    assert world.tasks == [operation_id]
    assert await operations.execute(world.context, operation_id) == "succeeded"
    world.tasks.clear()
    assert await reconcile(world.context, shop) == 0
    assert world.tasks == []
    assert [row["kind"] for row in await world.table("facts")] == []


@pytest.mark.parametrize("kind", ["pay", "fail"])
async def test_a_notification_of_a_payout_has_it_asked_about_at_once(
    world: PayoutWorld, emulator: Emulator, settings: GatewaySettings, kind: str
) -> None:
    await emulator.arm("late_success", "topup")
    payout_id, operation_id = await world.begun(recipient=PHONE, provider="cloudpayments")
    await world.until(operation_id, "pending")
    later = world.context.clock.now() + timedelta(hours=1)
    async with world.context.database.transaction() as tx:
        await tx.execute(sa.update(tables.operations).values(next_at=later))
    assert await operations.execute(world.context, operation_id) == "early"
    world.tasks.clear()

    fields = payment(payout_id, InvoiceId=f"{payout_id}-1", OperationType="CardPayout", Reason="", ReasonCode="")
    app = build(settings, world.context, bus=False)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://gateway") as client:
        for shop, secret, tasks in (("coffee", "other_secret", []), ("main", SECRET, [operation_id])):
            body, headers = signed(fields, secret)
            url = f"{PREFIX}/paid/cloudpayments/{shop}/{kind}"
            assert (await client.post(url, content=body, headers=headers)).json() == {"code": 0}
            assert world.tasks == tasks
    assert (await world.until(operation_id, "succeeded"))[-1] == "succeeded"
    assert (await world.statuses())[-1] == "completed"
    assert [row["verdict"] for row in await world.table("callbacks")] == ["noted"] * 2
    assert await world.table("attempts") == []


async def test_cloudpayments_refuses_a_payout_and_says_why(world: PayoutWorld, emulator: Emulator) -> None:
    await emulator.arm("decline", "topup")
    _, operation_id = await world.begun(recipient=PHONE, provider="cloudpayments")
    assert await world.until(operation_id, "failed") == ["failed"]
    assert (await world.reports())[-1]["failure_reason"]
    assert await emulator.log("payout.completed") == []


async def test_a_recipient_whom_the_provider_does_not_reach_fails_at_once(world: PayoutWorld) -> None:
    account = Recipient(RecipientKind.ACCOUNT, account="40817810099910004312", bic="044525225", name="Anna")
    _, operation_id = await world.begun(recipient=account, provider="cloudpayments")
    assert await world.until(operation_id, "failed") == ["failed"]
    assert (await world.reports())[-1]["failure_code"] == "recipient_not_supported"
    assert await world.table("requests") == []


async def test_i14_no_recipient_is_kept_or_reported(world: PayoutWorld) -> None:
    _, operation_id = await world.begun()
    await world.until(operation_id, "succeeded")
    for table in tables.metadata.sorted_tables:
        text = str(await world.table(table.name))
        for secret in (TOKEN, MOCK_SECRET):
            assert secret not in text, table.name


async def test_a_payout_whose_event_never_came_is_made_up_for_once(world: PayoutWorld) -> None:
    payout_id = await world.payout()
    assert await catch_up.run(world.context) == 1
    (row,) = await world.table("operations")
    assert (row["idempotency_key"], row["amount_minor"]) == (f"payout:{payout_id}:1", 1010)
    assert world.tasks == [row["id"]]
    assert await catch_up.run(world.context, overlap=catch_up.SWEPT) == 0
    # The event comes after all.
    await event_handler.Events(world.context).handle(world.event(events.PayoutPending, payout_id))
    assert len(await world.table("operations")) == 1


async def test_a_payout_that_is_not_pending_is_not_made_up_for(world: PayoutWorld) -> None:
    for status in ("canceled", "failed", "completed", "awaiting_approval"):
        await world.payout(status=status)
    assert await catch_up.run(world.context) == 0


async def test_a_task_that_has_no_time_left_sends_nothing(world: PayoutWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    payout_id, operation_id = await world.begun()
    with monkeypatch.context() as hurried:
        hurried.setattr(operations, "TASK_TIMEOUT_S", 1.0)
        assert await world.until(operation_id, "ready") == ["ready"]
    row = await world.operation(operation_id)
    assert (row["first_sent_at"], row["failure_reason"]) == (None, "no time was left")
    assert await world.provider.transfers() == {}
    assert (await world.until(operation_id, "succeeded"))[-1] == "succeeded"
    assert await world.provider.transfers() == {f"{payout_id}-1": 1}


async def _end_lease(world: PayoutWorld, operation_id: UUID) -> None:
    past = world.context.clock.now() - timedelta(seconds=1)
    async with world.context.database.transaction() as tx:
        change = sa.update(tables.operations).where(tables.operations.c.id == operation_id)
        await tx.execute(change.values(leased_until=past, next_at=past))


async def _due_now(world: PayoutWorld) -> None:
    async with world.context.database.transaction() as tx:
        await tx.execute(sa.update(tables.operations).values(next_at=sa.func.now()))
