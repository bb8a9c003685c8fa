"""Charges without a page through the mock gateway's process, and their refunds: each is one transfer (I-08)."""

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import pytest

from copeck.contracts import events
from copeck.contracts.envelope import Envelope
from copeck.kernel.clock import ManualClock, SystemClock
from copeck.kernel.ids import new_id
from copeck.kernel.money import Money
from payments_gateway.domain.models import Attempt
from payments_gateway.domain.provider import AttemptStatus
from payments_gateway.handlers import charges, operations
from payments_gateway.handlers import events as event_handler
from payments_gateway.settings import GatewaySettings

from .conftest import PAYER, Emulator, invoice_event
from .payout_world import MockGateway, PayoutWorld, mock_process, payout_world, put_switch

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


async def test_a_deposit_is_charged_once_its_invoice_is_known(world: PayoutWorld) -> None:
    invoice_id, issued = invoice_event(kind="topup")
    payment_id = new_id()
    await _charge(world, invoice_id, payment_id)
    (row,) = await world.table("operations")
    assert await operations.execute(world.context, row["id"]) == "put off"
    await event_handler.Events(world.context).handle(_told(issued))
    assert world.tasks == [row["id"]]
    await world.until(row["id"], "succeeded")
    assert await world.provider.transfers() == {str(payment_id): 1}
    (attempt,) = await world.table("attempts")
    assert (attempt["status"], attempt["payment_id"]) == ("succeeded", payment_id)
    (report,) = [item for item in await world.table("outbox") if item["routing_key"].startswith("payment.report")]
    assert str(payment_id) in bytes(report["body"]).decode()


async def test_a_charge_that_is_declined_is_reported_as_failed(world: PayoutWorld) -> None:
    await world.provider.arm("decline", "deposit")
    invoice_id, issued = invoice_event(kind="topup")
    await event_handler.Events(world.context).handle(_told(issued))
    await _charge(world, invoice_id, new_id())
    (row,) = await world.table("operations")
    assert await world.until(row["id"], "failed") == ["failed"]
    (attempt,) = await world.table("attempts")
    assert (attempt["status"], attempt["failure_code"]) == ("failed", "declined")


async def test_a_charge_whose_invoice_never_comes_is_given_up(world: PayoutWorld) -> None:
    await _charge(world, new_id(), new_id())
    (row,) = await world.table("operations")
    expires = timedelta(seconds=world.context.settings.deposit_expires_s)
    clock = world.context.clock = ManualClock(row["created_at"] + expires - timedelta(seconds=1))
    assert await operations.execute(world.context, row["id"]) == "put off"
    clock.advance(timedelta(minutes=2))
    assert await operations.execute(world.context, row["id"]) == "superseded"
    assert (await world.operation(row["id"]))["failure_reason"] == "the invoice never came"
    assert [attempt["status"] for attempt in await world.table("attempts")] == ["canceled"]
    assert await world.provider.transfers() == {}


async def test_a_stop_of_deposits_holds_charges_back(world: PayoutWorld) -> None:
    invoice_id, issued = invoice_event(kind="topup")
    payment_id = new_id()
    await event_handler.Events(world.context).handle(_told(issued))
    await put_switch(world, "deposits", stopped=True)
    await _charge(world, invoice_id, payment_id)
    (row,) = await world.table("operations")
    assert await operations.execute(world.context, row["id"]) == "put off"
    assert (await world.operation(row["id"]))["failure_reason"] == "stopped: the bank is closed"
    await put_switch(world, "deposits", stopped=False, version=2)
    assert (await world.until(row["id"], "succeeded"))[-1] == "succeeded"
    assert await world.provider.transfers() == {str(payment_id): 1}


async def test_i08_a_charge_whose_answer_is_lost_is_found_by_its_payment(world: PayoutWorld) -> None:
    await world.provider.arm("error_after_success", "deposit")
    invoice_id, issued = invoice_event(kind="topup")
    await event_handler.Events(world.context).handle(_told(issued))
    payment_id = new_id()
    await _charge(world, invoice_id, payment_id)
    (row,) = await world.table("operations")
    assert await world.until(row["id"], "succeeded") == ["unknown", "succeeded"]
    assert await world.provider.transfers() == {str(payment_id): 1}


@pytest.mark.parametrize("fault", ["", "error_after_success", "error_before"])
async def test_i08_a_refund_of_a_deposit_is_one_transfer(world: PayoutWorld, fault: str) -> None:
    if fault:
        await world.provider.arm(fault)
    refund_id = new_id()
    wanted = events.RefundRequested(
        refund_id=refund_id, invoice_id=new_id(), version=1, status="requested", origin="requested", account=PAYER,
        amount_minor=500, currency="RUB", provider="mock", shop="main", transaction="mock_1",
    )  # fmt: skip
    await event_handler.Events(world.context).handle(_told(wanted))
    (row,) = await world.table("operations")
    assert (await world.until(row["id"], "succeeded"))[-1] == "succeeded"
    assert await world.provider.transfers() == {f"refund-{refund_id}": 1}


def _told(data: events.InvoiceEvent | events.RefundEvent) -> Envelope:
    return Envelope.new(data, source="state-updater")


async def _charge(world: PayoutWorld, invoice_id: UUID, payment_id: UUID) -> None:
    now = SystemClock().now()
    attempt = Attempt(
        payment_id=payment_id, invoice_id=invoice_id, account=PAYER, provider="mock", shop="main",
        amount=Money(19900, "RUB"), status=AttemptStatus.PENDING, created_at=now,
    )  # fmt: skip
    async with world.context.database.transaction() as tx:
        await charges.start_charges(tx, [(attempt, None)], now)
