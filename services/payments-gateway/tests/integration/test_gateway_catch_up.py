"""Instructions whose events never reached the gateway: what the updater's views say is owed is done all the same."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx2
import pytest
import sqlalchemy as sa

from copeck.kernel.clock import SystemClock
from copeck.kernel.ids import id_at, new_id
from copeck.storage.engine import Database
from copeck.testkit.waiting import eventually
from payments_gateway.handlers import catch_up, janitor
from payments_gateway.handlers.context import Context
from payments_gateway.store import attempts as attempt_store
from payments_gateway.tables import operations

from .conftest import PAYER, PREFIX, Emulator, payment, signed
from .operation_world import World, callbacks

pytestmark = pytest.mark.integration

_INVOICE = sa.text("""
INSERT INTO state.invoices (id, version, status, kind, product, account, payer, beneficiary, amount_minor,
    commission_minor, currency, description, late_policy, capture, expires_at, "references", payment_id, issued_at,
    updated_at)
VALUES (:id, 3, :status, 'subscription', 'cinema', :account, :account, 'revenue:cinema', 19900, 0, 'RUB', '', 'refund',
    'automatic', now(), '{}', :payment, now(), now())
""")
_REFUND = sa.text("""
INSERT INTO state.refunds (invoice_id, id, version, status, origin, source, amount_minor, commission_minor, currency,
    provider, shop, transaction, refund_transaction, reason, failure_code, failure_reason, created_at, updated_at)
VALUES (:invoice, :id, 1, 'requested', 'requested', 'revenue:cinema', 19900, 0, 'RUB', 'cloudpayments', 'main',
    :transaction, '', '', '', '', :at, :at)
""")
_STEP = sa.text("""
INSERT INTO state.transitions (aggregate_id, version, aggregate, event, status, changes, cause_id, cause_type, actor,
    shard, epoch, at)
