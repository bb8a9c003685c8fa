"""Events that never came are found in the State Storage; refusals end what waits; history is never rewritten."""

import asyncio
from uuid import UUID

import psycopg
import pytest

from copeck.contracts import events
from copeck.kernel.ids import new_id
from copeck.storage.engine import libpq_url
from device_bridge.clockwork import decide_due
from device_bridge.domain.model import Order
from device_bridge.handlers import incidents
from device_bridge.handlers.catch_up import catch_up
from device_bridge.store import incidents as incident_store

from .fleet import Fleet

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("issued", ("pending", "", None)),
        ("pending", ("pending", "", None)),
        ("paid", ("make_pending", "", None)),
        ("expired", ("not_paid", "expired", None)),
        ("canceled", ("not_paid", "canceled", None)),
        ("refunded", ("failed", "refunded", "succeeded")),
    ],
)
async def test_an_invoice_whose_event_never_came(
    fleet: Fleet, status: str, expected: tuple[str, str, str | None]
) -> None:
    """A binding that was lost for a while must not leave an order waiting."""
    await fleet.device()
    order = await fleet.ask()
    await fleet.invoice_in_state(order, status, 3)
    assert await catch_up(fleet.context) == 0, "its event may still be on its way"
    await fleet.pass_s(11)
    assert await catch_up(fleet.context) == 1
    assert await fleet.ends(order) == expected
    assert await catch_up(fleet.context) == 0
    if status == "paid":
        await fleet.hear(order, events.InvoicePaid, version=3)
        await fleet.send()
        assert fleet.machine.words == ["brew"]


async def test_a_payment_that_is_noticed_too_late_is_refunded(fleet: Fleet) -> None:
    await fleet.device()
    order = await fleet.ask()
    await fleet.invoice_in_state(order, "paid", 3)
    await fleet.pass_s(177)
    await catch_up(fleet.context)
    assert await fleet.ends(order) == ("failed", "deadline", "requested")
    assert fleet.machine.told == []


async def test_an_order_that_was_given_up_is_still_watched(fleet: Fleet) -> None:
    await fleet.device()
    order = await fleet.ask()
    await fleet.hear(order, events.InvoiceExpired)
    await fleet.invoice_in_state(order, "paid", 5)
    await fleet.pass_s(11)
    await catch_up(fleet.context)
    assert await fleet.ends(order) == ("failed", "payment_late", "requested")


@pytest.mark.parametrize(
    ("status", "expected"), [("succeeded", "succeeded"), ("failed", "failed"), ("unknown", "pending")]
)
async def test_a_refund_whose_event_never_came(fleet: Fleet, status: str, expected: str) -> None:
    await fleet.device()
    order = await fleet.paid()
    await fleet.send()
    await fleet.says(order, "failed")
    order = await fleet.order(order.id)
    await fleet.invoice_in_state(order, "paid", 9)
    await refund_in_state(fleet, order, status, refund_id=order.refund_id)
    await fleet.pass_s(11)
    assert await catch_up(fleet.context) == 1
    assert await fleet.ends(order) == ("failed", "brew_failed", expected)
    assert await fleet.incidents() == (["refund_failed"] if status == "failed" else [])
    assert await catch_up(fleet.context) == 0


async def refund_in_state(
    fleet: Fleet, order: Order, status: str, *, refund_id: UUID | None, origin: str = "requested"
) -> None:
    """Let a refund of an order's invoice stand in the State Storage, as of now."""
    await fleet.in_state(
        "INSERT INTO state.refunds (id, invoice_id, version, status, origin, source, amount_minor, "
        "commission_minor, currency, provider, shop, transaction, refund_transaction, reason, failure_code, "
        "failure_reason, created_at, updated_at) VALUES (:id, :invoice, 2, :status, :origin, :source, 15000, 750, "
        "'RUB', 'cloudpayments', 'main', '1', '', '', '', '', :now, :now)",
        id=refund_id or new_id(),
        invoice=order.invoice_id,
        status=status,
        origin=origin,
        source=order.beneficiary,
        now=fleet.clock.now(),
    )


async def test_failed_refunds_of_money_that_came_twice_are_incidents(fleet: Fleet) -> None:
    """Defect: where their events were lost, nobody ever learnt of them. Each is one incident, and the cup is sold."""
    await fleet.device()
    order = await fleet.paid()
    await fleet.send()
    await fleet.says(order, "done")
    await fleet.invoice_in_state(order, "paid", 9)
    for status in ("failed", "succeeded", "failed"):
        await refund_in_state(fleet, order, status, refund_id=None, origin="late_payment")
    assert await catch_up(fleet.context) == 0, "their events may still be on their way"
    await fleet.pass_s(11)
    assert await catch_up(fleet.context) == 2
    assert await fleet.incidents() == ["refund_failed", "refund_failed"]
    assert await fleet.ends(order) == ("successful", "", None)
    assert await catch_up(fleet.context) == 0


async def test_a_failed_refund_that_an_event_told_of_is_not_missed(fleet: Fleet) -> None:
    await fleet.device()
    order = await fleet.paid()
    twice = new_id()
    await fleet.hear_refund(order, events.RefundFailed, refund_id=twice, origin="late_payment")
    await refund_in_state(fleet, order, "failed", refund_id=twice, origin="late_payment")
    await fleet.pass_s(11)
    assert await catch_up(fleet.context) == 0
    assert await fleet.incidents() == ["refund_failed"]


