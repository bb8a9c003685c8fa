"""Deposits, withdrawals and payments from the balance, as they are asked for: rows, commands, answers, refusals."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
import sqlalchemy as sa

from copeck.contracts import events
from copeck.testkit.tokens import TokenMint
from payments_gateway import tables
from payments_gateway.composition import make_context
from payments_gateway.domain import recipients
from payments_gateway.main import build
from payments_gateway.settings import GatewaySettings
from tests.support.wallet_site import CARD, PREFIX, WalletSite, rub, served, wallet_site, with_wallets

pytestmark = pytest.mark.integration
Rows = Callable[[str], Awaitable[list[dict[str, Any]]]]
Commands = Callable[[], Awaitable[list[dict[str, Any]]]]
Told = Callable[..., Awaitable[UUID]]


async def test_a_deposit_becomes_an_invoice(site: WalletSite, reports: Commands, rows: Rows) -> None:
    anna = site.somebody()
    answer = await anna.post("/payments/deposit", {"amount": rub("100.00"), "description": "На кофе"})
    assert answer.status_code == 202
    body = answer.json()
    payment_id = body.pop("id")
    assert answer.headers["Location"] == f"{PREFIX}/payments/{payment_id}"
    assert body == {
        "kind": "deposit",
        "status": "requested",
        "amount": rub("100.00"),
        "commission": rub("2.00"),
        "total": rub("98.00"),
        "last_error": None,
        "pay_url": f"http://127.0.0.1:8080/pay/{payment_id}",
        "url": f"{PREFIX}/payments/{payment_id}",
    }
    (command,) = await reports()
    assert command["type"] == "invoice.issue"
    expected = {
        "account": anna.wallet,
        "invoice_id": payment_id,
        "kind": "topup",
        "beneficiary": anna.wallet,
        "amount_minor": 10_000,
        "commission_minor": 200,
        "late_policy": "wallet",
        "late_wallet": anna.wallet,
        "payer": str(anna.user_id),
        "actor": f"user:{anna.user_id}",
    }
    assert {name: command[name] for name in expected} == expected
    (message,) = await rows("outbox")
    assert str(message["message_id"]) == payment_id
    assert await rows("operations") == []


async def test_a_deposit_at_the_mock_gateway_is_charged(site: WalletSite, rows: Rows) -> None:
    answer = await site.somebody().post("/payments/deposit", {"amount": rub("100.00"), "provider": "mock"})
    assert answer.status_code == 202
    assert answer.json()["pay_url"] is None
    (operation,) = await rows("operations")
    (attempt,) = await rows("attempts")
    assert (operation["kind"], operation["provider"], operation["amount_minor"]) == ("charge", "mock", 10_000)
    assert str(operation["invoice_id"]) == answer.json()["id"]
    assert operation["payment_id"] == attempt["payment_id"]


async def test_a_withdrawal_becomes_a_payout(site: WalletSite, reports: Commands, rows: Rows) -> None:
    anna = site.somebody()
    body = {"amount": rub("50.00"), "recipient": CARD, "description": "мне", "commission": rub("1.00")}
    answer = await anna.post("/payments/withdraw", body)
    assert answer.status_code == 202
    assert answer.json()["total"] == rub("51.00")
    (command,) = await reports()
    assert command["type"] == "payout.request"
    expected = {
        "account": anna.wallet,
        "payout_id": answer.json()["id"],
        "amount_minor": 5_000,
        "commission_minor": 100,
        "provider": "cloudpayments",
        "shop": "main",
        "recipient": "card token ***7890",
        "needs_approval": False,
    }
    assert {name: command[name] for name in expected} == expected
    (request,) = await rows("payout_requests")
    assert request["origin"] == "withdrawal"
    assert CARD["token"].encode() not in bytes(request["recipient_sealed"])
    opened = recipients.unseal("test_secret_key", bytes(request["recipient_sealed"]), answer.json()["id"])
    assert opened.token == CARD["token"]
    shown = await anna.get(f"/payments/{answer.json()['id']}")
    assert shown.json()["status"] == "requested"


async def test_a_large_withdrawal_waits_for_somebody_else(site: WalletSite, reports: Commands) -> None:
    await site.somebody().post("/payments/withdraw", {"amount": rub("100000.01"), "recipient": CARD})
    assert (await reports())[0]["needs_approval"] is True


async def test_an_invoice_is_paid_from_the_balance(site: WalletSite, told: Told, reports: Commands) -> None:
    anna = site.somebody()
    invoice = await told()
    answer = await anna.post("/payments/pay", {"invoice_id": str(invoice)})
    assert answer.status_code == 202
    assert answer.json()["total"] == rub("199.00")
    (command,) = await reports()
    assert command["type"] == "wallet.pay"
    # The shard is the invoice's, not the wallet's.
    assert command["account"].startswith("customer:")
    assert (command["wallet"], command["payment_id"]) == (anna.wallet, answer.json()["id"])


async def test_what_cannot_be_paid(site: WalletSite, told: Told, reports: Commands) -> None:
    anna = site.somebody()
    paid = await told(events.InvoicePaid, status="paid", version=3)
    own = await told(kind="topup", account=anna.wallet)
    late = await told(expires_at=site.context.clock.now() - timedelta(seconds=1))
    for invoice in (paid, own, late):
        answer = await anna.post("/payments/pay", {"invoice_id": str(invoice)})
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:copeck:problem:invoice-not-payable")
    missing = await anna.post("/payments/pay", {"invoice_id": str(uuid4())})
    assert missing.status_code == 404
    assert await reports() == []


async def test_the_same_key_has_one_effect(site: WalletSite, reports: Commands) -> None:
    anna, boris = site.somebody(), site.somebody()
    body = {"amount": rub("10.00")}
    first = await anna.post("/payments/deposit", body, key="k")
    again = await anna.post("/payments/deposit", body, key="k")
    assert (again.status_code, again.text) == (first.status_code, first.text)
    other = await anna.post("/payments/deposit", {"amount": rub("10.01")}, key="k")
    assert (other.status_code, other.json()["type"]) == (422, "urn:copeck:problem:idempotency-key-reused")
    assert (await boris.post("/payments/deposit", body, key="k")).json()["id"] != first.json()["id"]
    assert (await anna.post("/payments/deposit", body, key=None)).status_code == 400
    assert len(await reports()) == 2


async def test_fifty_clients_under_one_key(
    settings: GatewaySettings, token_mint: TokenMint, jwks_url: str, redis_url: str, rows: Rows
) -> None:
    """Over sockets, to two servers on one database: one effect and one answer."""
    told = with_wallets(settings, jwks_url, redis_url=redis_url)
    contexts = [make_context(told, pool_size=4) for _ in range(2)]
    headers = token_mint.headers(uuid4()) | {"Idempotency-Key": "one"}
    body = {"amount": rub("10.00"), "recipient": CARD}

    async def send(url: str, sent: dict[str, Any]) -> httpx2.Response:
        async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=30) as client:
            return await client.post(f"{PREFIX}/payments/withdraw", json=sent, headers=headers)

    async with served(build(told, contexts[0], bus=False)) as one, served(build(told, contexts[1], bus=False)) as two:
        answers = await asyncio.gather(*(send(two if number % 2 else one, body) for number in range(50)))
        other = await send(one, body | {"amount": rub("11.00")})
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.text for answer in answers}) == 1
    assert (other.status_code, other.json()["type"]) == (422, "urn:copeck:problem:idempotency-key-reused")
    assert [len(await rows(name)) for name in ("wallet_payments", "payout_requests", "outbox")] == [1, 1, 1]


async def test_neighbours_in_a_batch_do_not_spoil_each_other(site: WalletSite, rows: Rows) -> None:
    anna = site.somebody()
    good, bad = {"amount": rub("10.00")}, {"amount": rub("10.00"), "commission": rub("0.10")}
    answers = await asyncio.gather(
        *(anna.post("/payments/deposit", bad if number % 3 == 0 else good) for number in range(30))
    )
    assert [answer.status_code for answer in answers] == [409 if number % 3 == 0 else 202 for number in range(30)]
    assert len(await rows("wallet_payments")) == 20
    assert answers[0].json()["type"] == "urn:copeck:problem:commission-changed"


@pytest.mark.parametrize(
    ("path", "body", "field", "kind"),
    [
        ("deposit", {"amount": rub("0.00")}, "amount", "invalid-money"),
        ("deposit", {"amount": rub("1.00"), "description": "4242 4242 4242 4242"}, "description", "invalid-value"),
        ("deposit", {"amount": rub("1.00"), "provider": "other"}, "provider", "invalid-value"),
        ("withdraw", {"amount": rub("1.00")}, "recipient", "invalid-value"),
        (
            "withdraw",
            {"amount": rub("1.00"), "recipient": {"kind": "card_token", "token": "4242424242424242"}},
            "recipient.token",
            "invalid-recipient",
        ),
        ("pay", {"invoice_id": "7"}, "invoice_id", "invalid-value"),
    ],
)
async def test_bad_requests_name_the_field(
    site: WalletSite, path: str, body: dict[str, Any], field: str, kind: str
) -> None:
    answer = await site.somebody().post(f"/payments/{path}", body)
    assert (answer.status_code, answer.json()["type"]) == (422, f"urn:copeck:problem:{kind}")
    assert answer.json()["field"] == field
    assert "4242" not in answer.text


async def test_the_mock_gateway_is_for_the_sandbox_alone(
    settings: GatewaySettings, token_mint: TokenMint, jwks_url: str
) -> None:
    told = with_wallets(settings, jwks_url, environment="production")
    async with wallet_site(told, token_mint) as site:
        anna = site.somebody()
        for path, body in (("deposit", {}), ("withdraw", {"recipient": CARD})):
            answer = await anna.post(f"/payments/{path}", {"amount": rub("1.00"), "provider": "mock"} | body)
            assert (answer.status_code, answer.json()["field"]) == (422, "provider")


async def test_an_amount_that_its_commission_eats_is_refused(site: WalletSite) -> None:
    manager = site.somebody("manager")
    rule = {"rate_basis_points": 200, "minimum": rub("30.00")}
    assert (await manager.put("/commissions/RUB/withdrawal", rule, '"0"')).status_code == 200
    anna = site.somebody()
    for path, body in (
        ("/payments/withdraw", {"amount": rub("30.00"), "recipient": CARD}),
        ("/payments/preview", {"kind": "withdrawal", "amount": rub("30.00")}),
    ):
        answer = await anna.post(path, body)
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:copeck:problem:amount-too-small")
        assert "30.01 RUB" in answer.json()["detail"]
    answer = await anna.post("/payments/withdraw", {"amount": rub("30.01"), "recipient": CARD})
    assert answer.json()["total"] == rub("60.01")


async def test_only_the_owner_and_the_back_office_see_a_payment(site: WalletSite) -> None:
    anna = site.somebody()
    asked = (await anna.post("/payments/deposit", {"amount": rub("10.00")})).json()
    for caller, status in (
        (anna, 200),
        (site.somebody(), 404),
        (site.somebody("merchant"), 404),
        (site.somebody("manager"), 200),
        (site.somebody("operator"), 200),
    ):
        assert (await caller.get(f"/payments/{asked['id']}")).status_code == status
    assert (await anna.get(f"/payments/{uuid4()}")).status_code == 404
    assert (await anna.get("/payments")).json()["items"][0]["id"] == asked["id"]
    assert (await site.somebody("manager").get("/payments")).json()["items"] == []
    assert (await site.client.get(f"{PREFIX}/payments/{asked['id']}")).status_code == 401


async def test_my_payments_come_in_pages(site: WalletSite) -> None:
    anna = site.somebody()
    for number in range(1, 6):
        await anna.post("/payments/deposit", {"amount": rub(f"{number}.00")})
    await anna.post("/payments/withdraw", {"amount": rub("6.00"), "recipient": CARD})
    first = (await anna.get("/payments", params={"limit": 4})).json()
    second = (await anna.get("/payments", params={"limit": 4, "cursor": first["next_cursor"]})).json()
    amounts = [one["amount"]["value"] for one in first["items"] + second["items"]]
    assert amounts == ["6.00", "5.00", "4.00", "3.00", "2.00", "1.00"]
    assert second["next_cursor"] is None
    deposits = (await anna.get("/payments", params={"kind": "deposit", "status": "requested"})).json()["items"]
    assert len(deposits) == 5
    assert (await anna.get("/payments", params={"status": "completed"})).json()["items"] == []
    assert (await anna.get("/payments", params={"cursor": "bm8"})).status_code == 422


async def test_an_invoice_whose_event_is_late_is_taken_from_the_state_storage(
    site: WalletSite, database_urls: dict[str, str], reports: Commands
) -> None:
    invoice = uuid4()
    engine = sa.create_engine(database_urls["admin"].replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as admin:
        admin.execute(sa.text(_ISSUED), {"id": invoice, "until": site.context.clock.now() + timedelta(hours=1)})
    engine.dispose()
    answer = await site.somebody().post("/payments/pay", {"invoice_id": str(invoice)})
    assert answer.status_code == 202
    assert (await reports())[0]["account"] == "customer:late"


_ISSUED = """
INSERT INTO state.invoices (id, version, status, kind, product, account, payer, beneficiary, amount_minor,
    commission_minor, currency, description, late_policy, capture, expires_at, "references", issued_at, updated_at)
VALUES (:id, 1, 'issued', 'manual', 'x', 'customer:late', '', 'revenue:x', 700, 0, 'RUB', '', 'refund', 'automatic',
    :until, '{}', now(), now())
"""


async def test_tables_are_written_as_the_model_says(site: WalletSite) -> None:
    """The array statement names every column but those that a refusal fills."""
    from payments_gateway.store.wallet_payments import WalletPaymentRow

    columns = {column.name for column in tables.wallet_payments.columns}
    assert columns - set(WalletPaymentRow.__slots__) == {"refused_code", "refused_reason"}
