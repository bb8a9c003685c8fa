"""The admin API over HTTP, with real tokens, on a real Postgres: prices, customers' subscriptions, invoices."""

import asyncio
from datetime import timedelta
from uuid import UUID

import httpx2
import pytest

from copeck.kernel.ids import new_id
from copeck.testkit.tokens import TokenMint
from services.subscriptions.tests.world import World

pytestmark = pytest.mark.integration

CLIENT = "/subscriptions/api/v1"
ADMIN = "/admin/api/v1"


def as_manager(mint: TokenMint) -> dict[str, str]:
    return mint.headers(new_id(), ["manager"])


def key() -> dict[str, str]:
    return {"Idempotency-Key": str(new_id())}


async def test_a_code_that_many_take_at_once_is_given_to_one(http: httpx2.AsyncClient, token_mint: TokenMint) -> None:
    """The others are told that it is taken, as those who come later are."""
    manager = as_manager(token_mint)
    title = {"ru": "Кино", "en": "Cinema"}
    for path, body in (
        ("products", {"code": "cinema", "title": title}),
        ("plans", {"code": "weekly", "product": "cinema", "title": title}),
    ):
        answers = await asyncio.gather(*(http.post(f"{ADMIN}/{path}", json=body, headers=manager) for _ in range(5)))
        assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409]


async def test_price_setter(http: httpx2.AsyncClient, world: World, token_mint: TokenMint) -> None:
    """A price is superseded and never edited; a stale edit is refused; all of it is in the audit."""
    manager = as_manager(token_mint)
    assert (await http.get(f"{ADMIN}/plans", headers=token_mint.headers())).status_code == 403
    title = {"ru": "Кино", "en": "Cinema"}
    product = {"code": "subscription", "title": title}
    created = await http.post(f"{ADMIN}/products", json=product, headers=manager)
    assert created.status_code == 201
    assert (await http.post(f"{ADMIN}/products", json=product, headers=manager)).status_code == 409
    changed = await http.patch(
        f"{ADMIN}/products/subscription",
        json={"late_policy": "accept"},
        headers={**manager, "If-Match": created.headers["ETag"]},
    )
    assert changed.json()["late_policy"] == "accept"
    assert (await http.get(f"{ADMIN}/products/subscription", headers=manager)).json() == changed.json()
    assert [one["code"] for one in (await http.get(f"{ADMIN}/products", headers=manager)).json()["items"]] == [
        "subscription"
    ]

    plan = await http.post(
        f"{ADMIN}/plans", json={"code": "monthly", "product": "subscription", "title": title}, headers=manager
    )
    assert plan.status_code == 201
    plan_url = plan.headers["Location"]
    assert (await http.get(f"{CLIENT}/plans")).json()["items"] == []
    price = {
        "plan_id": plan.json()["id"],
        "amount": {"value": "199.00", "currency": "RUB"},
        "period": {"unit": "month", "count": 1},
    }
    assert (await http.post(f"{ADMIN}/prices", json=price, headers=manager)).status_code == 428
    tag = {"If-Match": plan.headers["ETag"]}
    first = await http.post(f"{ADMIN}/prices", json=price, headers={**manager, **tag})
    assert first.status_code == 201
    stale = await http.post(f"{ADMIN}/prices", json=price, headers={**manager, **tag})
    assert stale.status_code == 412
    world.clock.advance(timedelta(days=1))
    dearer = {**price, "amount": {"value": "299.00", "currency": "RUB"}}
    second = await http.post(f"{ADMIN}/prices", json=dearer, headers={**manager, "If-Match": first.headers["ETag"]})
    assert second.status_code == 201
    [shown] = (await http.get(f"{CLIENT}/plans")).json()["items"]
    assert shown["price"]["amount"]["value"] == "299.00"
    both = (await http.get(f"{ADMIN}/prices?plan_id={plan.json()['id']}&limit=1", headers=manager)).json()
    assert both["items"][0]["id"] == second.json()["id"]
    rest = (await http.get(f"{ADMIN}/prices?cursor={both['next_cursor']}", headers=manager)).json()
    assert [one["id"] for one in rest["items"]] == [first.json()["id"]]
    assert (await http.get(first.headers["Location"], headers=manager)).json()["amount"]["value"] == "199.00"

    tag = {"If-Match": (await http.get(plan_url, headers=manager)).headers["ETag"]}
    off = await http.patch(plan_url, json={"on_sale": False}, headers={**manager, **tag})
    assert off.json()["on_sale"] is False
    assert (await http.get(f"{CLIENT}/plans")).json()["items"] == []
    assert (await http.get(f"{ADMIN}/plans?search=month", headers=manager)).json()["items"][0]["code"] == "monthly"
    actions = [one["action"] for one in (await http.get(f"{ADMIN}/audit", headers=manager)).json()["items"]]
    assert actions == ["plan.change", "price.create", "price.create", "plan.create", "product.change", "product.create"]


