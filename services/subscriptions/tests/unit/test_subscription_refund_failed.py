"""A refund that failed is seen: logged as an error and counted; the event needs no database and is done with."""

import logging
from typing import cast

import pytest

from copeck.contracts.envelope import Envelope
from copeck.contracts.events import RefundFailed
from copeck.kernel.ids import new_id
from subscriptions.handlers import invoices
from subscriptions.handlers.context import Context


async def test_a_refund_that_failed_is_logged_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    event = RefundFailed(
        refund_id=new_id(),
        invoice_id=new_id(),
        version=3,
        status="failed",
        origin="requested",
        account=f"customer:{new_id()}",
        amount_minor=19900,
        currency="RUB",
        failure_code="5204",
    )
    counter = invoices._REFUNDS_FAILED.labels("requested")
    before = counter._value.get()
    with caplog.at_level(logging.ERROR, logger="subscriptions.handlers.invoices"):
        await invoices.on_event(cast("Context", None), Envelope.new(event, source="state-updater"))
    assert counter._value.get() == before + 1
    assert str(event.refund_id) in caplog.text
