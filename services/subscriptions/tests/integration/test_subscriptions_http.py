"""The client API and the cabinet over HTTP, with real tokens, on a real Postgres."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx2
import pytest

from copeck.contracts.events import InvoiceExpired
from copeck.kernel.clock import ManualClock
from copeck.kernel.ids import new_id
from copeck.testkit.tokens import TokenMint
from copeck.web.keys import StaticKeys
from services.subscriptions.tests.world import World
from subscriptions.demo import seed
from subscriptions.service import build_app
from subscriptions.settings import SubscriptionsSettings

pytestmark = pytest.mark.integration

CLIENT = "/subscriptions/api/v1"
ADMIN = "/admin/api/v1"


def key() -> dict[str, str]:
    return {"Idempotency-Key": str(new_id())}


async def test_plans_are_listed_for_everybody(http: httpx2.AsyncClient, world: World) -> None:
    assert (await http.get(f"{CLIENT}/plans")).json() == {"items": [], "next_cursor": None}
    await world.plan(trial_days=7)
    [plan] = (await http.get(f"{CLIENT}/plans")).json()["items"]
    assert plan["price"]["amount"] == {"value": "199.00", "currency": "RUB"}
    assert plan["price"]["period"] == {"unit": "month", "count": 1}
    assert (await http.get(f"{CLIENT}/plans/{plan['id']}")).json() == plan
    assert (await http.get(f"{CLIENT}/plans/{new_id()}")).status_code == 404


async def test_subscribe_is_idempotent_by_its_key(
    http: httpx2.AsyncClient, world: World, token_mint: TokenMint
) -> None:
    price = await world.plan()
    me = token_mint.headers(new_id())
    body = {"plan_id": str(price.plan_id)}
    assert (await http.post(f"{CLIENT}/subscriptions", json=body)).status_code == 401
    assert (await http.post(f"{CLIENT}/subscriptions", json=body, headers=me)).status_code == 400
    with_key = {**me, **key()}
    first = await http.post(f"{CLIENT}/subscriptions", json=body, headers=with_key)
    again = await http.post(f"{CLIENT}/subscriptions", json=body, headers=with_key)
    assert first.status_code == again.status_code == 202
    assert first.json() == again.json()
    assert first.headers["Location"] == first.json()["url"]
    assert first.json()["invoice"]["pay_url"] == f"http://cinema.test/pay/{first.json()['invoice']['id']}"
    other = await http.post(f"{CLIENT}/subscriptions", json={"plan_id": str(new_id())}, headers=with_key)
    assert other.status_code == 422
    assert other.json()["type"] == "urn:copeck:problem:idempotency-key-reused"
    assert len(await world.sent("invoice.issue.v1")) == 1


async def test_a_customer_sees_only_its_own(http: httpx2.AsyncClient, world: World, token_mint: TokenMint) -> None:
    mine, another = token_mint.headers(new_id()), token_mint.headers(new_id())
    url = await subscribe(http, world, mine)
    assert (await http.get(url, headers=mine)).status_code == 200
    assert (await http.get(url, headers=another)).status_code == 404
    for action in ("pay", "cancel", "resume", "pause"):
        assert (await http.post(f"{url}/{action}", headers=another)).status_code == 404
    assert (await http.get(f"{CLIENT}/subscriptions", headers=another)).json()["items"] == []


async def subscribe(http: httpx2.AsyncClient, world: World, me: dict[str, str], **plan: Any) -> str:
    price = await world.plan(**plan)
    answer = await http.post(f"{CLIENT}/subscriptions", json={"plan_id": str(price.plan_id)}, headers={**me, **key()})
    assert answer.status_code in (201, 202), answer.text
    return str(answer.headers["Location"])


async def test_from_subscribing_to_the_end(http: httpx2.AsyncClient, world: World, token_mint: TokenMint) -> None:
    user = new_id()
    me = token_mint.headers(user)
    url = await subscribe(http, world, me)
    payment = await http.post(f"{url}/pay", headers=me)
    assert payment.status_code == 202
    invoice_id = UUID(payment.json()["invoice_id"])
    assert (await http.post(f"{url}/pay", headers=me)).json()["invoice_id"] == str(invoice_id)

    await world.issue_in_state(invoice_id, user)
    assert (await http.post(f"{url}/pay", headers=me)).status_code == 200
    waited = await http.post(f"{url}/pay", headers={**me, "Prefer": "wait=5"})
    assert waited.json()["status"] == "issued"
    [invoice] = (await http.get(f"{CLIENT}/invoices", headers=me)).json()["items"]
    assert invoice["amount"] == {"value": "199.00", "currency": "RUB"}
    assert invoice["pay_url"].endswith(f"/pay/{invoice_id}")
    assert (await http.get(f"{CLIENT}/invoices/{invoice_id}", headers=me)).json() == invoice
    timeline = (await http.get(f"{CLIENT}/invoices/{invoice_id}/timeline", headers=me)).json()
    assert {(entry["what"], entry["event"]) for entry in timeline["entries"]} == {
        ("subscription", "created"),
        ("invoice", "issued"),
    }
    stranger = token_mint.headers(new_id())
    for path in ("", "/timeline"):
        assert (await http.get(f"{CLIENT}/invoices/{invoice_id}{path}", headers=stranger)).status_code == 404

    await world.hear(invoice_id, "paid")
    [active] = (await http.get(f"{CLIENT}/subscriptions?active=true", headers=me)).json()["items"]
    assert active["status"] == "active"
    [access] = (await http.get(f"{CLIENT}/access", headers=me)).json()
    assert access["until"] == active["entitled_until"] == "2026-02-28T12:00:00Z"
    refused = await http.post(f"{url}/pay", headers=me)
    assert refused.status_code == 409
    assert "2026-02-28" in refused.json()["detail"]

    scheduled = (await http.post(f"{url}/cancel", headers=me)).json()
    assert scheduled["cancel_at_period_end"] is True
    assert (await http.post(f"{url}/resume", headers=me)).json()["cancel_at_period_end"] is False
    assert (await http.post(f"{url}/pause", headers=me)).json()["status"] == "paused"
    assert (await http.get(f"{CLIENT}/access", headers=me)).json() == []
    assert (await http.post(f"{url}/resume", headers=me)).json()["status"] == "active"
    ended = (await http.post(f"{url}/cancel", headers=me, json={"when": "now"})).json()
    assert ended["status"] == "canceled"
    assert (await http.post(f"{url}/cancel", headers=me, json={"when": "now"})).status_code == 409


async def test_price_seen_by_the_customer_is_the_one_that_is_bought(
    http: httpx2.AsyncClient, world: World, token_mint: TokenMint
) -> None:
    price = await world.plan()
    body = {"plan_id": str(price.plan_id), "price_id": str(new_id())}
    answer = await http.post(f"{CLIENT}/subscriptions", json=body, headers={**token_mint.headers(), **key()})
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:copeck:problem:price-changed")


@pytest.mark.covers(
    "POST /subscriptions/actions/{subscription_id}/pause", "POST /subscriptions/actions/{subscription_id}/resume"
)
async def test_cabinet_without_scripts(http: httpx2.AsyncClient, world: World, token_mint: TokenMint) -> None:
    """Subscribe, see it wait, pay on, cancel: by forms alone, in both languages."""
    price = await world.plan()
    stranger = await http.get("/?lang=en")
    assert "Sign in or register" in stranger.text
    assert "A month of cinema" in stranger.text
    user = new_id()
    me = token_mint.headers(user)
    assert "Подписок пока нет" in (await http.get("/?lang=ru", headers=me)).text
    form = {"plan_id": str(price.plan_id), "price_id": str(price.id), "form_key": str(new_id())}
    sent = await http.post("/subscriptions/actions/subscribe?lang=en", data=form, headers=me)
    assert sent.status_code == 303
    assert sent.headers["Location"].startswith("http://cinema.test/pay/")
    again = await http.post("/subscriptions/actions/subscribe?lang=en", data=form, headers=me)
    assert again.headers["Location"] == sent.headers["Location"]
    invoice_id = UUID(sent.headers["Location"].rsplit("/", 1)[1])
    await world.issue_in_state(invoice_id, user)
    page = (await http.get("/?lang=en", headers=me)).text
    assert "Waiting for payment" in page
    await world.hear(invoice_id, "paid")
    panel = (await http.get("/subscriptions/panel?lang=en", headers=me)).text
    assert 'data-status="active"' in panel
    [(_, state)] = await world.sent("subscription.activated.v1")
    actions = f"/subscriptions/actions/{state['subscription_id']}"
    for action, done in (("cancel", "scheduled"), ("resume", "resumed"), ("pause", "paused"), ("resume", "resumed")):
        answer = await http.post(f"{actions}/{action}", headers=me)
        assert (answer.status_code, answer.headers["Location"]) == (303, f"/?done={done}")
    refused = await http.post(f"{actions}/pay", headers=me)
    assert refused.headers["Location"] == "/?problem=not-allowed-now"
    assert "the subscription has changed" in (await http.get(f"{refused.headers['Location']}&lang=en", headers=me)).text
    why = await http.get(f"/subscriptions/invoices/{invoice_id}?lang=en", headers=me)
    assert "What happened to the invoice" in why.text
    assert (await http.get(f"/subscriptions/invoices/{new_id()}", headers=me)).status_code == 404
    now = await http.post(f"{actions}/cancel", data={"when": "now"}, headers=me)
    assert now.headers["Location"] == "/?done=canceled"
    assert "Завершённые: 1" in (await http.get("/?lang=ru", headers=me)).text


async def test_what_is_over_hides_nothing_in_the_cabinet(
    http: httpx2.AsyncClient, world: World, token_mint: TokenMint
) -> None:
    """A subscription that waits, and the failure of its invoice, are older than all that a page lists."""
    user = new_id()
    me = token_mint.headers(user)
    waiting = await world.subscribe(user, await world.plan())
    assert waiting.invoice_id is not None
    await world.issue_in_state(waiting.invoice_id, user)
    await world.as_admin("UPDATE state.invoices SET failure_code = 'x', failure_reason = 'The card is empty'")
    for _ in range(21):
        await world.issue_in_state(new_id(), user, kind="manual")
    await world.as_admin(
        "INSERT INTO subscriptions.subscriptions SELECT (jsonb_populate_record(one, jsonb_build_object("
        "'id', gen_random_uuid(), 'status', 'expired', 'created_at', created_at + interval '1 day', "
        "'ended_at', created_at + interval '2 days'))).* "
        "FROM subscriptions.subscriptions AS one, generate_series(1, 21)"
    )
    panel = (await http.get("/subscriptions/panel?lang=en", headers=me)).text
    assert f'data-subscription="{waiting.subscription.id}" data-status="incomplete"' in panel
    assert "The card is empty" in panel


async def test_an_expired_invoice_can_be_paid_anew(
    http: httpx2.AsyncClient, world: World, token_mint: TokenMint
) -> None:
    me = token_mint.headers(new_id())
    url = await subscribe(http, world, me)
    first = (await http.post(f"{url}/pay", headers=me)).json()["invoice_id"]
    await world.hear(UUID(first), "expired", kind=InvoiceExpired)
    assert (await http.get(url, headers=me)).json()["invoice"] is None
    assert (await http.post(f"{url}/pay", headers=me)).json()["invoice_id"] != first


async def test_a_trial_needs_no_invoice(http: httpx2.AsyncClient, world: World, token_mint: TokenMint) -> None:
    me = token_mint.headers(new_id())
    url = await subscribe(http, world, me, trial_days=7)
    shown = (await http.get(url, headers=me)).json()
    assert (shown["status"], shown["invoice"]) == ("trialing", None)
    assert shown["entitled_until"] == "2026-02-07T12:00:00Z"
    assert await world.sent("invoice.issue.v1") == []


async def test_waiting_for_a_subscription_to_change(
    http: httpx2.AsyncClient, world: World, token_mint: TokenMint
) -> None:
    me = token_mint.headers(new_id())
    url = await subscribe(http, world, me)
    shown = (await http.get(url, headers=me)).json()
    waiting = asyncio.create_task(http.get(url, headers={**me, "Prefer": "wait=20"}))
    await world.hear(UUID(shown["invoice"]["id"]), "paid")
    assert (await waiting).json()["status"] == "active"


@pytest.mark.parametrize(("listener", "client", "admin"), [("client", 200, 404), ("admin", 404, 401)])
async def test_listeners_serve_their_own(
    settings: SubscriptionsSettings, token_mint: TokenMint, listener: Any, client: int, admin: int
) -> None:
    """The admin API can be served on a listener of its own, with nothing else beside it."""
    app = build_app(settings, listener, keys=StaticKeys(token_mint.jwks()), with_bus=False)
    async with app.router.lifespan_context(app):
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://cinema.test") as http:
            assert (await http.get(f"{CLIENT}/plans")).status_code == client
            assert (await http.get("/")).status_code == client
            assert (await http.get(f"{ADMIN}/plans")).status_code == admin
            assert (await http.get(f"{ADMIN}/openapi.json")).status_code == (200 if admin == 401 else 404)
            assert (await http.get("/readyz")).status_code == 200


async def test_the_demo_is_seeded_once(
    http: httpx2.AsyncClient, settings: SubscriptionsSettings, moment: ManualClock
) -> None:
    moment.set(datetime.now(UTC) + timedelta(seconds=1))
    first = await seed(settings)
    moment.advance(timedelta(minutes=1))
    assert await seed(settings) == first
    plans = (await http.get(f"{CLIENT}/plans")).json()["items"]
    assert [plan["code"] for plan in plans] == ["day", "month", "trial", "year"]