async def test_past_price_and_bad_cursor_are_refused(
    http: httpx2.AsyncClient, world: World, token_mint: TokenMint
) -> None:
    price = await world.plan()
    manager = as_manager(token_mint)
    body = {
        "plan_id": str(price.plan_id),
        "amount": {"value": "1.00", "currency": "RUB"},
        "period": {"unit": "year", "count": 1},
        "active_from": "2020-01-01T00:00:00Z",
    }
    past = await http.post(f"{ADMIN}/prices", json=body, headers={**manager, "If-Match": "*"})
    assert (past.status_code, past.json()["field"]) == (422, "active_from")
    too_long = {**body, "period": {"unit": "year", "count": 99}}
    assert (await http.post(f"{ADMIN}/prices", json=too_long, headers={**manager, "If-Match": "*"})).status_code == 422
    assert (await http.get(f"{ADMIN}/prices?cursor=WyJ4Il0", headers=manager)).status_code == 422


async def test_manager_changes_a_customers_subscription(
    http: httpx2.AsyncClient, world: World, token_mint: TokenMint
) -> None:
    manager, user = as_manager(token_mint), new_id()
    monthly, yearly = await world.plan(), await world.plan("yearly", minor=199000)
    body = {"user_id": str(user), "plan_id": str(monthly.plan_id)}
    created = await http.post(f"{ADMIN}/subscriptions", json=body, headers={**manager, **key()})
    assert created.status_code == 201
    url = created.headers["Location"]
    await world.hear(UUID(created.json()["invoice"]["id"]), "paid")
    shown = await http.get(url, headers=manager)
    assert shown.json()["status"] == "active"

    change = {"extend_days": 10, "price_id": str(yearly.id), "reason": "the projector broke"}
    assert (await http.patch(url, json=change, headers=manager)).status_code == 428
    changed = await http.patch(url, json=change, headers={**manager, "If-Match": shown.headers["ETag"]})
    assert changed.status_code == 200, changed.text
    assert changed.json()["period_end"] == "2026-03-10T12:00:00Z"
    assert changed.json()["plan_code"] == "yearly"
    stale = await http.patch(url, json=change, headers={**manager, "If-Match": shown.headers["ETag"]})
    assert stale.status_code == 412
    steps = (await http.get(f"{url}/events", headers=manager)).json()["items"]
    assert [step["event"] for step in steps] == ["created", "period_paid", "price_changed", "extended"]

    found = (await http.get(f"{ADMIN}/subscriptions?search={user}&status=active", headers=manager)).json()["items"]
    assert [one["user_id"] for one in found] == [str(user)]
    by_phone = {"when": "now", "reason": "asked by phone"}
    assert (await http.post(f"{url}/cancel", json=by_phone, headers=manager)).status_code == 428
    seen_before = {**manager, "If-Match": shown.headers["ETag"]}
    assert (await http.post(f"{url}/cancel", json=by_phone, headers=seen_before)).status_code == 412
    ended = await http.post(f"{url}/cancel", json=by_phone, headers={**manager, "If-Match": changed.headers["ETag"]})
    assert ended.json()["status"] == "canceled"
    audit = await http.get(f"{ADMIN}/audit?subject_kind=subscription", headers=manager)
    assert [one["action"] for one in audit.json()["items"]] == [
        "subscription.cancel",
        "subscription.change",
        "subscription.create",
    ]


