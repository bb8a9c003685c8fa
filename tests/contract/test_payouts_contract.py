"""The gateway's clients of money that goes out against the emulators, which were written apart from them.

What the emulators' logs say was really sent is what a client's verdicts have to agree with.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import httpx2
import pytest
from pydantic import SecretStr

from copeck.kernel.money import Money
from copeck.testkit.waiting import eventually
from payments_gateway.domain.provider import AttemptStatus, PayoutClient, PayoutOrder, Shop, Verdict
from payments_gateway.domain.recipients import Recipient, RecipientKind
from payments_gateway.providers.cloudpayments.client import CloudPaymentsClient
from payments_gateway.providers.mock.client import MockClient
from sandbox.providers.cloudpayments.app import create_app as cloudpayments
from sandbox.providers.cloudpayments.settings import Settings as CloudPaymentsSettings
from sandbox.providers.cloudpayments.settings import Shop as Terminal
from sandbox.providers.mock.app import create_app as mock
from sandbox.providers.mock.settings import Settings as MockSettings
from sandbox.providers.mock.settings import Shop as MockShop

from .test_cloudpayments_contract import serving

pytestmark = pytest.mark.integration
KEYS = ("pk_contract", "contract_secret")
TIMEOUT = httpx2.Timeout(0.5)
PHONE = Recipient(RecipientKind.SBP, phone="+79991234567", bank_id="100000000111")


@dataclass
class Provider:
    """One emulator, the gateway's client of it, and what its control calls are named."""

    http: httpx2.AsyncClient
    shop: Shop
    client: PayoutClient
    operation: str
    sent: Callable[[httpx2.AsyncClient], Awaitable[dict[str, tuple[int, int]]]]

    async def pay(self, order: PayoutOrder) -> Verdict:
        key = f"payout:{order.payout_id}:{order.attempt}"
        return (await self.client.pay_out(self.shop, key=key, order=order)).verdict

    async def fault(self, switch: str, **options: object) -> None:
        once = [{"switch": switch, "operation": self.operation}]
        answer = await self.http.put("/sandbox/chaos", json={"once": once, "options": options})
        assert answer.status_code == 200, answer.text

    async def found(self, order: PayoutOrder) -> list[tuple[AttemptStatus, int | None]]:
        findings = await self.client.find_payout(self.shop, reference=order.reference)
        assert findings.known
        return [(item.status, item.amount.minor if item.amount else None) for item in findings.transactions]


async def sent_by_cloudpayments(http: httpx2.AsyncClient) -> dict[str, tuple[int, int]]:
    items = (await http.get("/sandbox/payouts")).json()["items"]
    return {item["invoice_id"]: (item["transfers"], item["amount_minor"]) for item in items if item["transfers"]}


async def sent_by_mock(http: httpx2.AsyncClient) -> dict[str, tuple[int, int]]:
    items = (await http.get("/sandbox/totals", params={"type": "withdraw"})).json()["items"]
    return {item["payment_id"]: (item["transfers"], item["amount_minor"]) for item in items}


@pytest.fixture(params=["cloudpayments", "mock"])
async def provider(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Provider]:
    secret = SecretStr(KEYS[1])
    if request.param == "mock":
        app = mock(MockSettings(data_dir=tmp_path, shops=[MockShop(public_id=KEYS[0], api_secret=secret)]))
    else:
        terminal = Terminal(public_id=KEYS[0], api_secret=secret)
        app = cloudpayments(CloudPaymentsSettings(data_dir=tmp_path, shops=[terminal]))
    async with serving(app) as url, httpx2.AsyncClient(base_url=url, timeout=10) as http:
        shop = Shop(request.param, "main", *KEYS, api_url=url)
        if request.param == "mock":
            yield Provider(http, shop, client := MockClient(timeout=TIMEOUT), "withdraw", sent_by_mock)
            await client.close()
        else:
            yield Provider(http, shop, other := CloudPaymentsClient(timeout=TIMEOUT), "topup", sent_by_cloudpayments)
            await other.close()


