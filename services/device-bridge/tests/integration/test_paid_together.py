"""Payments that arrive at the same time share a commit, and end as they would one by one."""

import asyncio
from dataclasses import replace
from uuid import UUID

import psycopg
import pytest

from copeck.contracts import events
from copeck.kernel.ids import new_id
from device_bridge.domain.model import Order
from device_bridge.handlers import stops, together
from device_bridge.handlers.invoices import UnknownInvoiceError
from device_bridge.handlers.together import PaidCoffees

from .fleet import Fleet

pytestmark = pytest.mark.integration


async def ask(fleet: Fleet, count: int, device_id: str = "kiosk-1") -> list[Order]:
    orders = [await fleet.ask(device_id) for _ in range(count)]
    for order in orders:
        await fleet.hear(order, events.InvoiceIssued)
    return orders


async def commits(fleet: Fleet) -> int:
    """Count the transactions in which brew commands were made; other tests' transactions are not among them."""
    [row] = await fleet.rows("SELECT count(DISTINCT xmin::text) AS n FROM devices.brew_commands")
    return int(row["n"])


async def test_many_payments_with_copies_among_them(fleet: Fleet) -> None:
    await fleet.device()
    orders = await ask(fleet, 20)
    paid = [fleet.event(order, events.InvoicePaid) for order in orders]
    woken: list[bool] = []
    context = replace(fleet.context, wake_sender=lambda: woken.append(True))
    payments = PaidCoffees(context)
    await asyncio.gather(*(payments.handle(event) for event in [*paid, *paid[:10]]))
    assert 1 <= await commits(fleet) < 5
    assert {await fleet.ends(order) for order in orders} == {("make_pending", "", None)}
    assert await fleet.rows("SELECT count(*) AS n FROM devices.brew_commands") == [{"n": 20}]
    for order in orders:
        assert await fleet.history(order) == ["created", "invoice_issued", "invoice_paid", "brew_commanded"]
    assert 1 <= len(woken) < 5
    # The same news under other ids make no second cup either.
    await asyncio.gather(*(payments.handle(fleet.event(order, events.InvoicePaid)) for order in orders))
    assert await fleet.rows("SELECT count(*) AS n FROM devices.brew_commands") == [{"n": 20}]
    assert {(await fleet.order(order.id)).invoice_version for order in orders} == {3}


async def test_what_is_not_plain_goes_by_itself(fleet: Fleet) -> None:
    """A stopped machine's payment goes back, an older word is dropped, a stranger is refused, the rest is brewed."""
    await fleet.device()
    await fleet.device("kiosk-2")
    [plain, overtaken] = await ask(fleet, 2)
    [stopped] = await ask(fleet, 1, "kiosk-2")
    await fleet.do(lambda work: stops.stop_device(work, "kiosk-2", "broken"))
    await fleet.hear(overtaken, events.InvoiceExpired, version=5)
    said = [
        fleet.event(stopped, events.InvoicePaid),
        fleet.event(plain, events.InvoicePaid),
        fleet.event(overtaken, events.InvoicePaid, version=4),
        fleet.event(plain, events.InvoicePaid, invoice_id=new_id()),
        fleet.event(plain, events.InvoicePaid, kind="subscription"),
    ]
    payments = PaidCoffees(fleet.context)
    results = await asyncio.gather(*(payments.handle(event) for event in said), return_exceptions=True)
    nothing = type(None)
    assert [type(result) for result in results] == [nothing, nothing, nothing, UnknownInvoiceError, nothing]
    assert await fleet.ends(plain) == ("make_pending", "", None)
    assert await fleet.ends(stopped) == ("failed", "stopped", "requested")
    assert await fleet.ends(overtaken) == ("not_paid", "expired", None)
    [(_, refund)] = await fleet.sent("invoice.refund.v1")
    assert refund["invoice_id"] == str(stopped.invoice_id)
    commanded = await fleet.rows("SELECT order_id FROM devices.brew_commands")
    assert commanded == [{"order_id": plain.id}]


async def test_a_common_failure_is_not_shared(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """I-13: when the common transaction fails for a reason of the data, each payment stands alone."""
    await fleet.device()
    orders = await ask(fleet, 5)

    async def breaks(*_: object) -> set[int]:
        raise ZeroDivisionError

    monkeypatch.setattr(together, "apply_together", breaks)
    payments = PaidCoffees(fleet.context)
    await asyncio.gather(*(payments.handle(fleet.event(order, events.InvoicePaid)) for order in orders))
    assert {(await fleet.ends(order))[0] for order in orders} == {"make_pending"}


async def test_a_fault_of_postgres_is_everybodys_to_try_again(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    await fleet.device()
    orders = await ask(fleet, 2)
    said = [fleet.event(order, events.InvoicePaid) for order in orders]
    payments = PaidCoffees(fleet.context)

    async def breaks(*_: object) -> set[int]:
        raise psycopg.OperationalError("the connection is lost")

    with monkeypatch.context() as patch:
        patch.setattr(together, "apply_together", breaks)
        results = await asyncio.gather(*(payments.handle(event) for event in said), return_exceptions=True)
    assert [type(result) for result in results] == [psycopg.OperationalError] * 2
    await asyncio.gather(*(payments.handle(event) for event in said))
    commanded: set[UUID] = {row["order_id"] for row in await fleet.rows("SELECT order_id FROM devices.brew_commands")}
    assert commanded == {order.id for order in orders}
