"""Logs as ECS JSON, one line an event: `trace.id` and the correlation id on each, and nothing secret on any.

The standard library's loggers go the same way, so that a library's line looks like ours.
"""

import logging
import os
import sys
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, Literal, TextIO, cast

import orjson
import structlog
from structlog.typing import EventDict, Processor

from copeck.observability.redaction import redact, redact_text
from copeck.observability.trace import current_correlation_id, current_trace

ECS_VERSION = "8.11.0"
_NOISY = {
    "aiormq": logging.WARNING,
    "aio_pika": logging.WARNING,
    "amqp": logging.WARNING,
    # One line for each tick, task and scheduler's turn; what tasks do is logged by them and counted.
    "celery": logging.WARNING,
    "kombu": logging.WARNING,
    "sqlalchemy": logging.WARNING,
    "asyncio": logging.WARNING,
    "httpcore2": logging.WARNING,
    "httpx2": logging.WARNING,
    "alembic": logging.WARNING,
    "uvicorn.access": logging.WARNING,
    # Its pool says with a traceback what the caller logs anyway.
    "psycopg": logging.WARNING,
}


def get_logger(name: str | None = None) -> structlog.stdlib.BoundLogger:
    """Return a logger: `log.info("what_happened", invoice_id=…)`."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def configure_logging(
    service: str,
    level: str = "INFO",
    format: Literal["ecs", "console"] = "ecs",
    stream: TextIO | None = None,
) -> None:
    """Set up all logging of a process; may be called again."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.stdlib.ExtraAdder(),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.UnicodeDecoder(),
        add_trace,
    ]
    if format == "ecs":
        last: list[Processor] = [
            structlog.processors.format_exc_info,
            redact_event,
            EcsFields(service),
            cast("Processor", render_json),
        ]
    else:
        last = [
            structlog.processors.TimeStamper(fmt="%H:%M:%S.%f", utc=False),
            structlog.processors.format_exc_info,
            redact_event,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name, least in _NOISY.items():
        logging.getLogger(name).setLevel(max(least, logging.getLevelName(level) if level != "DEBUG" else 0))
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def add_trace(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Add the ids of the trace that the code runs in."""
    trace = current_trace()
    if trace is not None:
        event.setdefault("trace.id", trace.trace_id)
        event.setdefault("span.id", trace.span_id)
    correlation_id = current_correlation_id()
    if correlation_id is not None:
        event.setdefault("labels.correlation_id", correlation_id)
    return event


def redact_event(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Take out of every field what must not be logged; the last thing before rendering, so nothing is added after."""
    untouched = ("trace.id", "span.id", "labels.correlation_id", "level", "logger")
    kept = {name: event[name] for name in untouched if name in event}
    clean = cast("MutableMapping[str, Any]", redact(event))
    clean.update(kept)
    return clean


class EcsFields:
    """Names the fields as the Elastic Common Schema does; what it does not know goes below `copeck`."""

    def __init__(self, service: str) -> None:
        self._service = service

    def __call__(self, _logger: Any, _method: str, event: EventDict) -> EventDict:
        """Rebuild one event."""
        fields: dict[str, Any] = {
            "@timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "log.level": str(event.pop("level", "info")),
            "message": str(event.pop("event", "")),
            "ecs.version": ECS_VERSION,
            "service.name": self._service,
            "process.pid": os.getpid(),
        }
        if "logger" in event:
            fields["log.logger"] = event.pop("logger")
        exception = event.pop("exception", None)
        if exception:
            fields["error.stack_trace"] = redact_text(str(exception))
            fields["error.type"] = str(exception).strip().rsplit("\n", 1)[-1].split(":", 1)[0][:200]
        own: dict[str, Any] = {}
        for name, value in event.items():
            if "." in name:
                fields[name] = value
            elif not name.startswith("_"):
                own[name] = value
        if own:
            fields["copeck"] = own
        return fields


def render_json(_logger: Any, _method: str, event: Mapping[str, Any]) -> str:
    """Render one line of JSON; a value that JSON does not know becomes text."""
    return orjson.dumps(dict(event), default=str, option=orjson.OPT_NON_STR_KEYS).decode()
