"""Callbacks on a real database: stored before answered, once, and without effect when forged."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import httpx2
import pytest

from copeck.contracts import events
from copeck.kernel.clock import ManualClock
from copeck.kernel.ids import new_id
from payments_gateway.domain.switches import Switch
from payments_gateway.handlers.context import Context
from payments_gateway.providers.cloudpayments.webhook import decoded, signature, unseal
from payments_gateway.store import switches

from .conftest import PREFIX, SECRET, payment, signed

pytestmark = pytest.mark.integration

Told = Callable[..., Awaitable[UUID]]
Notify = Callable[..., Awaitable[httpx2.Response]]
Rows = Callable[..., Awaitable[list[dict[str, Any]]]]
Reports = Callable[[], Awaitable[list[dict[str, Any]]]]


async def test_pay_page_json_then_callback_then_report(
    client: httpx2.AsyncClient, told: Told, notify: Notify, reports: Reports, rows: Rows
) -> None:
    invoice_id = await told()
    seen = await client.get(f"{PREFIX}/pay/{invoice_id}")
    assert seen.status_code == 200
    assert '"amount": 199.00' in seen.text
    widget = seen.json()["widget"]
    assert widget["publicTerminalId"] == "pk_test"
    assert widget["externalId"] == str(invoice_id)

    started = await client.post(f"{PREFIX}/pay/{invoice_id}", headers={"Idempotency-Key": "k1"})
    assert started.status_code == 201
    payment_id = started.json()["payment_id"]
    assert started.json()["widget"]["metadata"]["payment_id"] == payment_id

    answer = await notify("pay", payment(invoice_id, Data=f'{{"payment_id": "{payment_id}"}}'))
    assert (answer.status_code, answer.json()) == (200, {"code": 0})
    pending, paid = await reports()
    assert (pending["type"], pending["status"], pending["payment_id"]) == ("payment.report", "pending", payment_id)
    assert (paid["status"], paid["payment_id"], paid["amount_minor"]) == ("succeeded", payment_id, 19900)
    assert (paid["transaction"], paid["method"]) == ("1001", "Visa •••• 4242")
    (stored,) = await rows("callbacks")
    assert stored["verdict"] == "accepted"
    assert str(stored["report_id"])


async def test_i06_a_duplicate_is_answered_and_has_no_second_effect(
    told: Told, notify: Notify, reports: Reports, rows: Rows
) -> None:
    invoice_id = await told()
    for _ in range(3):
        answer = await notify("pay", payment(invoice_id))
        assert answer.json() == {"code": 0}
    assert [report["status"] for report in await reports()] == ["succeeded"]
    assert sorted(row["verdict"] for row in await rows("callbacks")) == ["accepted", "duplicate", "duplicate"]


async def test_i07_a_forged_callback_changes_nothing_and_is_kept(
    client: httpx2.AsyncClient, told: Told, notify: Notify, reports: Reports, rows: Rows
) -> None:
    invoice_id = await told()
    answer = await notify("pay", payment(invoice_id), secret="guess")
    assert answer.status_code == 403
    body, headers = signed(payment(invoice_id))
    del headers["X-Content-HMAC"]
    assert (
        await client.post(f"{PREFIX}/paid/cloudpayments/main/pay", content=body, headers=headers)
    ).status_code == 403
    body, headers = signed(payment(invoice_id))
    headers["Content-HMAC"] = ""
    assert (
        await client.post(f"{PREFIX}/paid/cloudpayments/main/pay", content=body, headers=headers)
    ).status_code == 403
    body, headers = signed(payment(invoice_id), "other_secret")
    assert (
        await client.post(f"{PREFIX}/paid/cloudpayments/main/pay", content=body, headers=headers)
    ).status_code == 403
    assert await reports() == []
    assert await rows("callbacks") == []
    assert await rows("attempts") == []
    assert len(await rows("forged_callbacks")) == 4


async def test_i14_a_forged_callback_is_kept_without_the_token_of_a_card(
    told: Told, notify: Notify, rows: Rows
) -> None:
    """While a shop's secret is being changed, real notifications look forged."""
    fields = payment(await told(), Token="tk_of_a_card")
    assert (await notify("pay", fields, secret="the next secret")).status_code == 403
    (kept,) = await rows("forged_callbacks")
    assert b"tk_of_a_card" not in kept["body"]
    assert b"Token=[sealed]" in kept["body"]