@pytest.mark.parametrize("order", ["created_at", "-created_at", "period_end"])
async def test_lists_are_paged(http: httpx2.AsyncClient, world: World, token_mint: TokenMint, order: str) -> None:
    price = await world.plan()
    begun = []
    for _ in range(5):
        one = await world.subscribe(new_id(), price)
        begun.append(one)
        world.clock.advance(timedelta(minutes=1))
    for one in begun[:2]:
        assert one.invoice_id is not None
        await world.hear(one.invoice_id, "paid")
    manager, seen, cursor = as_manager(token_mint), [], ""
    for _ in range(10):
        page = (await http.get(f"{ADMIN}/subscriptions?order={order}&limit=2{cursor}", headers=manager)).json()
        seen += [UUID(one["id"]) for one in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    ids = [one.subscription.id for one in begun]
    assert seen == (list(reversed(ids)) if order == "-created_at" else ids)


async def test_manager_commands_invoices_over_the_bus(
    http: httpx2.AsyncClient, world: World, token_mint: TokenMint
) -> None:
    await world.plan()
    manager, user = as_manager(token_mint), new_id()
    body = {
        "user_id": str(user),
        "product": "subscription",
        "amount": {"value": "50.00", "currency": "RUB"},
        "description": "A ticket",
        "capture": "manual",
    }
    with_key = {**manager, **key()}
    issued = await http.post(f"{ADMIN}/invoices", json=body, headers=with_key)
    assert issued.status_code == 202
    assert (await http.post(f"{ADMIN}/invoices", json=body, headers=with_key)).json() == issued.json()
    [(_, command)] = await world.sent("invoice.issue.v1")
    assert (command["kind"], command["amount_minor"], command["capture"]) == ("manual", 5000, "manual")
    invoice_id = UUID(issued.json()["invoice_id"])
    assert (await http.get(issued.headers["Location"], headers=manager)).json()["status"] == "pending"

    await world.issue_in_state(invoice_id, user, cause_id=UUID(issued.json()["id"]), kind="manual")
    waited = await http.post(f"{ADMIN}/invoices", json=body, headers={**with_key, "Prefer": "wait=1"})
    assert (waited.status_code, waited.json()["status"]) == (200, "applied")
    fate = (await http.get(issued.headers["Location"], headers=manager)).json()
    assert (fate["status"], fate["invoice_status"]) == ("applied", "issued")
    url = f"{ADMIN}/invoices/{invoice_id}"
    assert (await http.get(url, headers=manager)).json()["payer"] == str(user)
    assert (await http.get(f"{url}/timeline", headers=manager)).status_code == 200
    found = (await http.get(f"{ADMIN}/invoices?user_id={user}&kind=manual", headers=manager)).json()["items"]
    assert [one["id"] for one in found] == [str(invoice_id)]

    why = {"reason": "a mistake"}
    for action in ("refund", "capture"):
        refused = await http.post(f"{url}/{action}", json=why, headers={**manager, **key()})
        assert refused.status_code == 409, action
    canceled = await http.post(f"{url}/cancel", json=why, headers={**manager, **key()})
    assert canceled.status_code == 202
    await world.refuse_in_state(UUID(canceled.json()["id"]), invoice_id)
    fate = (await http.get(canceled.headers["Location"], headers={**manager, "Prefer": "wait=1"})).json()
    assert (fate["status"], fate["code"]) == ("refused", "test")
    await world.set_in_state(invoice_id, "authorized")
    assert (await http.post(f"{url}/capture", headers={**manager, **key()})).status_code == 202
    await world.set_in_state(invoice_id, "paid")
    too_much = {"amount": {"value": "50.01", "currency": "RUB"}, **why}
    assert (await http.post(f"{url}/refund", json=too_much, headers={**manager, **key()})).status_code == 422
    part = {"amount": {"value": "20.00", "currency": "RUB"}, **why}
    assert (await http.post(f"{url}/refund", json=part, headers={**manager, **key()})).status_code == 202
    [(_, refund)] = await world.sent("invoice.refund.v1")
    assert refund["amount_minor"] == 2000