async def test_a_failed_refund_of_an_order_that_was_given_up_is_one_incident(fleet: Fleet) -> None:
    await fleet.device()
    order = await fleet.ask()
    await fleet.hear(order, events.InvoiceExpired)
    await refund_in_state(fleet, order, "failed", refund_id=None, origin="late_payment")
    await fleet.pass_s(11)
    assert await catch_up(fleet.context) == 1
    assert await fleet.ends(order) == ("not_paid", "expired", "failed")
    assert await fleet.incidents() == ["refund_failed"]
    assert await catch_up(fleet.context) == 0


@pytest.mark.parametrize("by_event", [True, False])
async def test_an_invoice_that_was_refused(fleet: Fleet, by_event: bool) -> None:
    await fleet.device()
    order = await fleet.ask()
    await refuse(fleet, order.invoice_id, "invoice.issue", new_id(), by_event=by_event)
    assert await fleet.ends(order) == ("not_paid", "invoice_refused", None)


@pytest.mark.parametrize("by_event", [True, False])
async def test_a_refund_that_was_refused_is_a_managers(fleet: Fleet, by_event: bool) -> None:
    await fleet.device()
    order = await fleet.paid()
    await fleet.send()
    await fleet.says(order, "failed")
    [(command_id, refund_id)] = await asked(fleet)
    assert str(command_id) == refund_id
    await refuse(fleet, order.invoice_id, "invoice.refund", command_id, by_event=by_event)
    assert await fleet.ends(order) == ("failed", "brew_failed", "failed")
    assert await fleet.incidents() == ["refund_failed"]
    async with fleet.context.database.reading() as tx:
        [incident] = await incident_store.list_(tx, open_only=True, limit=10)
    await fleet.do(lambda work: incidents.close_incident(work, incident.id, "refunded by hand"))
    async with fleet.context.database.reading() as tx:
        assert await incident_store.list_(tx, open_only=True, limit=10) == []


async def asked(fleet: Fleet) -> list[tuple[UUID, str]]:
    """Return what this service asked the updater to refund: the ids of the commands and of the refunds."""
    query = (
        "SELECT message_id AS id, convert_from(body, 'UTF8')::jsonb ->> 'refund_id' AS refund_id FROM devices.outbox "
        "WHERE headers ->> 'cloudEvents:type' = 'invoice.refund.v1'"
    )
    return [(row["id"], row["refund_id"]) for row in await fleet.rows(query)]


@pytest.mark.parametrize("by_event", [True, False])
async def test_the_refusal_of_somebody_elses_refund_leaves_the_orders_own_alone(fleet: Fleet, by_event: bool) -> None:
    """Defect: two managers retried a failed refund; the second was refused, and the first one's counted as failed.

    The same before the updater has come to our refund, when it knows none of this order's.
    """
    await fleet.device()
    order = await fleet.paid()
    await fleet.send()
    await fleet.says(order, "failed")
    await refuse(fleet, order.invoice_id, "invoice.refund", new_id(), by_event=by_event, found=0)
    assert await fleet.ends(order) == ("failed", "brew_failed", "requested")
    await fleet.hear_refund(await fleet.order(order.id), events.RefundFailed)
    await fleet.hear_refund(order, events.RefundRequested, refund_id=new_id())
    assert await fleet.ends(order) == ("failed", "brew_failed", "requested")
    await refuse(fleet, order.invoice_id, "invoice.refund", new_id(), by_event=by_event, found=0)
    assert await fleet.ends(order) == ("failed", "brew_failed", "requested")
    assert await fleet.incidents() == ["refund_failed"]


async def refuse(
    fleet: Fleet, invoice_id: object, command_type: str, command_id: UUID, *, by_event: bool, found: int = 1
) -> None:
    if by_event:
        refusal = events.CommandRefused(
            command_id=command_id, command_type=command_type, aggregate=str(invoice_id), code="test"
        )
        await fleet.hear_message(refusal)
        return
    await fleet.in_state(
        "INSERT INTO state.refusals (command_id, command_type, aggregate, outcome, code, detail, actor, at) "
        "VALUES (:id, :type, :invoice, 'illegal', 'test', 'because', '', :now)",
        id=command_id,
        type=command_type,
        invoice=str(invoice_id),
        now=fleet.clock.now(),
    )
    await fleet.pass_s(11)
    assert await catch_up(fleet.context) == found


async def test_an_order_whose_invoice_nobody_ever_made_ends(fleet: Fleet) -> None:
    await fleet.device()
    order = await fleet.ask()
    await fleet.pass_s(15 * 60)
    assert await catch_up(fleet.context) == 0
    await fleet.pass_s(121)
    assert await catch_up(fleet.context) == 1
    assert await fleet.ends(order) == ("not_paid", "expired", None)


async def test_a_model_that_lost_its_driver_keeps_nobodys_money(fleet: Fleet) -> None:
    await fleet.device()
    order = await fleet.paid()
    del fleet.machines.by_model["talkative"]
    await fleet.send()
    await fleet.pass_s(60)
    assert await fleet.ends(order) == ("failed", "no_answer", "requested")


async def test_two_clocks_decide_once(fleet: Fleet) -> None:
    await fleet.device()
    order = await fleet.paid()
    fleet.clock.set(order.created_at.replace(minute=30))
    await asyncio.gather(*(decide_due(fleet.context) for _ in range(4)))
    assert await fleet.ends(order) == ("failed", "no_answer", "requested")
    assert len(await fleet.sent("invoice.refund.v1")) == 1


@pytest.mark.parametrize("table", ["order_history", "brew_reports", "audit"])
@pytest.mark.parametrize("statement", ["DELETE FROM devices.{}", "UPDATE devices.{} SET at = now()"])
async def test_the_past_is_not_rewritten(fleet: Fleet, table: str, statement: str) -> None:
    async with await psycopg.AsyncConnection.connect(libpq_url(fleet.context.settings.database_url)) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute(statement.format(table))  # type: ignore[arg-type]
