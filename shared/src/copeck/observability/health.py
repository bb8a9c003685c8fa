"""Health: named checks with time-outs. Alive means that the process answers; ready, that it can do its work."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

CHECK_TIMEOUT_S = 2.0
_CACHE_S = 1.0

Check = Callable[[], Awaitable[object]]
RenderMetrics = Callable[[], bytes | Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check found."""

    name: str
    ok: bool
    detail: str
    duration_ms: int


@dataclass(frozen=True, slots=True)
class Report:
    """What all checks found."""

    ok: bool
    checks: tuple[CheckResult, ...]

    def as_dict(self) -> dict[str, object]:
        """Render for `/readyz`; details are error types only, no addresses."""
        return {
            "status": "ok" if self.ok else "unavailable",
            "checks": {
                check.name: {"ok": check.ok, "detail": check.detail, "duration_ms": check.duration_ms}
                for check in self.checks
            },
        }


class Health:
    """The checks of a process: `health.add("database", database.ping)`; a check fails by raising or by its time-out."""

    def __init__(self, timeout_s: float = CHECK_TIMEOUT_S) -> None:
        self._checks: dict[str, Check] = {}
        self._timeout_s = timeout_s
        self._last: tuple[float, Report] | None = None
        self._lock = asyncio.Lock()
        self._stopping = False

    def add(self, name: str, check: Check) -> None:
        """Add a check, or replace the one of that name."""
        self._checks[name] = check

    def stop(self) -> None:
        """Report unavailable from now on, so that no more work is sent here while the process drains."""
        self._stopping = True
        self._last = None

    async def alive(self) -> bool:
        """Tell whether the process lives: that this runs is the answer."""
        return True

    async def ready(self) -> Report:
        """Run all checks at once; a report is good for a second, so that probes cannot wear the servers down."""
        async with self._lock:
            now = time.monotonic()
            if self._last is not None and now - self._last[0] < _CACHE_S:
                return self._last[1]
            results = await asyncio.gather(*(self._run(name, check) for name, check in self._checks.items()))
            if self._stopping:
                results.append(CheckResult("process", ok=False, detail="stopping", duration_ms=0))
            report = Report(all(result.ok for result in results), tuple(results))
            self._last = (time.monotonic(), report)
            return report

    async def _run(self, name: str, check: Check) -> CheckResult:
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout_s):
                await check()
        except TimeoutError:
            ok, detail = False, f"no answer within {self._timeout_s:g} s"
        except Exception as error:  # noqa: BLE001 - any failure of a check is its result
            ok, detail = False, type(error).__name__
        else:
            ok, detail = True, "ok"
        return CheckResult(name, ok, detail, round((time.monotonic() - started) * 1000))


class HealthServer:
    """`/healthz`, `/readyz` and `/metrics` for processes without an HTTP API of their own; plain asyncio."""

    def __init__(self, health: Health, render_metrics: RenderMetrics, port: int, host: str = "127.0.0.1") -> None:
        self._health = health
        self._render_metrics = render_metrics
        self._port = port
        self._host = host
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen; port 0 of the settings means: do not."""
        if self._port:
            self._server = await asyncio.start_server(self._answer, self._host, self._port, limit=8192)

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2):
                    await self._server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(TimeoutError, OSError, ValueError, asyncio.IncompleteReadError):
            async with asyncio.timeout(5):
                request = await reader.readline()
                while (await reader.readline()).strip():
                    pass
                status, kind, body = await self._route(request.split(b" ")[1:2])
                writer.write(
                    b"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
                    % (status, kind, len(body), body)
                )
                await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def _route(self, target: list[bytes]) -> tuple[bytes, bytes, bytes]:
        import orjson

        path = target[0].split(b"?")[0] if target else b""
        if path == b"/healthz":
            return b"200 OK", b"application/json", b'{"status":"ok"}'
        if path == b"/readyz":
            report = await self._health.ready()
            status = b"200 OK" if report.ok else b"503 Service Unavailable"
            return status, b"application/json", orjson.dumps(report.as_dict())
        if path == b"/metrics":
            rendered = self._render_metrics()
            text = rendered if isinstance(rendered, bytes) else await rendered
            return b"200 OK", b"text/plain; version=0.0.4; charset=utf-8", text
        return b"404 Not Found", b"text/plain", b"not found\n"
