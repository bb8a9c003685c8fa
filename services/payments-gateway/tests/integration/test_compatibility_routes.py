"""Old callers' requests as they are taken in: numbers, keys, who may, and what is sent to the updater for them."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

from copeck.kernel.clock import ManualClock
from copeck.testkit.tokens import TokenMint
from payments_gateway.domain.switches import DEPOSITS, Switch
from payments_gateway.settings import GatewaySettings
from payments_gateway.store import switches
from tests.support.wallet_site import Caller, WalletSite, wallet_site, with_wallets

pytestmark = pytest.mark.integration

OLD = "/compatibility"
PAYOUT = {"amount": 1500.5, "recipient": "tk_4f9a1c7e22", "description": "Аванс"}
Rows = Callable[[str], Awaitable[list[dict[str, Any]]]]


@pytest.fixture
async def old(
    settings: GatewaySettings, clock: ManualClock, token_mint: TokenMint, jwks_url: str, redis_url: str
) -> AsyncIterator[WalletSite]:
    """A gateway that does not wait for an updater, since there is none."""
    told = with_wallets(settings, jwks_url, redis_url=redis_url, compatibility_wait_s=0)
    async with wallet_site(told, token_mint, clock) as made:
        yield made


@pytest.fixture
def manager(old: WalletSite) -> Caller:
    return old.somebody("manager")


async def user_of(manager: Caller, balance: Any = 1000) -> int:
    answer = await manager.post(f"{OLD}/users/", {"balance": balance}, None)
    assert answer.status_code == 201, answer.text
    return int(answer.json()["id"])


async def paid(caller: Caller, kind: str, user: Any, amount: Any, key: str | None = None) -> Any:
    answer = await caller.post(f"{OLD}/payments/{kind}", {"user_id": user, kind: amount}, key)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def draft_of(manager: Caller, **changes: Any) -> int:
    answer = await manager.post(f"{OLD}/payouts/", {**PAYOUT, "status": "draft", **changes}, None)
    assert answer.status_code == 201, answer.text
    return int(answer.json()["id"])


async def changed(manager: Caller, number: int, **body: Any) -> Any:
    headers = manager.mint.headers(manager.user_id, manager.roles)
    return await manager.client.patch(f"/payments/api/v1{OLD}/payouts/{number}/", json=body, headers=headers)


async def test_a_user_is_a_wallet_that_is_opened_from_the_sandbox(
    manager: Caller, rows: Rows, reports: Callable[[], Awaitable[list[dict[str, Any]]]]
) -> None:
    first, second = await user_of(manager), await user_of(manager, "0.50")
    assert second == first + 1
    opened = [report for report in await reports() if report["type"] == "wallet.open"]
    assert [(one["opening_minor"], one["opening_source"]) for one in opened] == [(100_000, "sandbox"), (50, "sandbox")]
    ids = {row["number"]: row["id"] for row in await rows("compatibility_ids")}
    assert [one["account"] for one in opened] == [f"wallet:{ids[first]}", f"wallet:{ids[second]}"]
    assert manager.user_id not in ids.values()


async def test_users_are_made_in_a_sandbox_only(
    settings: GatewaySettings, token_mint: TokenMint, jwks_url: str, rows: Rows
) -> None:
    told = with_wallets(settings, jwks_url, environment="production")
    async with wallet_site(told, token_mint) as site:
        manager = site.somebody("manager")
        for path, body in ((f"{OLD}/users/", {"balance": 1000}), (f"{OLD}/mock-gateway/pay", {"amount": 1})):
            answer = await manager.post(path, body, None)
            assert (answer.status_code, answer.json()["type"]) == (403, "urn:copeck:problem:sandbox-only")
    assert await rows("compatibility_ids") == await rows("outbox") == []


async def test_outside_of_a_sandbox_people_pay_for_themselves_by_their_uuid(
    settings: GatewaySettings, token_mint: TokenMint, jwks_url: str
) -> None:
    outside = {"jwks_url": jwks_url, "environment": "production", "compatibility_wait_s": 0.0}
    async with wallet_site(settings.model_copy(update=outside), token_mint) as site:
        customer, manager, stranger = site.somebody(), site.somebody("manager"), site.somebody()
        own = str(customer.user_id)
        answer = await customer.post(f"{OLD}/payments/deposit", {"user_id": own, "deposit": 5}, None)
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:copeck:problem:no-shop")
        body = {"user_id": own, "withdraw": 5, "recipient": "tk_4f9a1c7e22"}
        answer = await customer.post(f"{OLD}/payments/withdraw", body, None)
        assert answer.status_code == 200, answer.text
        seen = (await customer.get(f"{OLD}/payments/{answer.json()['payment_id']}")).json()
        assert (seen["type"], seen["status"]) == ("withdraw", "NEW")
        again = body | {"user_id": seen["user_id"]}
        for caller, status in ((customer, 200), (manager, 403), (stranger, 404)):
            answer = await caller.post(f"{OLD}/payments/withdraw", again, None)
            assert answer.status_code == status, answer.text


async def test_a_customer_has_one_number_however_often_they_ask(old: WalletSite, rows: Rows) -> None:
    customer = old.somebody()
    numbers = await asyncio.gather(*(user_of(customer) for _ in range(5)))
    assert len(set(numbers)) == 1
    assert [row["id"] for row in await rows("compatibility_ids")] == [customer.user_id]


async def test_a_deposit_is_an_invoice_with_a_charge_at_the_mock_gateway(
    manager: Caller, rows: Rows, reports: Callable[[], Awaitable[list[dict[str, Any]]]]
) -> None:
    user = await user_of(manager)
    answer = await paid(manager, "deposit", user, "200.50")
    assert answer["status"] == "NEW"
    issued = next(report for report in await reports() if report["type"] == "invoice.issue")
    assert (issued["amount_minor"], issued["commission_minor"], issued["kind"]) == (20_050, 401, "topup")
    (charge,) = await rows("operations")
    assert (charge["kind"], charge["provider"], charge["amount_minor"]) == ("charge", "mock", 20_050)
    seen = (await manager.get(f"{OLD}/payments/{answer['payment_id']}")).json()
    assert (seen["amount"], seen["commission"], seen["user_id"], seen["type"]) == (200.5, 4.01, user, "deposit")
    assert (seen["status"], seen["last_error"], seen["next_retry_at"]) == ("NEW", None, None)
    by_uuid = await manager.get(f"{OLD}/payments/{charge['invoice_id']}")
    assert by_uuid.json() == seen


async def test_a_withdrawal_is_a_payout_of_the_wallet(
    manager: Caller, rows: Rows, reports: Callable[[], Awaitable[list[dict[str, Any]]]]
) -> None:
    user = await user_of(manager)
    await paid(manager, "withdraw", user, 100)
    asked = next(report for report in await reports() if report["type"] == "payout.request")
    assert (asked["amount_minor"], asked["commission_minor"], asked["provider"]) == (10_000, 200, "mock")
    (request,) = await rows("payout_requests")
    assert (request["origin"], request["recipient_kind"]) == ("withdrawal", "card_token")
    # Whoever asked, and not the wallet's owner, is who may not approve it.
    assert request["requested_by"] == asked["actor"] == f"user:{manager.user_id}"


async def test_a_key_is_a_user_s_and_fifty_at_once_have_one_effect(manager: Caller, rows: Rows) -> None:
    user, other = await user_of(manager), await user_of(manager)
    key = str(uuid4())
    answers = await asyncio.gather(*(paid(manager, "deposit", user, 200, key) for _ in range(50)))
    numbers = {answer["payment_id"] for answer in answers}
    assert len(numbers) == 1
    assert (await paid(manager, "withdraw", user, 5, key))["payment_id"] in numbers
    assert len(await rows("wallet_payments")) == 1
    assert (await paid(manager, "deposit", other, 200, key))["payment_id"] not in numbers
    refused = await manager.post(f"{OLD}/payments/deposit", {"user_id": user, "deposit": 5}, "two words")
    assert refused.status_code == 400


async def test_whoever_is_not_known_or_not_theirs_is_not_found(old: WalletSite, manager: Caller) -> None:
    user = await user_of(manager)
    number = (await paid(manager, "deposit", user, 10))["payment_id"]
    stranger = old.somebody()
    for caller, reference in ((manager, 10**17), (manager, str(uuid4())), (stranger, user)):
        answer = await caller.post(f"{OLD}/payments/withdraw", {"user_id": reference, "withdraw": 1}, None)
        assert (answer.status_code, answer.json()["field"]) == (404, "user_id")
    assert (await stranger.get(f"{OLD}/payments/{number}")).status_code == 404
    assert (await old.somebody("operator").get(f"{OLD}/payments/{number}")).status_code == 200
    for reference in ("99999999999999999", "none", str(uuid4())):
        assert (await manager.get(f"{OLD}/payments/{reference}")).status_code == 404


@pytest.mark.parametrize(
    ("amount", "kind"), [("200.555", "invalid-money"), (0, "invalid-money"), (-5, "invalid-money")]
)
async def test_what_cannot_be_paid_is_refused_and_takes_no_number(
    manager: Caller, rows: Rows, amount: Any, kind: str
) -> None:
    user = await user_of(manager)
    for way in ("deposit", "withdraw"):
        answer = await manager.post(f"{OLD}/payments/{way}", {"user_id": user, way: amount}, None)
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:copeck:problem:invalid-money")
    assert await rows("wallet_payments") == []


async def test_a_stop_switch_stops_old_callers_too(old: WalletSite, manager: Caller) -> None:
    user, now = await user_of(manager), old.context.clock.now()
    async with old.context.database.transaction() as tx:
        await switches.put(tx, Switch(DEPOSITS, True, "the mock gateway moves house", 1, "user:x", None), now)
    answer = await manager.post(f"{OLD}/payments/deposit", {"user_id": user, "deposit": 5}, None)
    assert (answer.status_code, "moves house" in answer.json()["detail"]) == (503, True)


async def test_without_a_mock_gateway_deposits_have_no_shop(
    settings: GatewaySettings, token_mint: TokenMint, jwks_url: str
) -> None:
    told = settings.model_copy(update={"jwks_url": jwks_url, "compatibility_wait_s": 0.0})
    async with wallet_site(told, token_mint) as site:
        manager = site.somebody("manager")
        user = await user_of(manager)
        answer = await manager.post(f"{OLD}/payments/deposit", {"user_id": user, "deposit": 5}, None)
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:copeck:problem:no-shop")
        # A withdrawal finds another way, by routing.
        await paid(manager, "withdraw", user, 5)
        answer = await manager.post(f"{OLD}/mock-gateway/pay", {"amount": 1}, None)
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:copeck:problem:mock-gateway-down")


async def test_a_mock_gateway_that_is_down_is_said_to_be_down(
    settings: GatewaySettings, token_mint: TokenMint, jwks_url: str
) -> None:
    mock = {
        "provider": "mock",
        "shop": "main",
        "public_id": "pk_mock",
        "api_secret": "s",
        "api_url": "http://127.0.0.1:1",
    }
    shop = type(settings.shops[0]).model_validate(mock)
    told = settings.model_copy(update={"jwks_url": jwks_url, "shops": (shop,)})
    async with wallet_site(told, token_mint) as site:
        answer = await site.somebody("manager").post(f"{OLD}/mock-gateway/pay", {"amount": 1}, None)
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:copeck:problem:mock-gateway-down")
    assert answer.headers["retry-after"] == "1"


async def test_a_payout_is_asked_of_the_house_through_the_mock_gateway(
    manager: Caller, rows: Rows, reports: Callable[[], Awaitable[list[dict[str, Any]]]]
) -> None:
    key = str(uuid4())
    answers = [await manager.post(f"{OLD}/payouts/", PAYOUT, key) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {201}
    shown = answers[0].json()
    assert all(answer.json() == shown for answer in answers)
    assert (shown["amount"], shown["currency"], shown["status"]) == ("1500.50", "RUB", "pending")
    assert "4f9a1c7e22" not in answers[0].text
    (asked,) = [report for report in await reports() if report["type"] == "payout.request"]
    assert (asked["account"], asked["amount_minor"], asked["provider"]) == ("house:payouts", 150_050, "mock")
    (request,) = await rows("payout_requests")
    assert (await manager.get(f"{OLD}/payouts/{request['payout_id']}/")).json() == shown
    reused = await manager.post(f"{OLD}/payouts/", {**PAYOUT, "amount": 1}, key)
    assert (reused.status_code, reused.json()["type"]) == (422, "urn:copeck:problem:idempotency-key-reused")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"recipient": "4111 1111 1111 1111"}, "recipient"),
        ({"recipient": {"phone": "12", "bank_id": "1"}}, "recipient.phone"),
        ({"amount": 1.005}, "amount"),
        ({"currency": "XXX"}, "currency"),
        ({"description": "card 4111 1111 1111 1111"}, "description"),
        ({"provider": "nobody"}, "provider"),
    ],
)
async def test_a_payout_that_cannot_be_made_is_refused_by_field(
    manager: Caller, rows: Rows, changes: dict[str, Any], field: str
) -> None:
    answer = await manager.post(f"{OLD}/payouts/", {**PAYOUT, **changes}, None)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert await rows("payout_requests") == []


async def test_a_status_is_changed_as_the_machine_allows(
    manager: Caller, reports: Callable[[], Awaitable[list[dict[str, Any]]]]
) -> None:
    number = await draft_of(manager)
    refused = await changed(manager, number, status="completed", description="not this")
    assert refused.status_code == 409
    assert "pending or canceled" in refused.json()["detail"]
    assert (await changed(manager, number)).json()["description"] == "Аванс"
    assert (await changed(manager, number, status="draft", description="Остаток")).json()["description"] == "Остаток"
    assert (await changed(manager, number, status="canceled")).status_code == 200
    assert [report["type"] for report in await reports()][-1] == "payout.cancel"
    retry = await manager.post(f"{OLD}/payouts/{number}/retry/", {}, None)
    assert retry.status_code == 409


async def test_a_draft_is_deleted_and_stays_in_the_audit(manager: Caller, rows: Rows) -> None:
    number = await draft_of(manager)
    headers = manager.mint.headers(manager.user_id, manager.roles)
    path = f"/payments/api/v1{OLD}/payouts/{number}/"
    deleted = await manager.client.delete(path, headers=headers)
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert (await manager.client.delete(path, headers=headers)).status_code == 404
    assert [row["action"] for row in await rows("audit")] == ["delete"]
    sent = (await manager.post(f"{OLD}/payouts/", PAYOUT, None)).json()["id"]
    refused = await manager.client.delete(f"/payments/api/v1{OLD}/payouts/{sent}/", headers=headers)
    assert refused.status_code == 409


async def test_a_list_has_pages_words_and_an_order(old: WalletSite, manager: Caller) -> None:
    for amount in (30, 10, 20):
        await draft_of(manager, amount=amount, description=f"Аванс {amount}%")
    # One that was made over our own routes has no number, and is not in the list.
    own = {"source": "house:payouts", "amount": {"value": "1.00", "currency": "RUB"}, "description": "Аванс"}
    own["recipient"] = {"kind": "card_token", "token": "tk_1234567890"}
    assert (await manager.post("/payouts", own)).status_code == 202
    page = (await manager.get(f"{OLD}/payouts/?search=аванс&ordering=amount&page_size=2")).json()
    assert ([item["amount"] for item in page["results"]], page["count"]) == (["10.00", "20.00"], 3)
    assert page["next"].endswith("ordering=amount&page=2&page_size=2")
    found = (await manager.get(f"{OLD}/payouts/?search=аванс,30%25")).json()
    assert [item["amount"] for item in found["results"]] == ["30.00"]
    newest = (await manager.get(f"{OLD}/payouts/?ordering=nonsense")).json()
    assert [item["amount"] for item in newest["results"]] == ["20.00", "10.00", "30.00"]
    assert (await manager.get(f"{OLD}/payouts/?search=%25")).json()["count"] == 3
    assert (await manager.get(f"{OLD}/payouts/?search=x_")).json()["count"] == 0
    assert (await manager.get(f"{OLD}/payouts/?page=7")).status_code == 404
    for wrong in ("page=0", "page_size=1000", "page=x"):
        assert (await manager.get(f"{OLD}/payouts/?{wrong}")).status_code == 422
    assert (await old.somebody("merchant").get(f"{OLD}/payouts/")).status_code == 403


async def test_numbers_of_many_at_once_are_all_different(manager: Caller, rows: Rows) -> None:
    numbers = await asyncio.gather(*(user_of(manager) for _ in range(30)))
    assert len(set(numbers)) == 30
    kinds = {(row["kind"], row["number"]): UUID(str(row["id"])) for row in await rows("compatibility_ids")}
    assert len(kinds) == 30


async def test_a_floating_number_never_comes_between(manager: Caller, rows: Rows) -> None:
    headers = manager.mint.headers(manager.user_id, manager.roles) | {"Content-Type": "application/json"}
    url = f"/payments/api/v1{OLD}/users/"
    answer = await manager.client.post(url, content='{"balance": 80071992.13}', headers=headers)
    assert json.loads(answer.text, parse_float=str)["balance"] == "80071992.13"
    (opened,) = [json.loads(row["body"]) for row in await rows("outbox")]
    assert opened["opening_minor"] == 8_007_199_213