def order_of(recipient: Recipient = PHONE, minor: int = 1234, attempt: int = 1, of: UUID | None = None) -> PayoutOrder:
    return PayoutOrder(of or uuid4(), attempt, Money(minor, "RUB"), recipient, "thanks")


async def test_a_payout_is_sent_once_and_found(provider: Provider) -> None:
    order = order_of()
    assert await provider.found(order) == []
    assert [await provider.pay(order) for _ in range(3)] == [Verdict.SUCCEEDED] * 3
    assert await provider.sent(provider.http) == {order.reference: (1, 1234)}
    assert await provider.found(order) == [(AttemptStatus.SUCCEEDED, 1234)]


@pytest.mark.parametrize("switch", ["error_after_success", "timeout_after_success"])
async def test_an_unknown_outcome_is_found_and_not_repeated(provider: Provider, switch: str) -> None:
    order = order_of()
    await provider.fault(switch)
    assert await provider.pay(order) is Verdict.UNKNOWN
    assert await provider.found(order) == [(AttemptStatus.SUCCEEDED, 1234)]
    assert await provider.pay(order) is Verdict.SUCCEEDED
    assert await provider.sent(provider.http) == {order.reference: (1, 1234)}


@pytest.mark.parametrize(("switch", "verdict"), [("error_before", Verdict.UNKNOWN), ("too_many", Verdict.NOT_SENT)])
async def test_what_was_not_carried_out_is_not_found(provider: Provider, switch: str, verdict: Verdict) -> None:
    order = order_of()
    await provider.fault(switch)
    assert await provider.pay(order) is verdict
    assert await provider.found(order) == []
    assert await provider.pay(order) is Verdict.SUCCEEDED
    assert await provider.sent(provider.http) == {order.reference: (1, 1234)}


async def test_a_decline_is_final_and_another_attempt_is_another_payout(provider: Provider) -> None:
    order = order_of()
    await provider.fault("decline")
    assert [await provider.pay(order) for _ in range(2)] == [Verdict.REJECTED] * 2
    assert await provider.found(order) == [(AttemptStatus.FAILED, 1234)]
    second = order_of(attempt=2, of=order.payout_id)
    assert await provider.pay(second) is Verdict.SUCCEEDED
    assert await provider.sent(provider.http) == {second.reference: (1, 1234)}


async def test_a_dry_balance_sends_nothing(provider: Provider) -> None:
    await provider.http.put("/sandbox/balance", json={"RUB": "12.33"})
    told = await provider.client.balance(provider.shop, currency="RUB")
    assert told is None or told == Money(1233, "RUB")
    order = order_of()
    assert await provider.pay(order) is Verdict.REJECTED
    assert await provider.found(order) == [(AttemptStatus.FAILED, 1234)]
    assert await provider.sent(provider.http) == {}


@pytest.mark.parametrize("ending", [AttemptStatus.SUCCEEDED, AttemptStatus.FAILED])
@pytest.mark.parametrize("provider", ["cloudpayments"], indirect=True)
async def test_a_payout_under_way_is_asked_about_until_it_ends(provider: Provider, ending: AttemptStatus) -> None:
    token = (await provider.http.post("/sandbox/tokens", json={"account_id": "customer"})).json()["token"]
    order = order_of(Recipient(RecipientKind.CARD_TOKEN, token=token))
    late = {"switch": "late_success", "operation": "topup"}
    fails = [{"switch": "decline", "operation": "settle"}] if ending is AttemptStatus.FAILED else []
    chaos = {"once": [late, *fails], "options": {"late_success_ms": [500, 501]}}
    assert (await provider.http.put("/sandbox/chaos", json=chaos)).status_code == 200
    assert await provider.pay(order) is Verdict.PENDING
    assert await provider.found(order) == [(AttemptStatus.PENDING, 1234)]

    async def ended() -> bool:
        return await provider.found(order) == [(ending, 1234)]

    await eventually(ended)
    expected = {order.reference: (1, 1234)} if ending is AttemptStatus.SUCCEEDED else {}
    assert await provider.sent(provider.http) == expected