async def test_i07_forged_callbacks_are_kept_up_to_a_limit(told: Told, notify: Notify, rows: Rows) -> None:
    invoice_id = await told()
    for _ in range(65):
        assert (await notify("pay", payment(invoice_id), secret="guess")).status_code == 403
    assert len(await rows("forged_callbacks")) == 60


async def test_i07_what_cannot_be_stored_is_not_answered_with_success(
    context: Context, told: Told, notify: Notify
) -> None:
    invoice_id = await told()
    await context.database.close()
    good = context.database
    from copeck.storage.engine import Database

    context.database = Database("postgresql://nobody@127.0.0.1:1/nothing")
    answer = await notify("pay", payment(invoice_id))
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    context.database = good


async def test_i14_the_token_of_a_card_is_sealed_and_the_raw_bytes_can_be_proved(
    told: Told, notify: Notify, rows: Rows
) -> None:
    invoice_id = await told()
    body, _headers = signed(payment(invoice_id))
    await notify("pay", payment(invoice_id))
    (stored,) = await rows("callbacks")
    assert b"tk_secret_token" not in stored["body"]
    assert unseal(SECRET, stored["body"], stored["sealed"]) == body
    assert "authorization" not in stored["headers"]


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    ("changes", "event", "code"),
    [
        ({}, {}, 0),
        ({"InvoiceId": str(new_id())}, {}, 10),
        ({"InvoiceId": "12345"}, {}, 10),
        ({"AccountId": "customer:somebody"}, {}, 11),
        ({"AccountId": ""}, {}, 0),
        ({"Amount": "199.01"}, {}, 12),
        ({"Amount": "198.999"}, {}, 12),
        ({"Currency": "USD"}, {}, 12),
        ({}, {"status": "paid"}, 13),
        ({}, {"status": "canceled"}, 13),
        ({}, {"status": "voided"}, 13),
        ({}, {"status": "authorized"}, 13),
        ({}, {"status": "expired"}, 20),
    ],
)
async def test_check_is_answered_from_what_the_gateway_knows(
    told: Told, notify: Notify, as_json: bool, changes: dict[str, Any], event: dict[str, Any], code: int
) -> None:
    invoice_id = await told(**event)
    answer = await notify("check", payment(invoice_id) | changes, as_json=as_json)
    assert (answer.status_code, answer.json()) == (200, {"code": code})


@pytest.mark.parametrize(
    ("name", "kind", "code"),
    [
        ("deposits", "topup", 13),
        ("deposits", "subscription", 0),
        ("payouts", "topup", 0),
        ("provider:cloudpayments", "topup", 13),
        ("provider:cloudpayments", "subscription", 13),
        ("provider:mock", "topup", 0),
    ],
)
async def test_check_refuses_what_a_manager_has_stopped_since_the_page_was_opened(
    context: Context, told: Told, notify: Notify, rows: Rows, clock: ManualClock, name: str, kind: str, code: int
) -> None:
    invoice_id, now = await told(kind=kind), clock.now()
    async with context.database.transaction() as tx:
        assert await switches.put(tx, Switch(name, True, "the bank is closed", 1, "user:1", now), now)
    assert (await notify("check", payment(invoice_id))).json() == {"code": code}
    assert [row["reason"] for row in await rows("callbacks")] == ["stopped: the bank is closed" if code else None]
    async with context.database.transaction() as tx:
        assert await switches.put(tx, Switch(name, False, "", 2, "user:1", now), now)
    assert (await notify("check", payment(invoice_id))).json() == {"code": 0}


async def test_check_refuses_when_the_time_is_over(told: Told, notify: Notify, clock: ManualClock) -> None:
    invoice_id = await told()
    clock.advance(timedelta(hours=2))
    assert (await notify("check", payment(invoice_id))).json() == {"code": 20}


async def test_check_refuses_a_second_payment_before_the_updater_has_spoken(told: Told, notify: Notify) -> None:
    invoice_id = await told()
    await notify("pay", payment(invoice_id, 1))
    assert (await notify("check", payment(invoice_id, 2))).json() == {"code": 13}


async def test_a_wrong_amount_is_reported_as_it_is(told: Told, notify: Notify, reports: Reports) -> None:
    invoice_id = await told()
    assert (await notify("pay", payment(invoice_id, Amount="1.00"))).json() == {"code": 0}
    (report,) = await reports()
    assert (report["status"], report["amount_minor"]) == ("succeeded", 100)


