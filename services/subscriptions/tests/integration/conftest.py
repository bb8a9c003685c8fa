"""Fixtures of the integration tests: the service's context on a real database, at a moment of our choice."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx2
import pytest

from copeck.kernel.clock import ManualClock
from copeck.storage.engine import Database
from copeck.testkit.tokens import TokenMint
from copeck.web.keys import StaticKeys
from services.subscriptions.tests.world import World
from subscriptions.handlers.context import Context
from subscriptions.service import build_app
from subscriptions.settings import SubscriptionsSettings


@pytest.fixture
def moment() -> ManualClock:
    return ManualClock(datetime(2026, 1, 31, 12, 0, tzinfo=UTC))


@pytest.fixture
def settings(database_urls: dict[str, str]) -> SubscriptionsSettings:
    return SubscriptionsSettings(database_url=database_urls["subscriptions"], public_url="http://cinema.test")


@pytest.fixture
async def world(
    database_urls: dict[str, str], settings: SubscriptionsSettings, moment: ManualClock
) -> AsyncIterator[World]:
    database = Database(settings.database_url, pool_size=5, application="test")
    yield World(Context(database, settings, moment), moment, database_urls["admin"])
    await database.close()


@pytest.fixture
async def http(
    settings: SubscriptionsSettings, moment: ManualClock, token_mint: TokenMint
) -> AsyncIterator[httpx2.AsyncClient]:
    """The whole application without the bus: what it sends waits in the outbox, where tests look at it."""
    app = build_app(settings, clock=moment, keys=StaticKeys(token_mint.jwks()), with_bus=False)
    async with app.router.lifespan_context(app):
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://cinema.test") as client:
            yield client
