"""Health and metrics, out of the database: the same whichever process is asked."""

import asyncio
import threading

from prometheus_client import CollectorRegistry, Gauge

from copeck.messaging.connection import close_connection, open_connection
from copeck.observability.health import Health
from copeck.observability.metrics import render, render_processes
from copeck.storage.engine import SyncDatabase
from reminder_cron import store
from reminder_cron.settings import ReminderSettings

# A tick is late when it did not run for this many intervals, and for at least this long.
_LATE_INTERVALS, _LATE_S_MIN = 6, 60.0


class Figures:
    """What a scrape or a probe reads."""

    def __init__(self, settings: ReminderSettings) -> None:
        self._settings = settings
        self._database = SyncDatabase(settings.database_url, pool_size=1, application="reminders-health")
        self._registry = CollectorRegistry()
        self._lag = Gauge(
            "copeck_reminders_scan_lag_seconds",
            "How far behind a kind of due work is",
            ["kind"],
            registry=self._registry,
        )
        self._age = Gauge(
            "copeck_reminders_last_run_age_seconds", "Since the last tick of a kind", ["kind"], registry=self._registry
        )
        self._claimed = Gauge(
            "copeck_reminders_last_claimed", "Claims of the last tick", ["kind"], registry=self._registry
        )
        self._outbox = Gauge(
            "copeck_reminders_outbox_lag_seconds", "Age of the oldest message not published", registry=self._registry
        )
        self.consuming = threading.Event()

    def health(self, *, worker: bool) -> Health:
        """Return the checks: its servers, and for a worker that it takes tasks."""
        health = Health()
        health.add("database", self._check_database)
        health.add("broker", self._check_broker)
        if worker:
            health.add("worker", self._check_worker)
        return health

    async def render(self) -> bytes:
        """Return the metrics of the processes, and those that the database knows."""
        await asyncio.to_thread(self._refresh)
        return render_processes() + render(self._registry)

    def _refresh(self) -> None:
        with self._database.reading() as tx:
            rows, oldest, now = store.tick_notes(tx), store.oldest_message(tx), store.now(tx)
        for row in rows:
            self._lag.labels(row.kind).set((now - row.scanned_to).total_seconds())
            self._age.labels(row.kind).set((now - row.last_run_at).total_seconds())
            self._claimed.labels(row.kind).set(row.last_claimed)
        self._outbox.set((now - oldest).total_seconds() if oldest else 0)

    async def check_ticks(self) -> None:
        """Raise when invoices are not looked at any more: the schedule or the worker is gone."""
        limit = max(self._settings.expiry_interval_s * _LATE_INTERVALS, _LATE_S_MIN)

        def late() -> list[str]:
            with self._database.reading() as tx:
                rows, now = store.tick_notes(tx), store.now(tx)
            return [row.kind for row in rows if (now - row.last_run_at).total_seconds() > limit]

        if found := await asyncio.to_thread(late):
            raise TimeoutError(f"no tick of {', '.join(found)}")

    async def _check_database(self) -> None:
        await asyncio.to_thread(self._database.ping)

    async def _check_broker(self) -> None:
        await close_connection(await open_connection(self._settings.celery_broker_url, "reminders-health"))

    async def _check_worker(self) -> None:
        if not self.consuming.is_set():
            raise ConnectionError("the worker does not take tasks")