async def test_a_decline_then_another_card_gives_two_attempts(told: Told, notify: Notify, reports: Reports) -> None:
    invoice_id = await told()
    declined = payment(invoice_id, 1, Reason="InsufficientFunds", ReasonCode="5051")
    await notify("fail", declined)
    await notify("pay", payment(invoice_id, 2))
    first, second = await reports()
    assert (first["status"], first["failure_code"]) == ("failed", "insufficient_funds")
    assert first["failure_reason"] == "InsufficientFunds (5051)"
    assert second["status"] == "succeeded"
    assert first["payment_id"] != second["payment_id"]


async def test_a_late_success_follows_a_decline_of_the_same_transaction(
    told: Told, notify: Notify, reports: Reports
) -> None:
    invoice_id = await told()
    await notify("fail", payment(invoice_id, 1, Reason="Timeout", ReasonCode="5091"))
    await notify("pay", payment(invoice_id, 1))
    first, second = await reports()
    assert (first["status"], second["status"]) == ("failed", "succeeded")
    assert first["payment_id"] == second["payment_id"]


async def test_a_hold_is_confirmed_or_canceled(told: Told, notify: Notify, reports: Reports) -> None:
    invoice_id = await told(capture="manual")
    await notify("pay", payment(invoice_id, 1, Status="Authorized"))
    await notify("confirm", payment(invoice_id, 1))
    other = await told(capture="manual")
    await notify("pay", payment(other, 2, Status="Authorized"))
    await notify("cancel", {"TransactionId": 2, "Amount": "199.00", "DateTime": "2026-11-21 10:00:00"})
    assert [report["status"] for report in await reports()] == ["authorized", "succeeded", "authorized", "canceled"]


async def test_a_refund_made_in_the_cabinet_is_reported_without_an_id(
    told: Told, notify: Notify, reports: Reports
) -> None:
    invoice_id = await told()
    await notify("pay", payment(invoice_id, 1))
    fields = {"TransactionId": 9, "PaymentTransactionId": 1, "Amount": "50.00", "OperationType": "Refund"}
    for _ in range(2):
        assert (await notify("refund", fields)).json() == {"code": 0}
    refund = (await reports())[1]
    assert (refund["type"], refund["status"], refund["refund_id"]) == ("refund.report", "succeeded", None)
    assert (refund["amount_minor"], refund["transaction"], refund["payment_transaction"]) == (5000, "9", "1")
    assert len(await reports()) == 2


async def test_money_for_an_invoice_that_nobody_knows_is_kept_and_asked_for_again(
    notify: Notify, reports: Reports, rows: Rows, told: Told
) -> None:
    invoice_id = new_id()
    assert (await notify("pay", payment(invoice_id))).json() == {"code": 10}
    assert await reports() == []
    assert [row["verdict"] for row in await rows("callbacks")] == ["orphan"]
    await told(invoice_id=invoice_id)
    assert (await notify("pay", payment(invoice_id))).json() == {"code": 0}
    assert [report["status"] for report in await reports()] == ["succeeded"]


@pytest.mark.parametrize("kind", ["recurrent", "receipt"])
async def test_other_notifications_are_noted(notify: Notify, rows: Rows, kind: str) -> None:
    assert (await notify(kind, {"Id": "sc_1", "AccountId": "a", "Amount": "1.00"})).json() == {"code": 0}
    assert [row["verdict"] for row in await rows("callbacks")] == ["noted"]


async def test_i13_an_unreadable_callback_is_set_aside_with_its_reason(
    client: httpx2.AsyncClient, notify: Notify, rows: Rows, told: Told
) -> None:
    invoice_id = await told()
    assert (await notify("pay", {"TransactionId": 5, "InvoiceId": str(invoice_id)})).json() == {"code": 10}
    assert (await notify("pay", payment(invoice_id, Amount="a lot"))).json() == {"code": 10}
    assert (await notify("pay", payment(invoice_id, Currency="no money"))).json() == {"code": 10}
    assert (await notify("confirm", payment(invoice_id, Amount="1.999999"))).json() == {"code": 10}
    refund = payment(invoice_id, 6, PaymentTransactionId=5, OperationType="Refund")
    for spoilt in (
        refund | {"Amount": "a lot"},
        refund | {"Amount": "1.999999"},
        refund | {"PaymentTransactionId": ""},
    ):
        assert (await notify("refund", spoilt)).json() == {"code": 10}
    for amount in ("a lot", "1.999999"):
        assert (await notify("cancel", payment(invoice_id, Amount=amount))).json() == {"code": 10}
    assert (await notify("fail", payment(invoice_id, Amount="a lot"))).json() == {"code": 0}
    assert (await notify("check", {"TransactionId": 5})).json() == {"code": 13}
    assert [row["verdict"] for row in await rows("callbacks")] == ["unreadable"] * 11
    assert all(row["reason"] for row in await rows("callbacks"))


