"""The command line of the device service, each command as a process."""

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from copeck.testkit.waiting import eventually

pytestmark = pytest.mark.integration

Environment = Callable[..., dict[str, str]]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def environment(service_environment: Environment, port: int) -> dict[str, str]:
    values = service_environment(
        "devices", "devices", device_secret="s" * 40, listen_port=str(port), metrics_port=str(port)
    )
    return {**values, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "COLUMNS": "120"}


async def start(environment: dict[str, str], *arguments: str, **pipes: Any) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "device_bridge", *arguments, env=environment, **pipes
    )


async def run(environment: dict[str, str], *arguments: str, status: int = 0) -> str:
    pipe = asyncio.subprocess.PIPE
    process = await start(environment, *arguments, stdout=pipe, stderr=pipe)
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == status, err.decode()
    return out.decode()


@asynccontextmanager
async def running(environment: dict[str, str], command: str, port: int) -> AsyncIterator[httpx2.AsyncClient]:
    """Run a process until the block ends; it must stop by itself then."""
    process = await start(environment, command)
    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as http:

            async def ready() -> bool:
                assert process.returncode is None, "the process ended"
                try:
                    return (await http.get("/readyz")).status_code == 200
                except httpx2.HTTPError:
                    return False

            await eventually(ready, timeout_s=60)
            yield http
        process.terminate()
        async with asyncio.timeout(30):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_help_names_every_command(environment: dict[str, str]) -> None:
    said = await run(environment, "--help")
    for name in ("serve", "worker", "migrate", "run-due", "openapi"):
        assert name in said


@pytest.mark.covers("device_bridge migrate")
async def test_migrate_finds_nothing_to_do(environment: dict[str, str], database_urls: dict[str, str]) -> None:
    said = await run(environment, "migrate", "--database-url", database_urls["copeck_migrator"])
    assert "up to date" in said


@pytest.mark.covers("device_bridge run-due")
async def test_due_work_is_done_once_by_command(environment: dict[str, str]) -> None:
    assert "looked at 0 commands" in await run(environment, "run-due")


@pytest.mark.covers("device_bridge openapi")
async def test_the_document_is_printed(environment: dict[str, str]) -> None:
    document = json.loads(await run(environment, "openapi"))
    assert "/devices/api/v1/orders/{order_id}" in document["paths"]


@pytest.mark.covers("device_bridge serve")
async def test_the_server_answers_and_stops_when_told_to(environment: dict[str, str], port: int) -> None:
    async with running(environment, "serve", port) as http:
        assert (await http.get("/devices/api/v1/openapi.json")).status_code == 200
        assert (await http.get("/devices/api/v1/devices")).status_code == 401
        missing = await http.get("/m/kofe-17", headers={"Accept": "text/html"})
        assert missing.status_code == 404
        assert "text/html" in missing.headers["Content-Type"]


@pytest.mark.covers("device_bridge serve")
async def test_without_a_secret_worth_the_name_nothing_is_served(environment: dict[str, str]) -> None:
    await run({**environment, "COPECK_DEVICE_SECRET": "short"}, "serve", status=1)


@pytest.mark.covers("device_bridge worker")
async def test_the_worker_is_ready_and_stops_when_told_to(environment: dict[str, str], port: int) -> None:
    async with running(environment, "worker", port) as http:
        assert "copeck_" in (await http.get("/metrics")).text
