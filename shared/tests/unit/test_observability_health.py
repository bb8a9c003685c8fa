"""Health: checks with time-outs, at once, cached for a moment; the plain server that answers for them."""

import asyncio
import socket
import time

import httpx2

from copeck.observability.health import Health, HealthServer
from copeck.observability.metrics import MetricsServer, render, render_processes
from copeck.observability.sidecar import Sidecar


async def good() -> None:
    return None


async def bad() -> None:
    raise ConnectionError("secret-host:5432 refused")


async def slow() -> None:
    await asyncio.sleep(60)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def test_all_checks_run_at_once_and_end_in_time() -> None:
    health = Health(timeout_s=0.1)
    for number in range(5):
        health.add(f"slow-{number}", slow)
    health.add("good", good)
    health.add("bad", bad)
    started = time.monotonic()
    report = await health.ready()
    assert time.monotonic() - started < 0.5
    assert not report.ok
    found = {check.name: check for check in report.checks}
    assert found["good"].ok
    assert found["bad"].detail == "ConnectionError"
    assert "0.1 s" in found["slow-0"].detail
    assert "secret-host" not in str(report.as_dict())
    assert await health.alive()


async def test_a_report_is_good_for_a_moment() -> None:
    calls: list[int] = []

    async def count() -> None:
        calls.append(1)

    health = Health()
    health.add("count", count)
    await asyncio.gather(*(health.ready() for _ in range(20)))
    assert len(calls) == 1
    assert (await health.ready()).ok
    health.stop()
    report = await health.ready()
    assert not report.ok
    assert report.as_dict()["status"] == "unavailable"


async def test_the_server_answers_probes_and_scrapes() -> None:
    health, port = Health(), free_port()
    health.add("good", good)
    server = HealthServer(health, render, port)
    await server.start()
    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            assert (await client.get("/healthz")).json() == {"status": "ok"}
            assert (await client.get("/readyz?x=1")).json()["checks"]["good"]["ok"]
            metrics = await client.get("/metrics")
            assert "copeck_outbox_lag_seconds" in metrics.text
            assert metrics.headers["content-type"].startswith("text/plain")
            assert (await client.get("/else")).status_code == 404
            health.stop()
            assert (await client.get("/readyz")).status_code == 503
        for junk in (b"\r\n\r\n", b"GET\r\n\r\n", b"\x00\xff\r\n\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(junk)
            assert (await reader.read()).startswith(b"HTTP/1.1 404")
            writer.close()
            await writer.wait_closed()
    finally:
        await server.stop()


def test_the_sidecar_answers_from_its_own_thread() -> None:
    port = free_port()

    async def rendered() -> bytes:
        return b"a 1\n"

    sidecar = Sidecar(Health(), rendered, port)
    sidecar.start()
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        assert client.get("/readyz").status_code == 200
        assert client.get("/metrics").text == "a 1\n"
    sidecar.stop()


def test_the_metrics_server_serves_and_stops() -> None:
    port = free_port()
    server = MetricsServer(port)
    server.start()
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        assert "copeck_messages_consumed_total" in client.get("/metrics").text
    server.stop()
    MetricsServer(0).start()
    # The same metrics; what they count goes on between the two.
    assert names_in(render_processes()) == names_in(render())


def names_in(metrics: bytes) -> set[bytes]:
    return {line.split(b" ")[0].split(b"{")[0] for line in metrics.splitlines()}
