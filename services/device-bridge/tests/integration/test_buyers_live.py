"""The live page: events as an order changes, the fallback, limits, and an end in time."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx2
import pytest
import sqlalchemy as sa

from copeck.kernel.clock import ManualClock
from copeck.kernel.ids import new_id
from copeck.testkit.tokens import TokenMint
from device_bridge.pages import live
from device_bridge.store import showing

from .buyers_site import Buyers, buyers_of

pytestmark = pytest.mark.integration

EVENT_S = 10.0
STOP_S = 5.0


@pytest.fixture
async def site(database_urls: dict[str, str], token_mint: TokenMint) -> AsyncIterator[Buyers]:
    clock = ManualClock(datetime(2026, 11, 30, 9, 0, tzinfo=UTC))
    async with buyers_of(database_urls, token_mint, clock, rate_limit_factor=100) as found:
        await found.open()
        yield found


class Listener:
    """A page that reads its stream."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()
        self.comments: list[str] = []
        self.retry_ms = 0

    async def next(self) -> dict[str, Any] | None:
        """Return the next event; None at the end."""
        async with asyncio.timeout(EVENT_S):
            async for line in self._lines:
                if line.startswith("data: "):
                    document: dict[str, Any] = json.loads(line.removeprefix("data: "))
                    return document
                if line.startswith("retry: "):
                    self.retry_ms = int(line.removeprefix("retry: "))
                elif line.startswith(":"):
                    self.comments.append(line)
        return None

    async def stage(self, *stages: str) -> dict[str, Any]:
        """Read until a stage is told; those before it must be expected too."""
        while (document := await self.next()) is not None:
            assert document["stage"] in stages, document
            if document["stage"] == stages[-1]:
                return document
        raise AssertionError(f"the stream ended before {stages[-1]}")


async def listen(stack: AsyncExitStack, site: Buyers, order_id: UUID, token: str, **query: str) -> Listener:
    request = site.http.stream("GET", f"/m/orders/{order_id}/events", params={"k": token, **query})
    return Listener(await stack.enter_async_context(request))


@pytest.mark.covers("GET /m/orders/{order_id}/events")
async def test_changes_arrive_as_they_happen_and_the_end_ends_the_stream(site: Buyers) -> None:
    order_id, token = await site.bought()
    async with AsyncExitStack() as stack:
        page = await listen(stack, site, order_id, token, lang="en")
        assert page.response.headers["Content-Type"].startswith("text/event-stream")
        assert page.response.headers["X-Accel-Buffering"] == "no"
        first = await page.stage("to_pay")
        assert (first["title"], page.retry_ms) == ("Waiting for your payment", live.RETRY_MS)
        other = await listen(stack, site, order_id, token, lang="ru")
        assert (await other.stage("to_pay"))["title"] == "Ждём оплату"
        await site.hear(order_id, "paid")
        await page.stage("sent")
        site.sent(order_id)
        for state, stage in (("accepted", "accepted"), ("started", "brewing"), ("done", "ready")):
            await site.reports(order_id, state)
            told = await page.stage(stage)
        assert (told["status"], told["final"]) == ("successful", True)
        assert await page.next() is None
        assert (await other.stage("sent", "accepted", "brewing", "ready"))["final"]


async def test_a_failed_brew_tells_of_the_money(site: Buyers) -> None:
    order_id, token = await site.bought()
    await site.hear(order_id, "paid")
    site.sent(order_id)
    async with AsyncExitStack() as stack:
        page = await listen(stack, site, order_id, token, lang="en")
        await page.stage("sent")
        await site.reports(order_id, "failed", "no_water")
        refunding = await page.stage("refunding")
        assert "RUB" in refunding["text"]
        assert not refunding["final"]
        await site.refunded(order_id, "succeeded")
        assert (await page.stage("refunded"))["final"]


async def test_an_order_and_its_command_are_read_by_one_statement(site: Buyers) -> None:
    order_id, _ = await site.bought()
    await site.hear(order_id, "paid")
    statements: list[str] = []
    async with site.context.database.reading() as tx:
        engine = tx.engine.sync_engine

        def note(_c: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
            statements.append(statement)

        sa.event.listen(engine, "before_cursor_execute", note)
        try:
            found = await showing.orders(tx, [order_id, new_id()])
        finally:
            sa.event.remove(engine, "before_cursor_execute", note)
    assert set(found) == {order_id}
    assert (found[order_id].status, found[order_id].brew_state) == ("make_pending", "queued")
    reads = [statement for statement in statements if "devices." in statement]
    assert len(reads) == 1
    assert "brew_commands" in reads[0]


@pytest.mark.covers("GET /m/orders/{order_id}/status")
async def test_polling_says_the_same_as_events(site: Buyers) -> None:
    order_id, token = await site.bought()
    async with AsyncExitStack() as stack:
        page = await listen(stack, site, order_id, token)
        told = await page.next()
    polled = await site.http.get(f"/m/orders/{order_id}/status", params={"k": token})
    assert polled.json() == told
    assert (await site.http.get(f"/m/orders/{order_id}/status", params={"k": "no"})).status_code in (200, 404)
    site.http.cookies.clear()
    assert (await site.http.get(f"/m/orders/{order_id}/status", params={"k": "no"})).status_code == 404
    assert (await site.http.get(f"/m/orders/{order_id}/events", params={"k": "no"})).status_code == 404


async def test_one_address_opens_no_more_than_its_share(site: Buyers) -> None:
    order_id, token = await site.bought()
    async with AsyncExitStack() as stack:
        pages = [await listen(stack, site, order_id, token) for _ in range(live.WATCHERS_PER_ADDRESS_MAX)]
        for page in pages:
            await page.next()
        refused = await site.http.get(f"/m/orders/{order_id}/events", params={"k": token})
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        # Who may not listen may still ask.
        assert (await site.http.get(f"/m/orders/{order_id}/status", params={"k": token})).status_code == 200
    async with AsyncExitStack() as stack:

        async def again() -> bool:
            answer = await listen(stack, site, order_id, token)
            return answer.response.status_code == 200

        from copeck.testkit.waiting import eventually

        await eventually(again, message="a place is free again")


async def test_a_quiet_stream_beats_and_ends_in_time(site: Buyers, monkeypatch: pytest.MonkeyPatch) -> None:
    order_id, token = await site.bought()
    monkeypatch.setattr(live, "BEAT_S", 1.0)
    monkeypatch.setattr("device_bridge.pages.buyers.STREAM_S_MAX", 4.0)
    async with AsyncExitStack() as stack:
        page = await listen(stack, site, order_id, token)
        await page.stage("to_pay")
        assert await page.next() is None
    assert len(page.comments) >= 2


async def test_a_stopping_server_lets_its_pages_go(database_urls: dict[str, str], token_mint: TokenMint) -> None:
    clock = ManualClock(datetime(2026, 11, 30, 9, 0, tzinfo=UTC))
    async with AsyncExitStack() as stack:
        async with buyers_of(database_urls, token_mint, clock) as site:
            await site.open()
            order_id, token = await site.bought()
            page = await listen(stack, site, order_id, token)
            await page.stage("to_pay")
            begun = time.monotonic()
        assert time.monotonic() - begun < STOP_S
