"""The payer's side: parameters, attempts, status, and the page in two languages."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2
import psycopg
import pytest

from copeck.contracts import events
from copeck.kernel.clock import ManualClock
from copeck.kernel.ids import id_at, new_id
from copeck.testkit.waiting import never
from payments_gateway.domain.invoices import ATTEMPTS_MAX

from .conftest import PAYER, PREFIX, payment

pytestmark = pytest.mark.integration

Told = Callable[..., Awaitable[UUID]]
Notify = Callable[..., Awaitable[httpx2.Response]]
Rows = Callable[..., Awaitable[list[dict[str, Any]]]]


def key(value: str = "key-1") -> dict[str, str]:
    return {"Idempotency-Key": value}


async def test_one_key_starts_one_attempt(client: httpx2.AsyncClient, told: Told, rows: Rows) -> None:
    url = f"{PREFIX}/pay/{await told()}"
    first = await client.post(url, headers=key(), json={"language": "en"})
    again = await client.post(url, headers=key(), json={"language": "en"})
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert first.json()["widget"]["culture"] == "en-US"
    assert len(await rows("attempts")) == len(await rows("outbox")) == 1
    other = await client.post(url, headers=key(), json={"language": "ru"})
    assert (other.status_code, other.json()["field"]) == (422, "Idempotency-Key")
    assert (await client.post(url)).status_code == 400
    assert (await client.post(url, headers=key("2"), json={"language": "de"})).status_code == 422


async def test_two_requests_at_once_under_one_key_start_one_attempt(
    client: httpx2.AsyncClient, told: Told, rows: Rows
) -> None:
    url = f"{PREFIX}/pay/{await told()}"
    answers = await asyncio.gather(*(client.post(url, headers=key()) for _ in range(4)))
    assert len({answer.json()["payment_id"] for answer in answers}) == 1
    assert len(await rows("attempts")) == 1


@pytest.mark.parametrize("status", ["paid", "canceled", "expired", "authorized", "refunded", "voided"])
async def test_what_is_not_payable_is_not_started(client: httpx2.AsyncClient, told: Told, status: str) -> None:
    invoice_id = await told(status=status)
    answer = await client.post(f"{PREFIX}/pay/{invoice_id}", headers=key())
    assert answer.status_code == 409
    assert answer.json()["type"].endswith("invoice-not-payable")
    seen = (await client.get(f"{PREFIX}/pay/{invoice_id}")).json()
    assert (seen["payable"], seen["widget"], seen["status"]) == (False, None, status)


async def test_an_invoice_whose_time_is_over_is_expired_before_the_updater_says_so(
    client: httpx2.AsyncClient, told: Told, clock: ManualClock
) -> None:
    invoice_id = await told()
    clock.advance(timedelta(hours=2))
    assert (await client.get(f"{PREFIX}/invoices/{invoice_id}")).json()["status"] == "expired"
    assert (await client.post(f"{PREFIX}/pay/{invoice_id}", headers=key())).status_code == 409


async def test_a_second_payment_is_not_started_after_the_first_arrived(
    client: httpx2.AsyncClient, told: Told, notify: Notify
) -> None:
    invoice_id = await told()
    await notify("pay", payment(invoice_id))
    assert (await client.post(f"{PREFIX}/pay/{invoice_id}", headers=key())).status_code == 409


async def test_attempts_have_a_limit(client: httpx2.AsyncClient, told: Told) -> None:
    url = f"{PREFIX}/pay/{await told()}"
    answers = [await client.post(url, headers=key(str(number))) for number in range(ATTEMPTS_MAX + 1)]
    assert {answer.status_code for answer in answers[:-1]} == {201}
    assert answers[-1].json()["type"].endswith("too-many-attempts")


async def test_an_invoice_that_nobody_knows(client: httpx2.AsyncClient, clock: ManualClock) -> None:
    old = id_at(clock.now() - timedelta(days=1))
    for identifier in (old, uuid4()):
        assert (await client.get(f"{PREFIX}/pay/{identifier}")).status_code == 404
        assert (await client.get(f"{PREFIX}/invoices/{identifier}")).status_code == 404
        assert (await client.post(f"{PREFIX}/pay/{identifier}", headers=key())).status_code == 404
    page = await client.get(f"/pay/{old}?lang=en")
    assert page.status_code == 404
    assert "was not found" in page.text
    assert (await client.get("/pay/nonsense?lang=ru")).status_code == 404


async def test_an_invoice_that_is_on_its_way_is_waited_for(client: httpx2.AsyncClient, told: Told) -> None:
    invoice_id = new_id()
    asked = asyncio.create_task(client.get(f"{PREFIX}/pay/{invoice_id}"))
    await never(asked.done, for_s=0.1)
    await told(invoice_id=invoice_id)
    assert (await asked).status_code == 200


async def test_the_status_can_be_waited_for(client: httpx2.AsyncClient, told: Told, notify: Notify) -> None:
    invoice_id = await told()
    url = f"{PREFIX}/invoices/{invoice_id}"
    seen = (await client.get(url)).json()
    assert (seen["status"], seen["payable"], seen["attempt"]) == ("issued", True, None)
    assert seen["amount"] == {"value": "199.00", "currency": "RUB"}
    waiting = asyncio.create_task(client.get(url, headers={"Prefer": "wait=10"}))
    await never(waiting.done, for_s=0.1)
    await told(events.InvoicePaid, invoice_id=invoice_id, version=2, status="paid")
    assert (await waiting).json()["status"] == "paid"


async def test_a_decline_is_told_with_its_reason_and_may_be_followed_by_another_try(
    client: httpx2.AsyncClient, told: Told, notify: Notify
) -> None:
    invoice_id = await told()
    await notify("fail", payment(invoice_id, Reason="InsufficientFunds", ReasonCode="5051"))
    seen = (await client.get(f"{PREFIX}/invoices/{invoice_id}", headers={"Prefer": "wait=10"})).json()
    assert seen["payable"]
    assert seen["attempt"]["failure"]["code"] == "insufficient_funds"
    page = await client.get(f"/pay/{invoice_id}?lang=en")
    assert "not enough money" in page.text
    assert "Try again" in page.text
    assert (await client.post(f"{PREFIX}/pay/{invoice_id}", headers=key())).status_code == 201


@pytest.mark.parametrize(
    ("status", "ru", "en"),
    [
        ("issued", "Счёт ждёт оплаты", "waits for your payment"),
        ("pending", "Счёт ждёт оплаты", "waits for your payment"),
        ("authorized", "удержаны", "is held"),
        ("paid", "Спасибо", "Thank you"),
        ("partially_refunded", "часть денег", "a part of the money"),
        ("refunded", "возвращены", "was returned"),
        ("canceled", "аннулирован", "was canceled"),
        ("expired", "истёк", "is over"),
        ("voided", "аннулирован", "was canceled"),
        ("disputed", "Спасибо", "Thank you"),
        ("charged_back", "возвращены", "was returned"),
    ],
)
async def test_the_page_in_every_status_and_language(
    client: httpx2.AsyncClient, told: Told, status: str, ru: str, en: str
) -> None:
    invoice_id = await told(status=status, references={"title_en": "Cinema for a month"})
    russian = await client.get(f"/pay/{invoice_id}?lang=ru")
    english = await client.get(f"/pay/{invoice_id}?lang=en")
    assert (russian.status_code, english.status_code) == (200, 200)
    assert ru in russian.text
    assert en in english.text
    assert "Подписка «Кино» на месяц" in russian.text
    assert "Cinema for a month" in english.text
    assert ('id="pay"' in russian.text) is (status in ("issued", "pending"))


async def test_the_page_loads_its_widget_and_nothing_else_of_others(client: httpx2.AsyncClient, told: Told) -> None:
    page = await client.get(f"/pay/{await told()}")
    policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
    assert policy["script-src"] == "'self' http://127.0.0.1:8090"
    assert policy["frame-src"] == "http://127.0.0.1:8090"
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert "secret" not in page.text
    script = page.text.split('src="')[-1].split('"')[0]
    assert (await client.get(script)).status_code == 200


async def test_text_from_outside_is_escaped(client: httpx2.AsyncClient, told: Told) -> None:
    page = await client.get(f"/pay/{await told(description='<script>alert(1)</script>')}")
    assert "<script>alert" not in page.text


async def test_health_and_documents(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/healthz")).status_code == 200
    assert (await client.get("/readyz")).status_code == 200
    assert "copeck_gateway_callbacks_total" in (await client.get("/metrics")).text
    paths = (await client.get(f"{PREFIX}/openapi.json")).json()["paths"]
    assert {f"{PREFIX}/pay/{{invoice_id}}", f"{PREFIX}/paid/cloudpayments/{{shop}}/{{kind}}"} <= set(paths)
    assert (await client.get(f"{PREFIX}/docs")).status_code == 200
    assert (await client.get(f"{PREFIX}/redoc")).status_code == 200


@pytest.fixture
async def stored(database_urls: dict[str, str]) -> Callable[[], Awaitable[UUID]]:
    """Put an invoice into the State Storage without an event, as when the bus is down."""

    async def store() -> UUID:
        invoice_id = new_id()
        values = {
            "id": invoice_id, "version": 1, "status": "issued", "updated_at": "now", "issued_at": "now",
            "account": PAYER, "kind": "subscription", "product": "cinema", "payer": PAYER, "currency": "RUB",
            "beneficiary": "revenue:cinema", "amount_minor": 19900, "late_policy": "refund", "capture": "automatic",
            "expires_at": "tomorrow", "references": '{"title_en": "Cinema"}',
        }  # fmt: skip
        names = ", ".join(f'"{name}"' for name in values)
        places = ", ".join("%s" for _ in values)
        async with await psycopg.AsyncConnection.connect(database_urls["admin"]) as connection:
            await connection.execute(f"INSERT INTO state.invoices ({names}) VALUES ({places})", list(values.values()))
        return invoice_id

    return store


async def test_an_invoice_can_be_paid_while_the_bus_is_down(
    client: httpx2.AsyncClient, stored: Callable[[], Awaitable[UUID]], notify: Notify
) -> None:
    invoice_id = await stored()
    page = await client.get(f"/pay/{invoice_id}?lang=en")
    assert (page.status_code, "Cinema" in page.text) == (200, True)
    assert (await client.post(f"{PREFIX}/pay/{invoice_id}", headers=key())).status_code == 201
    other = await stored()
    assert (await notify("check", payment(other))).json() == {"code": 0}
    assert (await notify("pay", payment(other))).json() == {"code": 0}


async def test_the_page_leads_back_to_the_order_that_it_was_opened_from(client: httpx2.AsyncClient, told: Told) -> None:
    order = f"/m/orders/{new_id()}?k=secret-token"
    invoice_id = await told()
    page = await client.get(f"/pay/{invoice_id}", params={"lang": "en", "back": order})
    assert f'<p id="home" ><a href="{order}">To the order</a></p>' in page.text
    assert f'"back": "{order}"' in page.text
    for elsewhere in ("//evil.example/m/orders/1", "https://evil.example", "/admin"):
        page = await client.get(f"/pay/{invoice_id}", params={"lang": "en", "back": elsewhere})
        assert elsewhere not in page.text.replace(f"back={elsewhere}", "")
        assert '<a href="/">To my account</a>' in page.text
