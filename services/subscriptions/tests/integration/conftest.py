"""Fixtures of the integration tests: the service's context on a real database, at a moment of our choice."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from copeck.kernel.clock import ManualClock
from copeck.storage.engine import Database
from services.subscriptions.tests.world import World
from subscriptions.handlers.context import Context
from subscriptions.settings import SubscriptionsSettings


@pytest.fixture
def moment() -> ManualClock:
    return ManualClock(datetime(2026, 1, 31, 12, 0, tzinfo=UTC))


@pytest.fixture
async def world(database_urls: dict[str, str], moment: ManualClock) -> AsyncIterator[World]:
    settings = SubscriptionsSettings(database_url=database_urls["subscriptions"], public_url="http://cinema.test")
    database = Database(settings.database_url, pool_size=5, application="test")
    yield World(Context(database, settings, moment), moment)
    await database.close()
