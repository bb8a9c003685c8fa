"""What stands around every route: error boundary, time-out, host check, body limit, text check, security headers."""

import asyncio
import json
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

from prometheus_client import Counter, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from copeck.observability.logs import get_logger
from copeck.storage.errors import is_transient
from copeck.web.csp import API_POLICY
from copeck.web.problems import Problem, current_trace_id, problem_response, unavailable

_log = get_logger(__name__)
_access = get_logger("copeck.web.access")
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
_REQUESTS = Counter("copeck_http_requests_total", "Answered requests.", ["method", "route", "status"])
_SECONDS = Histogram(
    "copeck_http_request_seconds",
    "Time to the end of the answer.",
    ["method", "route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# How JSON can say a null byte or half of a surrogate pair; anything else cannot yield text that Postgres refuses.
_SUSPECT = re.compile(rb"\\u0000|\\u[dD][89a-fA-F]")
_JSON_DEPTH_MAX = 64
_FORM_NULLS: Mapping[str, tuple[bytes, ...]] = {
    "application/x-www-form-urlencoded": (b"\x00", b"%00"),
    "multipart/form-data": (b"\x00",),
}
"""How a form can say a null byte."""


async def _answer(scope: Scope, receive: Receive, send: Send, problem: Problem) -> None:
    response = problem_response(problem, instance=scope.get("path"), trace_id=current_trace_id())
    await response(scope, receive, send)


class ErrorBoundary:
    """The last resort: logs what nobody foresaw, and answers 500 without its text; 503 when the time is over.

    It also counts requests, by the route's template and never by the path.
    """

    def __init__(self, app: ASGIApp, *, timeout_s: float) -> None:
        self.app = app
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application within the time."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, route = 0, "none"

        async def counted(message: Message) -> None:
            nonlocal status, route
            if message["type"] == "http.response.start":
                # Only now is the route known: the framework forgets it as the request leaves its router.
                status, route = message["status"], route_template(scope)
            await send(message)

        begun = time.perf_counter()
        try:
            async with asyncio.timeout(self._timeout_s) as deadline:
                await self.app(scope, receive, counted)
        except Exception as error:
            timed_out = isinstance(error, TimeoutError) and deadline.expired()
            _log.error("request failed", path=scope["path"], method=scope["method"], exc_info=error)
            if status:
                # The answer has begun: breaking the connection is the only way left to say that it is not whole.
                raise
            if timed_out:
                problem = Problem(503, "timed-out", "It took too long", "Try again", headers={"Retry-After": "1"})
            elif is_transient(error):
                problem = unavailable("The storage does not answer at the moment")
            else:
                problem = Problem(500, "internal", "Something went wrong", "The error was recorded; quote the trace_id")
            await _answer(scope, receive, counted, problem)
        finally:
            self._count(scope, route, status, time.perf_counter() - begun)

    @staticmethod
    def _count(scope: Scope, route: str, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        _REQUESTS.labels(method, route, str(status)).inc()
        _SECONDS.labels(method, route).observe(seconds)
        if scope["path"] in _QUIET:
            return
        fields = {
            "http.request.method": method,
            "url.path": scope["path"],
            "http.route": route,
            "http.response.status_code": status,
            "event.duration": int(seconds * 1_000_000_000),
            "source.ip": (scope.get("client") or ("",))[0],
        }
        # The query is left out: people put into it what does not belong there.
        _access.info("request", **fields)


def route_template(scope: Scope) -> str:
    """Return the path of the route that answered, with its parameters unfilled; "none" when there was none."""
    context = scope.get("fastapi", {}).get("effective_route_context")
    return str(getattr(context, "path", None) or getattr(scope.get("route"), "path", None) or "none")


class HostCheck:
    """Refuses requests to hosts that we do not serve; `*` allows all, `*.example.org` a domain's."""

    def __init__(self, app: ASGIApp, *, allowed: Sequence[str]) -> None:
        self.app = app
        self._any = "*" in allowed
        self._exact = {host.lower() for host in allowed if not host.startswith("*")}
        self._suffixes = tuple(host[1:].lower() for host in allowed if host.startswith("*."))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let known hosts through."""
        if scope["type"] == "http" and not self._any and not self._known(scope):
            problem = Problem(
                400, "unknown-host", "The host is not known", "The Host header names no host of ours", "Host"
            )
            await _answer(scope, receive, send, problem)
            return
        await self.app(scope, receive, send)

    def _known(self, scope: Scope) -> bool:
        host = Headers(scope=scope).get("host", "").rsplit(":", 1)[0].lower()
        return host in self._exact or host.endswith(self._suffixes or ("\x00",))


class BodyGuard:
    """Reads the body up to the limit before any route sees it, and refuses text that no database column can hold.

    The limit holds for chunked bodies too. JSON with a null character or half a surrogate pair answers 422; so does a
    form, a path or a query with a null byte. Bodies for `raw_prefixes` (provider callbacks, kept as they are) are not
    read. `bytes_max_of` names paths that have a limit of their own.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        bytes_max: int,
        raw_prefixes: Sequence[str] = (),
        bytes_max_of: Mapping[str, int] | None = None,
    ) -> None:
        self.app = app
        self._bytes_max = bytes_max
        self._bytes_max_of = dict(bytes_max_of or {})
        self._raw_prefixes = tuple(raw_prefixes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request whose body is whole, small enough and clean."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = b""
        try:
            is_raw = scope["path"].startswith(self._raw_prefixes or ("\x00",))
            _check_address(scope, is_raw=is_raw)
            headers = Headers(scope=scope)
            if headers.get("content-length") or headers.get("transfer-encoding"):
                bytes_max = self._bytes_max_of.get(scope["path"], self._bytes_max)
                body = await self._read(headers, receive, bytes_max)
                if body is None:
                    return
                if not is_raw:
                    _check_text(headers.get("content-type", ""), body)
        except Problem as problem:
            await _answer(scope, receive, send, problem)
            return
        sent = False

        async def replay() -> Message:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, replay, send)

    async def _read(self, headers: Headers, receive: Receive, bytes_max: int) -> Any:
        """Return the body, or None when the client went away."""
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > bytes_max:
            raise _too_large(bytes_max)
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > bytes_max:
                raise _too_large(bytes_max)
            if not message.get("more_body", False):
                return b"".join(chunks)


def _too_large(bytes_max: int) -> Problem:
    return Problem(
        413,
        "body-too-large",
        "The body is too large",
        f"A body may have {bytes_max} bytes",
        "body",
        headers={"Connection": "close"},
    )


def _check_address(scope: Scope, *, is_raw: bool) -> None:
    """Refuse null bytes and broken UTF-8 in the path and the query: they could name nothing that exists.

    A raw path's query is not looked into: a provider may send its callback in it, in an encoding of its own.
    """
    path = scope.get("raw_path") or scope["path"].encode("utf-8", "replace")
    for name, raw in (("path", path), ("query", b"" if is_raw else scope["query_string"])):
        decoded = unquote_to_bytes(raw)
        try:
            decoded.decode("utf-8")
        except UnicodeDecodeError:
            raise _bad_text(name) from None
        if b"\x00" in decoded:
            raise _bad_text(name)


def _check_text(content_type: str, body: bytes) -> None:
    content_type = content_type.lower()
    if any(null in body for null in _FORM_NULLS.get(content_type.partition(";")[0].strip(), ())):
        raise _bad_text("body")
    if "json" not in content_type or not _SUSPECT.search(body):
        return
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        # The route will say what is wrong with it.
        return
    found = _unstorable(parsed, "", _JSON_DEPTH_MAX)
    if found is not None:
        raise _bad_text(found or "body")


def _unstorable(value: Any, path: str, depth: int) -> str | None:
    """Return the path of the first text that cannot be stored."""
    if isinstance(value, str):
        return path if _is_unstorable(value) else None
    if depth == 0:
        return path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if isinstance(key, str) and _is_unstorable(key):
            return path
        found = _unstorable(item, f"{path}.{key}".lstrip("."), depth - 1)
        if found is not None:
            return found
    return None


def _is_unstorable(text: str) -> bool:
    return "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text)


def _bad_text(field: str) -> Problem:
    detail = f"{field[:100]} holds a character that is not allowed: a null, or half of a surrogate pair"
    return Problem(422, "invalid-text", "The text is not valid", detail, field[:100])


class SecurityHeaders:
    """Sets the headers that every answer should have; a page sets its own Content-Security-Policy."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add what the answer does not say itself."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("Content-Security-Policy", API_POLICY)
                headers.setdefault("Cache-Control", "no-store")
                headers["X-Content-Type-Options"] = "nosniff"
                headers["X-Frame-Options"] = "DENY"
                headers.setdefault("Referrer-Policy", "same-origin")
                headers["Cross-Origin-Opener-Policy"] = "same-origin-allow-popups"
                headers["Permissions-Policy"] = "camera=(), microphone=(), geolocation=()"
            await send(message)

        await self.app(scope, receive, with_headers)
