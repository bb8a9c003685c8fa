"""The worker's process: Celery, and beside it health and metrics on a port of their own."""

import asyncio
import os
import threading

from celery.signals import worker_ready, worker_shutting_down
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from copeck.messaging.celery import worker_command
from copeck.messaging.connection import close_connection, open_connection
from copeck.observability.health import Health, HealthServer
from copeck.observability.metrics import render
from copeck.storage.engine import Database
from device_bridge.settings import DevicesSettings
from device_bridge.tasks import app

_STOP_TIMEOUT_S = 5.0


class Sidecar:
    """Answers `/healthz`, `/readyz` and `/metrics` from a thread, while Celery owns the main one."""

    def __init__(self, settings: DevicesSettings) -> None:
        self._settings = settings
        self._consuming = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="health", daemon=True)
        worker_ready.connect(self._on_ready, weak=False)
        worker_shutting_down.connect(self._on_stopping, weak=False)

    def start(self) -> None:
        """Begin to answer, if the settings name a port."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result(timeout=_STOP_TIMEOUT_S)

    async def _serve(self) -> None:
        database = Database(self._settings.database_url, pool_size=1, application="device-worker-health")
        health = Health()
        health.add("database", database.ping)
        health.add("broker", self._broker)
        health.add("worker", self._worker)
        server = HealthServer(health, render_all, self._settings.metrics_port, self._settings.listen_host)
        await server.start()

    async def _broker(self) -> None:
        await close_connection(await open_connection(self._settings.celery_broker_url, "device-worker-health"))

    async def _worker(self) -> None:
        if not self._consuming.is_set():
            raise ConnectionError("the worker does not consume")

    def _on_ready(self, **_: object) -> None:
        self._consuming.set()

    def _on_stopping(self, **_: object) -> None:
        self._consuming.clear()


def render_all() -> bytes:
    """Return the metrics of all the worker's processes, which share them through files."""
    if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        return render()
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return render(registry)


def run(settings: DevicesSettings, concurrency: int) -> None:
    """Run the worker until it is told to stop; a warm stop finishes the tasks under way."""
    Sidecar(settings).start()
    app.worker_main(worker_command("devices", concurrency))
