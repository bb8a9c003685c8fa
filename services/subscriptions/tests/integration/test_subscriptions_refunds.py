"""Refunds that failed: managers see those of every product, and each is asked for again once, over the bus."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx2
import pytest

from copeck.kernel.ids import id_time, new_id
from copeck.testkit.tokens import TokenMint
from services.subscriptions.tests.integration.test_subscriptions_admin import ADMIN, as_manager, key
from services.subscriptions.tests.world import World
from subscriptions.store.refunds import retry_id

pytestmark = pytest.mark.integration

REFUNDS = f"{ADMIN}/refunds"
WHY = {"reason": "the shop has money again"}


@pytest.fixture
def manager(token_mint: TokenMint) -> dict[str, str]:
    return as_manager(token_mint)


async def paid(world: World, kind: str = "subscription", status: str = "paid") -> UUID:
    """An invoice in the State Storage that somebody has paid."""
    invoice_id = new_id()
    await world.issue_in_state(invoice_id, new_id(), kind=kind)
    await world.set_in_state(invoice_id, status)
    return invoice_id


async def failed(world: World, invoice_id: UUID, **more: Any) -> UUID:
    refund_id = new_id()
    await world.refund_in_state(invoice_id, refund_id, **more)
    return refund_id


async def retry(
    http: httpx2.AsyncClient, manager: dict[str, str], refund_id: UUID, expected: int, **headers: str
) -> dict[str, Any]:
    answer = await http.post(f"{REFUNDS}/{refund_id}/retry", json=WHY, headers={**manager, **key(), **headers})
    assert answer.status_code == expected, answer.text
    return dict(answer.json())


async def test_refunds_that_failed_are_listed_for_managers(
    http: httpx2.AsyncClient, world: World, manager: dict[str, str], token_mint: TokenMint
) -> None:
    """A coffee's as well as a subscription's, the newest first, with the reason, the amount and the moment."""
    coffee, cinema = await paid(world, "coffee"), await paid(world)
    refunds = []
    for invoice_id, status in ((coffee, "failed"), (cinema, "succeeded"), (cinema, "failed"), (cinema, "failed")):
        refund_id = new_id()
        await world.refund_in_state(invoice_id, refund_id, status, minor=100)
        if status == "failed":
            refunds.append(str(refund_id))
        if len(refunds) != 2:
            # Two of one moment stand on different pages.
            world.clock.advance(timedelta(minutes=1))
    assert (await http.get(REFUNDS, headers=token_mint.headers())).status_code == 403
    first = (await http.get(f"{REFUNDS}?status=failed&limit=2", headers=manager)).json()
    rest = (await http.get(f"{REFUNDS}?status=failed&cursor={first['next_cursor']}", headers=manager)).json()
    assert [one["id"] for one in [*first["items"], *rest["items"]]] == refunds[::-1]
    assert rest["next_cursor"] is None
    [shown] = rest["items"]
    assert (shown["invoice_id"], shown["kind"], shown["retried_as"]) == (str(coffee), "coffee", None)
    assert shown["amount"] == {"value": "1.00", "currency": "RUB"}
    assert (shown["reason"], shown["failure_reason"]) == ("no cup", "Not enough money at the shop")
    assert shown["updated_at"] == "2026-01-31T12:00:00Z"
    of_cinema = (await http.get(f"{REFUNDS}?invoice_id={cinema}", headers=manager)).json()["items"]
    assert [one["status"] for one in of_cinema] == ["failed", "failed", "succeeded"]
    assert (await http.get(f"{REFUNDS}?cursor=WyJ4Il0", headers=manager)).status_code == 422


@pytest.mark.parametrize("origin", ["requested", "late_payment"])
async def test_a_refund_that_failed_is_asked_for_again_over_the_bus(
    http: httpx2.AsyncClient, world: World, manager: dict[str, str], origin: str
) -> None:
    """Late money goes back although its invoice is not paid; a repeat of the request sends nothing more."""
    invoice_id = await paid(world, "coffee", "paid" if origin == "requested" else "expired")
    refund_id = await failed(world, invoice_id, origin=origin)
    same = key()
    sent = await retry(http, manager, refund_id, 202, **same)
    assert await retry(http, manager, refund_id, 202, **same) == sent
    [(_, command)] = await world.sent("invoice.refund.v1")
    assert (command["invoice_id"], command["retry_of"]) == (str(invoice_id), str(refund_id))
    assert (command["refund_id"], command["reason"]) == (str(retry_id(refund_id)), WHY["reason"])
    assert id_time(retry_id(refund_id)) == id_time(refund_id)
    assert (await http.get(sent["url"], headers=manager)).json()["status"] == "pending"
    [audited] = (await http.get(f"{ADMIN}/audit?subject_id={invoice_id}", headers=manager)).json()["items"]
    assert (audited["action"], audited["after"]["retry_of"]) == ("invoice.refund", str(refund_id))


async def test_those_who_retry_at_once_ask_for_one_refund(
    http: httpx2.AsyncClient, world: World, manager: dict[str, str]
) -> None:
    """Each names it alike, and the state updater refuses all but the first."""
    refund_id = await failed(world, await paid(world), minor=100)
    await asyncio.gather(*(retry(http, manager, refund_id, 202) for _ in range(3)))
    asked = await world.sent("invoice.refund.v1")
    assert {command["refund_id"] for _, command in asked} == {str(retry_id(refund_id))}


async def test_what_cannot_be_asked_for_again_is_refused(
    http: httpx2.AsyncClient, world: World, manager: dict[str, str]
) -> None:
    invoice_id = await paid(world)
    done, back = new_id(), await failed(world, invoice_id)
    await world.refund_in_state(invoice_id, done, "succeeded", minor=100)
    assert (await retry(http, manager, new_id(), 404))["type"] == "urn:copeck:problem:not-found"
    assert (await retry(http, manager, done, 409))["type"] == "urn:copeck:problem:refund-not-failed"

    by_invoice = {**WHY, "retry_of": str(back)}
    url = f"{ADMIN}/invoices/{await paid(world)}/refund"
    assert (await http.post(url, json=by_invoice, headers={**manager, **key()})).status_code == 404
    with_amount = {**by_invoice, "amount": {"value": "1.00", "currency": "RUB"}}
    url = f"{ADMIN}/invoices/{invoice_id}/refund"
    assert (await http.post(url, json=with_amount, headers={**manager, **key()})).status_code == 422

    await world.refund_in_state(invoice_id, new_id(), "pending", minor=19800, returning=True)
    assert (await retry(http, manager, back, 409))["type"] == "urn:copeck:problem:nothing-to-refund"
    await world.refund_in_state(invoice_id, retry_id(back), "failed")
    problem = await retry(http, manager, back, 409)
    assert problem["type"] == "urn:copeck:problem:refund-retried"
    assert str(retry_id(back)) in problem["detail"]
    listed = (await http.get(f"{REFUNDS}?status=failed", headers=manager)).json()["items"]
    assert {one["id"]: one["retried_as"] for one in listed} == {
        str(back): str(retry_id(back)),
        str(retry_id(back)): None,
    }
    await world.set_in_state(invoice_id, "refunded")
    assert (await retry(http, manager, retry_id(back), 409))["type"] == "urn:copeck:problem:invoice-status"
    assert await world.sent("invoice.refund.v1") == []