@pytest.mark.parametrize("kind", ["pay", "confirm"])
async def test_a_check_or_a_fail_at_the_address_of_a_payment_is_no_payment(
    told: Told, notify: Notify, reports: Reports, rows: Rows, kind: str
) -> None:
    invoice_id = await told()
    checked = {name: value for name, value in payment(invoice_id).items() if name not in ("GatewayName", "Token")}
    failed = payment(invoice_id, 1002, Reason="InsufficientFunds", ReasonCode="5051")
    for fields in (checked, failed, {name: value for name, value in failed.items() if name != "Status"}):
        assert (await notify(kind, fields)).json() == {"code": 10}
    assert [row["verdict"] for row in await rows("callbacks")] == ["unreadable"] * 3
    assert await reports() == []
    assert await rows("attempts") == []


async def test_a_get_notification_signs_its_query(client: httpx2.AsyncClient, told: Told, reports: Reports) -> None:
    invoice_id = await told()
    query = urlencode(payment(invoice_id, Description="Кофе"), encoding="cp1251").encode()
    headers = {"Content-HMAC": signature(SECRET, query), "X-Content-HMAC": signature(SECRET, decoded(query))}
    url = f"{PREFIX}/paid/cloudpayments/main/pay?{query.decode()}"
    assert (await client.get(url, headers=headers)).json() == {"code": 0}
    assert [report["status"] for report in await reports()] == ["succeeded"]


async def test_shops_stand_side_by_side(told: Told, notify: Notify, client: httpx2.AsyncClient, rows: Rows) -> None:
    invoice_id = await told(product="coffee")
    widget = (await client.get(f"{PREFIX}/pay/{invoice_id}")).json()
    assert (widget["shop"], widget["widget"]["publicTerminalId"]) == ("coffee", "pk_coffee")
    assert (await notify("pay", payment(invoice_id), shop="coffee")).status_code == 403
    assert (await notify("pay", payment(invoice_id), shop="coffee", secret="other_secret")).json() == {"code": 0}
    assert (await notify("pay", payment(invoice_id), shop="nowhere")).status_code == 404
    assert (await notify("nothing", payment(invoice_id))).status_code in (404, 422)
    assert [row["shop"] for row in await rows("attempts")] == ["coffee"]


async def test_an_older_event_changes_nothing(told: Told, client: httpx2.AsyncClient) -> None:
    invoice_id = await told(events.InvoicePaid, version=3, status="paid")
    await told(version=2, status="pending", invoice_id=invoice_id)
    assert (await client.get(f"{PREFIX}/invoices/{invoice_id}")).json()["status"] == "paid"


async def test_callbacks_that_share_a_commit_are_judged_in_their_order(
    told: Told, notify: Notify, reports: Reports, rows: Rows
) -> None:
    invoices = [await told() for _ in range(10)]
    sent = [notify("pay", payment(invoice_id, 100 + place)) for place, invoice_id in enumerate(invoices)]
    sent += [notify("pay", payment(invoice_id, 100 + place)) for place, invoice_id in enumerate(invoices)]
    sent += [notify("check", payment(invoices[0], 999)), notify("fail", payment(invoices[1], 998))]
    answers = await asyncio.gather(*sent)
    assert [answer.json() for answer in answers] == [{"code": 0}] * 20 + [{"code": 13}, {"code": 0}]
    assert sorted(report["status"] for report in await reports()) == ["failed"] + ["succeeded"] * 10
    assert len(await rows("callbacks")) == 22


async def test_i13_a_callback_that_spoils_its_batch_does_not_hold_up_its_neighbours(
    told: Told, notify: Notify, reports: Reports
) -> None:
    first, second = await told(), await told()
    assert (await notify("pay", payment(first, 7))).json() == {"code": 0}
    # The provider cannot mean one transaction for two invoices: the database refuses it.
    answers = await asyncio.gather(
        notify("pay", payment(second, 7)), notify("pay", payment(second, 8)), notify("pay", payment(second, 9))
    )
    assert [answer.status_code for answer in answers] == [500, 200, 200]
    assert [report["transaction"] for report in await reports()] == ["7", "8", "9"]
