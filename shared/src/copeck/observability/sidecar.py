"""Health and metrics of a process whose main thread belongs to somebody else: Celery's worker and beat."""

import asyncio
import threading

from copeck.observability.health import Health, HealthServer, RenderMetrics

_TIMEOUT_S = 10.0


class Sidecar:
    """Answers `/healthz`, `/readyz` and `/metrics` from a thread with an event loop of its own."""

    def __init__(self, health: Health, render: RenderMetrics, port: int, host: str = "127.0.0.1") -> None:
        self._server = HealthServer(health, render, port, host)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="health", daemon=True)

    def start(self) -> None:
        """Begin to answer; raises when the port is taken."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._server.start(), self._loop).result(timeout=_TIMEOUT_S)

    def stop(self) -> None:
        """Stop answering."""
        asyncio.run_coroutine_threadsafe(self._server.stop(), self._loop).result(timeout=_TIMEOUT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=_TIMEOUT_S)
        self._loop.close()
