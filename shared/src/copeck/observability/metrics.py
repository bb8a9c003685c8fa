"""Prometheus metrics: those that every service has, and helpers for its own.

Labels hold names from code only (queues, message types, outcomes), never ids or text from outside.
"""

import os
import threading
from wsgiref.simple_server import WSGIServer

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    start_http_server,
)
from prometheus_client.multiprocess import MultiProcessCollector

__all__ = [
    "CONTENT_TYPE_LATEST",
    "LATENCY_BUCKETS",
    "REGISTRY",
    "CollectorRegistry",
    "Counter",
    "Gauge",
    "Histogram",
    "MetricsServer",
    "render",
    "render_processes",
]

LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

MESSAGES_CONSUMED = Counter(
    "copeck_messages_consumed_total",
    "Messages taken from a queue, by what became of them",
    ["queue", "type", "outcome"],
)
MESSAGE_SECONDS = Histogram(
    "copeck_message_seconds", "From delivery to acknowledgement", ["queue", "type"], buckets=LATENCY_BUCKETS
)
MESSAGE_RETRIES = Counter("copeck_message_retries_total", "Handler runs repeated in place", ["queue", "type"])
CONSUMER_CONNECTED = Gauge("copeck_consumer_connected", "1 while the consumer holds its queue", ["queue"])

OUTBOX_LAG = Gauge("copeck_outbox_lag_seconds", "Age of the oldest message that is not confirmed", ["outbox"])
OUTBOX_LEADER = Gauge("copeck_outbox_leader", "1 in the process that publishes this outbox", ["outbox"])
OUTBOX_PUBLISHED = Counter("copeck_outbox_published_total", "Messages confirmed by the broker", ["outbox"])
OUTBOX_FAILURES = Counter(
    "copeck_outbox_failures_total", "Messages that the broker did not take, by the way it said so", ["outbox", "kind"]
)
OUTBOX_BLOCKED = Gauge(
    "copeck_outbox_blocked_routes", "Routes whose oldest message is not taken by the broker", ["outbox"]
)

TASKS = Counter("copeck_tasks_total", "Celery tasks that ran, by outcome", ["task", "outcome"])
TASK_SECONDS = Histogram("copeck_task_seconds", "How long Celery tasks ran", ["task"], buckets=LATENCY_BUCKETS)
TASK_SEND_FAILURES = Counter(
    "copeck_task_send_failures_total",
    "Tasks that could not be sent after a commit; a janitor finds their rows",
    ["task"],
)


def render(registry: CollectorRegistry = REGISTRY) -> bytes:
    """Return all metrics in Prometheus' text format."""
    return generate_latest(registry)


def render_processes() -> bytes:
    """Return the metrics of all processes that share them through PROMETHEUS_MULTIPROC_DIR, or else of this one.

    Celery's children count in their own memory; the folder has to be named before this module is imported.
    """
    if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        return render()
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return render(registry)


class MetricsServer:
    """`/metrics` over HTTP for processes that have no API of their own."""

    def __init__(self, port: int, host: str = "127.0.0.1", registry: CollectorRegistry = REGISTRY) -> None:
        self._port = port
        self._host = host
        self._registry = registry
        self._server: WSGIServer | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Serve in a thread of its own; port 0 of the settings means: do not serve."""
        if self._port:
            self._server, self._thread = start_http_server(self._port, self._host, self._registry)

    def stop(self) -> None:
        """Stop serving."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join(timeout=5)
            self._server = None
