"""From the request to the updater's decision: a real updater, a real broker, the gateway's own relay and consumer."""

from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import UUID

import httpx2
import pytest

from copeck.contracts import commands
from copeck.kernel.ids import new_id
from copeck.testkit.tokens import TokenMint
from copeck.testkit.waiting import eventually
from payments_gateway.composition import make_context
from payments_gateway.main import build
from payments_gateway.settings import GatewaySettings
from tests.support.updater import issue, paid, running, send
from tests.support.wallet_site import CARD, Caller, WalletSite, rub, served, with_wallets

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]
WAIT = {"Prefer": "wait=20"}


@pytest.fixture
async def live(
    settings: GatewaySettings,
    token_mint: TokenMint,
    jwks_url: str,
    redis_url: str,
    broker: Any,
    service_environment: Callable[..., dict[str, str]],
) -> AsyncIterator[WalletSite]:
    """A gateway on the bus, over a socket, beside an updater."""
    told = with_wallets(settings, jwks_url, redis_url=redis_url, broker_url=broker.urls["gateway"])
    context = make_context(told, pool_size=6)
    async with (
        running(service_environment("state_updater", "state-updater")),
        served(build(told, context)) as url,
        httpx2.AsyncClient(base_url=url, trust_env=False, timeout=40) as client,
    ):
        yield WalletSite(context, told, token_mint, client)


async def test_a_wallet_lives(live: WalletSite, broker: Any) -> None:
    """Opened, filled, short, paid from, short again: and the history says so to the kopeck."""
    anna = live.somebody()
    opened = await anna.post("/wallets", {"currency": "RUB"}, key=None, headers=WAIT)
    assert (opened.status_code, opened.json()["open"]) == (200, True)

    deposit = await anna.post("/payments/deposit", {"amount": rub("300.00")}, headers=WAIT)
    assert (deposit.status_code, deposit.json()["status"]) == (202, "pending")
    deposit_id = deposit.json()["id"]
    (wallet,) = (await anna.get("/wallets")).json()["items"]
    assert (wallet["available"], wallet["pending"]) == (rub("0.00"), rub("294.00"))
    report = paid(UUID(deposit_id), account=anna.wallet, amount_minor=30_000)
    await send(broker, "gateway", [report])

    async def completed() -> bool:
        return bool((await anna.get(f"/payments/{deposit_id}")).json()["status"] == "completed")

    await eventually(completed, timeout_s=20)
    shown = (await anna.get(f"/payments/{deposit_id}", params={"lang": "en"})).json()
    assert [(one["title"], one["direction"], one["amount"]["value"]) for one in shown["timeline"]] == [
        ("Deposit", "credit", "300.00"),
        ("Commission", "debit", "6.00"),
    ]

    too_much = {"amount": rub("294.00"), "recipient": CARD}
    short = await anna.post("/payments/withdraw", too_much, headers=WAIT)
    assert (short.status_code, short.json()["status"], short.json()["last_error"]) == (
        202,
        "failed",
        "insufficient_funds",
    )
    assert (await anna.get(f"/payments/{short.json()['id']}")).json()["timeline"] == []

    bill = new_id()
    await send(broker, "subscriptions", [issue(bill)])

    async def known() -> bool:
        return (await live.client.get(f"/payments/api/v1/invoices/{bill}")).status_code == 200

    await eventually(known, timeout_s=20)
    answer = await anna.post("/payments/pay", {"invoice_id": str(bill)}, headers=WAIT)
    assert (answer.status_code, answer.json()["status"]) == (202, "completed")
    again = await anna.post("/payments/pay", {"invoice_id": str(bill)}, headers=WAIT)
    assert again.status_code in (202, 409)
    assert again.status_code == 409 or again.json()["last_error"] == "not_payable"

    dear = new_id()
    await send(broker, "subscriptions", [issue(dear, amount_minor=9_501)])
    failed = await _pay(anna, str(dear))
    assert (failed["status"], failed["last_error"]) == ("failed", "insufficient_funds")

    out = await anna.post("/payments/withdraw", {"amount": rub("90.00"), "recipient": CARD}, headers=WAIT)
    assert (out.status_code, out.json()["status"]) == (202, "pending")
    await _check_books(live, anna, [deposit_id, deposit_id, answer.json()["id"], *[out.json()["id"]] * 2])


async def _check_books(live: WalletSite, anna: Caller, ids: list[str]) -> None:
    lines = (await anna.get("/wallets/RUB/transactions", params={"ordering": "at"})).json()["items"]
    assert [(one["kind"], one["balance_after"]["value"]) for one in lines] == [
        ("payment", "300.00"),
        ("commission", "294.00"),
        ("payment", "95.00"),
        ("payout", "5.00"),
        ("commission", "3.20"),
    ]
    assert [one["payment_id"] for one in lines] == ids
    await live.context.wallet_cache.drop([anna.wallet])
    (wallet,) = (await anna.get("/wallets")).json()["items"]
    assert (wallet["available"], wallet["held"]) == (rub("3.20"), rub("91.80"))


async def _pay(anna: Caller, invoice_id: str) -> dict[str, Any]:
    answers: list[httpx2.Response] = []

    async def taken() -> bool:
        answers.append(await anna.post("/payments/pay", {"invoice_id": invoice_id}, headers=WAIT))
        return answers[-1].status_code != 404

    await eventually(taken, timeout_s=20)
    return dict(answers[-1].json())


async def test_a_payout_that_the_updater_calls_off_frees_what_it_held(live: WalletSite, broker: Any) -> None:
    anna = live.somebody()
    opening = commands.WalletOpen(account=anna.wallet, currency="RUB", opening_minor=10_200)
    await send(broker, "gateway", [opening])

    async def there() -> bool:
        await live.context.wallet_cache.drop([anna.wallet])
        return bool((await anna.get("/wallets")).json()["items"])

    await eventually(there, timeout_s=20)
    body = {"amount": rub("100.00"), "recipient": CARD}
    out = (await anna.post("/payments/withdraw", body, headers=WAIT)).json()
    assert out["status"] == "pending"
    failed = commands.PayoutReport(
        account=anna.wallet, payout_id=UUID(out["id"]), attempt=1, status="failed", failure_code="recipient_unknown"
    )
    await send(broker, "gateway", [failed])
    shown = await anna.get(f"/payments/{out['id']}", headers=WAIT)
    assert (shown.json()["status"], shown.json()["last_error"]) == ("failed", "recipient_unknown")
    await live.context.wallet_cache.drop([anna.wallet])
    (wallet,) = (await anna.get("/wallets")).json()["items"]
    assert (wallet["available"], wallet["held"]) == (rub("102.00"), rub("0.00"))
