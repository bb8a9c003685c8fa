"""Fixtures of the integration tests: the service's context on a real database, at a moment of our choice."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from copeck.kernel.clock import ManualClock
from copeck.storage.engine import Database
from device_bridge.handlers.context import Context
from device_bridge.settings import DevicesSettings

from .fleet import Fleet, Machines


@pytest.fixture
def morning() -> ManualClock:
    return ManualClock(datetime(2026, 5, 4, 8, 0, tzinfo=UTC))


@pytest.fixture
def device_settings(database_urls: dict[str, str]) -> DevicesSettings:
    return DevicesSettings(database_url=database_urls["devices"], device_secret="s" * 40)  # type: ignore[arg-type]


@pytest.fixture
async def fleet(
    database_urls: dict[str, str], device_settings: DevicesSettings, morning: ManualClock
) -> AsyncIterator[Fleet]:
    database = Database(device_settings.database_url, pool_size=5, application="test")
    machines = Machines()
    context = Context(database, device_settings, morning, drivers=machines)
    yield Fleet(context, morning, machines, database_urls["admin"])
    await database.close()
