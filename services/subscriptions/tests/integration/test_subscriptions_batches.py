"""Payments that arrive at the same time share a commit, and end as they would one by one."""

import asyncio

import pytest

from copeck.kernel.ids import new_id
from services.subscriptions.tests.world import World
from subscriptions.domain.machine import Status
from subscriptions.handlers import together
from subscriptions.handlers.invoices import UnknownInvoiceError
from subscriptions.handlers.subscriptions import Begun, cancel
from subscriptions.handlers.together import PaidInvoices

pytestmark = pytest.mark.integration


async def buy(world: World, count: int) -> list[Begun]:
    price = await world.plan()
    return [await world.subscribe(new_id(), price) for _ in range(count)]


async def statuses(world: World) -> list[str]:
    rows = await world.rows("SELECT status FROM subscriptions.subscriptions ORDER BY id")
    return [row["status"] for row in rows]


async def test_many_payments_with_copies_among_them(world: World) -> None:
    begun = await buy(world, 30)
    events = [world.event(one.invoice_id, "paid") for one in begun if one.invoice_id]
    payments = PaidInvoices(world.context)
    await asyncio.gather(*(payments.handle(event) for event in [*events, *events[:10]]))
    assert 1 <= await commits(world) < 5
    assert await statuses(world) == ["active"] * 30
    assert len(await world.rows("SELECT 1 FROM subscriptions.entitlements")) == 30
    assert len(await world.sent("subscription.activated.v1")) == 30
    assert len(await world.rows("SELECT 1 FROM subscriptions.inbox")) == 30
    states = await world.rows("SELECT DISTINCT state, seen_version FROM subscriptions.period_invoices")
    assert states == [{"state": "paid", "seen_version": 2}]


async def commits(world: World) -> int:
    """Count the transactions in which entitlements were given; other tests' transactions are not among them."""
    [row] = await world.rows("SELECT count(DISTINCT xmin::text) AS n FROM subscriptions.entitlements")
    return int(row["n"])


async def test_what_is_not_plain_goes_by_itself(world: World) -> None:
    """One that was canceled is refunded, one that nobody knows is refused, and the others are not held up."""
    plain, canceled, renewed = await buy(world, 3)
    assert plain.invoice_id
    assert canceled.invoice_id
    assert renewed.invoice_id
    await world.do(canceled.subscription.id, cancel, "now", "")
    payments = PaidInvoices(world.context)
    invoices = (plain.invoice_id, canceled.invoice_id, new_id(), renewed.invoice_id)
    results = await asyncio.gather(
        *(payments.handle(world.event(invoice, "paid")) for invoice in invoices), return_exceptions=True
    )
    assert [type(result) for result in results] == [type(None), type(None), UnknownInvoiceError, type(None)]
    assert await statuses(world) == ["active", "canceled", "active"]
    [(_, refund)] = await world.sent("invoice.refund.v1")
    assert refund["invoice_id"] == str(canceled.invoice_id)


async def test_a_common_failure_is_not_shared(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """I-13: when the common transaction fails for a reason of the data, each payment stands alone."""
    begun = await buy(world, 5)

    async def breaks(*_: object) -> set[int]:
        raise ZeroDivisionError

    monkeypatch.setattr(together, "apply_together", breaks)
    payments = PaidInvoices(world.context)
    await asyncio.gather(*(payments.handle(world.event(one.invoice_id, "paid")) for one in begun if one.invoice_id))
    assert await statuses(world) == ["active"] * 5


async def test_a_lost_connection_is_everybodys_to_try_again(world: World) -> None:
    [one, other] = await buy(world, 2)
    assert one.invoice_id
    assert other.invoice_id
    events = [world.event(one.invoice_id, "paid"), world.event(other.invoice_id, "paid")]
    payments = PaidInvoices(world.context)
    await world.as_admin(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
        "AND usename = 'subscriptions'"
    )
    await asyncio.gather(*(payments.handle(event) for event in events), return_exceptions=True)
    await asyncio.gather(*(payments.handle(event) for event in events))
    assert {(await world.subscription(begun.subscription.id)).status for begun in (one, other)} == {Status.ACTIVE}
    assert len(await world.sent("subscription.activated.v1")) == 2
