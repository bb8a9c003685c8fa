"""One trace through HTTP, bus and Celery: W3C `traceparent` and a correlation id, carried in context variables.

A hop that gets a traceparent goes on with its trace under a span id of its own; a hop that gets none, or a bad one,
starts a trace. The correlation id holds a whole business story together (one purchase), across traces.
"""

import re
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

_TRACEPARENT = re.compile(r"^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$")
_CORRELATION = re.compile(r"^[A-Za-z0-9_.:\-]{1,128}$")

TRACEPARENT_HEADER = "traceparent"
CORRELATION_HEADER = "x-correlation-id"


@dataclass(frozen=True, slots=True)
class Trace:
    """Where in a trace this code runs."""

    trace_id: str
    span_id: str
    sampled: bool = True
    parent_span_id: str | None = None

    @property
    def traceparent(self) -> str:
        """The header to send on: this span is the parent of what comes next."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


class Traced(Protocol):
    """Anything that carries trace ids, as an envelope does."""

    @property
    def traceparent(self) -> str | None:
        """W3C traceparent of the sender."""

    @property
    def correlation_id(self) -> str | None:
        """The story that the message belongs to."""


_trace: ContextVar[Trace | None] = ContextVar("copeck_trace", default=None)
_correlation: ContextVar[str | None] = ContextVar("copeck_correlation", default=None)


def parse_traceparent(value: str | None) -> Trace | None:
    """Read a traceparent by the W3C's rules; None for anything that is not one."""
    found = _TRACEPARENT.match(value.strip().lower()) if value and len(value) <= 200 else None
    if found is None:
        return None
    version, trace_id, span_id, flags, rest = found.groups()
    if version == "ff" or (version == "00" and rest) or set(trace_id) == {"0"} or set(span_id) == {"0"}:
        return None
    return Trace(trace_id, span_id, bool(int(flags, 16) & 1))


def start_trace(traceparent: str | None = None) -> Trace:
    """Go on with the trace of a traceparent, or start one."""
    parent = parse_traceparent(traceparent)
    if parent is None:
        return Trace(secrets.token_hex(16), secrets.token_hex(8))
    return Trace(parent.trace_id, secrets.token_hex(8), parent.sampled, parent.span_id)


def current_trace() -> Trace | None:
    """Return the trace that this code runs in."""
    return _trace.get()


def current_traceparent() -> str | None:
    """Return the traceparent to send on, if there is a trace."""
    trace = _trace.get()
    return trace.traceparent if trace else None


def current_correlation_id() -> str | None:
    """Return the correlation id to send on, if there is one."""
    return _correlation.get()


def valid_correlation_id(value: str | None) -> str | None:
    """Return the id if it is one: it goes into logs and headers, so nothing else may."""
    return value if value and _CORRELATION.match(value) else None


@contextmanager
def trace_scope(traceparent: str | None = None, correlation_id: str | None = None) -> Iterator[Trace]:
    """Run a block in a trace; without a correlation id the trace's id is it."""
    trace = start_trace(traceparent)
    trace_token = _trace.set(trace)
    correlation_token = _correlation.set(valid_correlation_id(correlation_id) or trace.trace_id)
    try:
        yield trace
    finally:
        _trace.reset(trace_token)
        _correlation.reset(correlation_token)


@contextmanager
def message_scope(message: Traced) -> Iterator[Trace]:
    """Run a handler in the trace of the message that it handles."""
    with trace_scope(message.traceparent, message.correlation_id) as trace:
        yield trace


def outgoing_headers() -> dict[str, str]:
    """Return the headers of an HTTP request or a Celery task that this code sends."""
    headers: dict[str, str] = {}
    traceparent, correlation_id = current_traceparent(), current_correlation_id()
    if traceparent:
        headers[TRACEPARENT_HEADER] = traceparent
    if correlation_id:
        headers[CORRELATION_HEADER] = correlation_id
    return headers


@contextmanager
def headers_scope(headers: Mapping[str, Any]) -> Iterator[Trace]:
    """Run a block in the trace that `outgoing_headers` of the other side described."""
    traceparent, correlation_id = headers.get(TRACEPARENT_HEADER), headers.get(CORRELATION_HEADER)
    with trace_scope(
        traceparent if isinstance(traceparent, str) else None,
        correlation_id if isinstance(correlation_id, str) else None,
    ) as trace:
        yield trace


_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_App = Callable[[_Scope, _Receive, _Send], Awaitable[None]]


class TraceMiddleware:
    """ASGI middleware: every request runs in a trace, and the answer names it (`traceparent`, `x-correlation-id`)."""

    def __init__(self, app: _App) -> None:
        self._app = app

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        incoming: dict[str, str] = {}
        for name, value in scope.get("headers", ()):
            if name in (b"traceparent", b"x-correlation-id"):
                incoming[name.decode("latin-1")] = value.decode("latin-1")

        with headers_scope(incoming):
            answer = [(name.encode(), value.encode()) for name, value in outgoing_headers().items()]

            async def send_with_trace(message: MutableMapping[str, Any]) -> None:
                if message["type"] == "http.response.start":
                    message["headers"] = [*message.get("headers", ()), *answer]
                await send(message)

            await self._app(scope, receive, send_with_trace)
