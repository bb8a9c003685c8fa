"""The pytest plugin: servers' corners that belong to the test run alone.

Servers come from COPECK_TEST_POSTGRES_URL (a superuser's URL), COPECK_TEST_RABBITMQ_URL, COPECK_TEST_MANAGEMENT_URL and
COPECK_TEST_REDIS_URL; without them, from the standard ports of this machine. Each xdist worker has a database and a
pair of virtual hosts; they are emptied before each test that asks for them, and dropped after the run.
"""

import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from copeck.kernel.clock import ManualClock

if TYPE_CHECKING:
    from copeck.testkit.postgres import TestDatabases
    from copeck.testkit.rabbit import Broker
    from copeck.testkit.tokens import TokenMint

REDIS_URL = os.environ.get("COPECK_TEST_REDIS_URL", "redis://127.0.0.1:6379")
_RUN_VARIABLE = "COPECK_TEST_RUN"
_made: set[str] = set()


def pytest_configure(config: pytest.Config) -> None:
    """Name the run; workers inherit the name from the process that started them."""
    if not hasattr(config, "workerinput"):
        os.environ[_RUN_VARIABLE] = f"{os.getpid()}x{secrets.token_hex(3)}"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Remove what the run made, once all workers are done."""
    if hasattr(session.config, "workerinput"):
        return
    run = os.environ.get(_RUN_VARIABLE, "")
    parallel = bool(getattr(session.config.option, "numprocesses", None))
    if run and (parallel or "postgres" in _made):
        from copeck.testkit.postgres import TestDatabases

        with suppress(Exception):
            TestDatabases(run).drop_all()
    if run and (parallel or "rabbitmq" in _made):
        from copeck.testkit.rabbit import drop_hosts

        with suppress(Exception):
            drop_hosts(run)


@pytest.fixture(scope="session")
def worker_name() -> str:
    """Return the xdist worker's name, `gw0`, or `main` without xdist."""
    return os.environ.get("PYTEST_XDIST_WORKER", "main")


@pytest.fixture(scope="session")
def test_databases() -> "TestDatabases":
    """Return the databases of the run, with the template ready."""
    from copeck.testkit.postgres import TestDatabases

    databases = TestDatabases(os.environ[_RUN_VARIABLE])
    _made.add("postgres")
    databases.create_template()
    return databases


@pytest.fixture(scope="session")
def worker_database(test_databases: "TestDatabases", worker_name: str) -> str:
    """Return the name of the worker's own database."""
    return test_databases.create(worker_name)


@pytest.fixture
def database_urls(worker_database: str) -> dict[str, str]:
    """Return URLs by role (and `admin`) of a database with every service's tables, all empty."""
    from copeck.testkit.postgres import empty, urls_of

    empty(worker_database)
    return urls_of(worker_database)


@pytest.fixture(scope="session")
def worker_broker(worker_name: str) -> "Broker":
    """Return the worker's own virtual hosts, as the last test left them."""
    from copeck.testkit.rabbit import create_broker

    _made.add("rabbitmq")
    return create_broker(os.environ[_RUN_VARIABLE], worker_name)


@pytest.fixture
async def broker(worker_broker: "Broker") -> "Broker":
    """Return virtual hosts with the whole topology and every user, all queues empty."""
    await worker_broker.empty()
    return worker_broker


@pytest.fixture
async def redis_url(worker_name: str) -> AsyncIterator[str]:
    """Return the URL of a Redis database of the worker's own, empty."""
    import redis.asyncio

    number = 1 + int(worker_name.removeprefix("gw") if worker_name.startswith("gw") else 0) % 15
    url = f"{REDIS_URL.rstrip('/')}/{number}"
    client = redis.asyncio.from_url(url)
    try:
        await client.flushdb()
        yield url
    finally:
        await client.aclose()


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock that stands at the present moment until it is moved."""
    return ManualClock(datetime.now(UTC).replace(microsecond=0))


@pytest.fixture(scope="session")
def token_mint() -> "TokenMint":
    """Return what signs tokens for tests."""
    from copeck.testkit.tokens import TokenMint

    return TokenMint()


@pytest.fixture(scope="session")
def jwks_url(token_mint: "TokenMint") -> Iterator[str]:
    """Return the URL at which the mint's keys are served."""
    from copeck.testkit.tokens import JwksServer

    server = JwksServer(token_mint)
    server.start()
    yield server.url
    server.stop()


@pytest.fixture
def service_environment(
    database_urls: dict[str, str], broker: "Broker", redis_url: str, jwks_url: str
) -> Callable[..., dict[str, str]]:
    """Return a function that gives the environment of a service's process: `(role, user, **more settings)`."""

    def environment(role: str, user: str, **more: str) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("COPECK_")}
        values = {
            "COPECK_DATABASE_URL": database_urls[role],
            "COPECK_BROKER_URL": broker.urls[user],
            "COPECK_REDIS_URL": redis_url,
            "COPECK_JWKS_URL": jwks_url,
        }
        if user in broker.celery_urls:
            values["COPECK_CELERY_BROKER_URL"] = broker.celery_urls[user]
        return {**inherited, **values, **{f"COPECK_{name.upper()}": value for name, value in more.items()}}

    return environment
