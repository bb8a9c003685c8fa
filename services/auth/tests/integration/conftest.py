"""The service in this process, for the tests of its HTTP interface."""

from collections.abc import AsyncIterator

import httpx2
import pytest

from auth.context import Context
from auth.main import build_app
from copeck.kernel.clock import ManualClock
from copeck.storage.engine import Database
from tests.support.auth_stack import Stack, settings_for


@pytest.fixture
async def stack(database_urls: dict[str, str], clock: ManualClock) -> AsyncIterator[Stack]:
    settings = settings_for(database_urls["auth"])
    context = Context.build(settings, Database(settings.database_url, 8), clock=clock)
    app = build_app(settings, context)
    async with app.router.lifespan_context(app):
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://auth.test") as client:
            yield Stack(client, context, database_urls["admin"])
