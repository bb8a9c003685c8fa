"""The command line of the service, each command as a process."""

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

pytestmark = pytest.mark.integration

Environment = Callable[..., dict[str, str]]


async def run(environment: dict[str, str], *arguments: str, status: int = 0) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "subscriptions",
        *arguments,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == status, err.decode()
    return out.decode()


@pytest.fixture
def environment(service_environment: Environment) -> dict[str, str]:
    return service_environment("subscriptions", "subscriptions")


async def test_help_names_every_command(environment: dict[str, str]) -> None:
    said = await run(environment, "--help")
    for name in ("serve", "migrate", "seed-demo", "run-due", "openapi"):
        assert name in said


@pytest.mark.covers("subscriptions migrate")
async def test_migrate_finds_nothing_to_do(environment: dict[str, str], database_urls: dict[str, str]) -> None:
    said = await run(environment, "migrate", "--database-url", database_urls["copeck_migrator"])
    assert "up to date" in said


@pytest.mark.covers("subscriptions seed-demo")
async def test_the_demo_is_seeded_by_command_once(environment: dict[str, str], database_urls: dict[str, str]) -> None:
    await run(environment, "seed-demo")
    with psycopg.connect(database_urls["admin"], autocommit=True) as connection:
        first = connection.execute("SELECT count(*) FROM subscriptions.prices").fetchone()
        await run(environment, "seed-demo")
        assert connection.execute("SELECT count(*) FROM subscriptions.prices").fetchone() == first
    assert first is not None
    assert first[0] > 0


@pytest.mark.covers("subscriptions run-due")
async def test_due_work_is_done_once_by_command(environment: dict[str, str]) -> None:
    assert "looked at 0 subscriptions" in await run(environment, "run-due")


@pytest.mark.covers("subscriptions openapi")
@pytest.mark.parametrize(("api", "path"), [("client", "/subscriptions/api/v1/plans"), ("admin", "/admin/api/v1/plans")])
async def test_documents_are_printed(environment: dict[str, Any], api: str, path: str) -> None:
    assert path in json.loads(await run(environment, "openapi", "--api", api))["paths"]


@pytest.mark.covers("subscriptions serve")
async def test_an_unknown_listener_is_refused(environment: dict[str, str]) -> None:
    await run(environment, "serve", "--listener", "nobody", status=2)
