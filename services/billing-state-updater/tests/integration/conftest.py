"""A real updater that sold something, and the operator's command line."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from copeck.contracts import commands
from copeck.kernel.ids import new_id
from copeck.testkit.waiting import eventually
from tests.support.operators import Answer, Copeck, command_line, inside
from tests.support.updater import CUSTOMER, issue, paid, rows, running, send, status_becomes


@pytest.fixture
def environment(service_environment: Callable[..., dict[str, str]]) -> dict[str, str]:
    return service_environment("state_updater", "state-updater", lease_s="2")


@pytest.fixture
def copeck(service_environment: Callable[..., dict[str, str]]) -> Copeck:
    return command_line(service_environment("operator", "operator", operator_name="olga"))


@pytest.fixture
def copeck_inside(service_environment: Callable[..., dict[str, str]]) -> Callable[..., Answer]:
    return inside(service_environment("operator", "operator", operator_name="olga"))


@pytest.fixture
async def sold(environment: dict[str, str], broker: Any, database_urls: Any) -> list[UUID]:
    """Two invoices, one paid and half refunded, one paid too late; by a real updater."""
    admin = database_urls["admin"]
    first, second = issue(), issue()
    async with running(environment) as updater:
        await send(broker, "subscriptions", [first, second])
        await send(broker, "gateway", [paid(first.invoice_id)])
        await send(broker, "subscriptions", [commands.InvoiceCancel(account=CUSTOMER, invoice_id=second.invoice_id)])
        await status_becomes(admin, first.invoice_id, "paid")
        await status_becomes(admin, second.invoice_id, "canceled")
        refund = commands.InvoiceRefund(
            account=CUSTOMER, invoice_id=first.invoice_id, refund_id=new_id(), amount_minor=9_900, actor="user:m1"
        )
        again = commands.InvoiceCancel(account=CUSTOMER, invoice_id=first.invoice_id, actor="user:m2")
        await send(broker, "subscriptions", [refund, again])
        await send(broker, "gateway", [paid(second.invoice_id)])

        async def settled() -> bool:
            found = await rows(admin, "SELECT count(*) FROM state.refunds")
            return found == [(2,)]

        await eventually(settled)
        assert await updater.stop() == 0
    return [first.invoice_id, second.invoice_id]