VALUES (:invoice, 3, 'invoice', :event, 'authorized', '{}', :cause, 'payment.report', '', 0, 1, :at)
""")


@pytest.fixture
async def state(database_urls: dict[str, str]) -> AsyncIterator[Database]:
    made = Database(database_urls["state_updater"], pool_size=1, application="updater-test")
    yield made
    await made.close()


@pytest.fixture
def world(gateway: Context, emulator: Emulator) -> World:
    return World(gateway, emulator)


async def _invoice(state: Database, invoice_id: UUID, status: str, payment: Any = None) -> None:
    async with state.transaction() as tx:
        await tx.execute(_INVOICE, {"id": invoice_id, "status": status, "account": PAYER, "payment": payment})


@pytest.mark.parametrize("older", [timedelta(), timedelta(hours=3)], ids=["own id", "id of an old cause"])
async def test_a_refund_whose_event_never_came_is_made_once(world: World, state: Database, older: timedelta) -> None:
    invoice_id, transaction = await world.paid()
    await _invoice(state, invoice_id, "paid")
    assert await catch_up.run(world.context) == 0
    asked_at = SystemClock().now() - timedelta(seconds=20)
    async with state.transaction() as tx:
        values = {"invoice": invoice_id, "id": id_at(asked_at - older), "transaction": transaction, "at": asked_at}
        await tx.execute(_REFUND, values)
    taken: list[UUID] = []
    world.context.enqueue = taken.extend
    await janitor.run(world.context)
    (operation_id,) = taken
    assert await catch_up.run(world.context, overlap=catch_up.SWEPT) == 0
    assert await world.until(operation_id, "succeeded", "finished", "lease lost")
    assert len(await world.emulator.log("payment.refunded")) == 1


@pytest.mark.parametrize(("event", "end"), [("capture_requested", "succeeded"), ("void_requested", "canceled")])
async def test_a_hold_whose_end_was_asked_for_in_vain_is_ended(
    world: World, state: Database, event: str, end: str
) -> None:
    invoice_id, _ = await world.paid(hold=True)
    payment_id = UUID((await world.reports("payment"))[0]["payment_id"])
    async with world.context.database.reading() as tx:
        attempt = await attempt_store.get(tx, payment_id)
    assert attempt is not None
    await _invoice(state, invoice_id, "authorized", payment_id)
    assert await catch_up.hold(world.context, attempt) is None
    asked_at = SystemClock().now() - timedelta(minutes=1)
    async with state.transaction() as tx:
        await tx.execute(_STEP, {"invoice": invoice_id, "event": event, "cause": new_id(), "at": asked_at})
    operation_id = await catch_up.hold(world.context, attempt)
    assert operation_id is not None
    assert await catch_up.hold(world.context, attempt) is None
    assert (await world.until(operation_id, "succeeded"))[-1] == "succeeded"
    assert (await world.statuses("payment"))[-1] == end


@pytest.mark.parametrize(("event", "end"), [("capture_requested", "succeeded"), ("void_requested", "canceled")])
async def test_the_end_of_a_hold_that_is_refused_is_tried_again_but_not_for_ever(
    world: World, state: Database, event: str, end: str
) -> None:
    invoice_id, _ = await world.paid(hold=True)
    payment_id = UUID((await world.reports("payment"))[0]["payment_id"])
    async with world.context.database.reading() as tx:
        attempt = await attempt_store.get(tx, payment_id)
    assert attempt is not None
    await _invoice(state, invoice_id, "authorized", payment_id)
    asked_at = SystemClock().now() - timedelta(minutes=1)
    async with state.transaction() as tx:
        await tx.execute(_STEP, {"invoice": invoice_id, "event": event, "cause": new_id(), "at": asked_at})
    for _ in range(2):
        # A transaction that the provider does not know is refused; the payment stays held.
        refused = await catch_up.hold(world.context, attempt)
        assert refused is not None
        assert await catch_up.hold(world.context, attempt) is None
        async with world.context.database.transaction() as tx:
            one = sa.update(operations).where(operations.c.id == refused)
            await tx.execute(one.values(transaction_id="999999999"))
        assert await world.until(refused, "failed") == ["failed"]
    settings = world.context.settings
    world.context.settings = settings.model_copy(update={"operation_attempts_max": 2})
    assert await catch_up.hold(world.context, attempt) is None
    world.context.settings = settings
    again = await catch_up.hold(world.context, attempt)
    assert again is not None
    assert (await world.until(again, "succeeded"))[-1] == "succeeded"
    assert (await world.statuses("payment"))[-1] == end
    assert len({row["idempotency_key"] for row in await world.table("operations")}) == 3


@pytest.mark.parametrize("asked", [False, True], ids=["never asked about", "asked about until it failed"])
async def test_a_hold_that_is_told_after_a_failure_is_asked_about_and_ended(
    world: World, state: Database, asked: bool
) -> None:
    invoice_id = await world.invoice()
    await world.emulator.client.post("/sandbox/notifications/hold")
    answer = await world.emulator.charge(invoice_id, hold=True)
    questions = await _questions(world) if asked else []
    fields = payment(invoice_id, answer["Model"]["TransactionId"], Status="Declined", Reason="Timeout", ReasonCode=5091)
    body, headers = signed(fields)
    url = f"http://127.0.0.1:{world.emulator.gateway_port}{PREFIX}/paid/cloudpayments/main/fail"
    assert (await world.emulator.client.post(url, content=body, headers=headers)).json() == {"code": 0}
    if asked:
        assert await world.until(questions.pop(), "succeeded") == ["succeeded"]
    else:
        assert await _questions(world) == []

    await world.emulator.client.post("/sandbox/notifications/release")
    await eventually(lambda: callbacks(world, "pay"))
    assert (await world.statuses("payment"))[-2:] == ["failed", "authorized"]
    await _invoice(state, invoice_id, "authorized", UUID((await world.reports("payment"))[-1]["payment_id"]))
    asked_at = SystemClock().now() - timedelta(minutes=1)
    async with state.transaction() as tx:
        values = {"invoice": invoice_id, "event": "void_requested", "cause": new_id(), "at": asked_at}
        await tx.execute(_STEP, values)
    (question,) = await _questions(world)
    voids: list[UUID] = []
    world.context.enqueue = voids.extend
    assert await world.until(question, "pending") == ["pending"]
    (void,) = voids
    assert (await world.until(void, "succeeded"))[-1] == "succeeded"
    assert (await world.statuses("payment"))[-1] == "canceled"
    assert await world.until(question, "succeeded", "finished")


async def _questions(world: World) -> list[UUID]:
    """Let the time of every attempt come; returns the questions that the janitor then has asked."""
    async with world.context.database.transaction() as tx:
        moved = sa.text(
            "WITH gone AS (DELETE FROM gateway.attempts_due RETURNING payment_id) "
            "INSERT INTO gateway.attempts_due SELECT DISTINCT now(), payment_id FROM gone"
        )
        await tx.execute(moved)
    questions: list[UUID] = []
    world.context.enqueue_questions = questions.extend
    await janitor.run(world.context)
    return questions


@pytest.mark.parametrize("status", ["canceled", "paid"])
async def test_an_invoice_whose_last_event_never_came_is_not_charged(
    client: httpx2.AsyncClient,
    told: Callable[..., Awaitable[UUID]],
    notify: Callable[..., Awaitable[httpx2.Response]],
    state: Database,
    status: str,
) -> None:
    checked, shown, started = [await told() for _ in range(3)]
    assert (await notify("check", payment(checked))).json() == {"code": 0}
    for invoice_id in (checked, shown, started):
        await _invoice(state, invoice_id, status)
    assert (await notify("check", payment(checked))).json() != {"code": 0}
    assert (await client.post(f"{PREFIX}/pay/{started}", headers={"Idempotency-Key": "1"})).status_code == 409
    page = (await client.get(f"{PREFIX}/pay/{shown}")).json()
    assert (page["status"], page["payable"], page["widget"]) == (status, False, None)
    assert (await client.get(f"{PREFIX}/invoices/{started}")).json()["status"] == status
