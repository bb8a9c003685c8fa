"""A small pooled HTTP/1.1 client for notifications.

A general client costs more than a millisecond of processor time a request; at hundreds of payments a second that
would slow the system under test, which shares the machine. Redirects are not followed, as the provider's are not.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httptools

BODY_BYTES_MAX = 64 * 1024
IDLE_CONNECTIONS_MAX = 64
_CHUNK_BYTES = 16 * 1024


class ConnectFailedError(Exception):
    """No connection could be made."""


class BadReplyError(Exception):
    """The connection broke, or what came is not HTTP."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Status and body of an answer."""

    status: int
    body: bytes


@dataclass(slots=True)
class _Reading:
    """Collects one answer from the parser's callbacks."""

    parts: list[bytes] = field(default_factory=list)
    size: int = 0
    done: bool = False

    def on_body(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self.size <= BODY_BYTES_MAX:
            self.parts.append(chunk)

    def on_message_complete(self) -> None:
        self.done = True


_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class HttpClient:
    """Keeps idle connections per origin."""

    def __init__(self) -> None:
        self._idle: dict[tuple[str, int, bool], list[_Streams]] = {}

    async def send(self, method: str, url: str, headers: dict[str, str], body: bytes, timeout_s: float) -> Reply:
        """One request; raises ConnectFailedError, BadReplyError or TimeoutError."""
        async with asyncio.timeout(timeout_s):
            return await self._send(method, url, headers, body)

    async def _send(self, method: str, url: str, headers: dict[str, str], body: bytes) -> Reply:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConnectFailedError(f"not an HTTP address: {parts.scheme}")
        origin = (parts.hostname, parts.port or (443 if secure else 80), secure)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = [f"{method} {target} HTTP/1.1", f"Host: {parts.netloc.rpartition('@')[2]}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if method != "GET":
            lines.append(f"Content-Length: {len(body)}")
        message = "\r\n".join([*lines, "", ""]).encode("latin-1") + (body if method != "GET" else b"")
        reader, writer = await self._connection(origin)
        try:
            writer.write(message)
            reply, keep = await self._read(reader)
        except (OSError, httptools.HttpParserError) as error:
            writer.close()
            raise BadReplyError(str(error) or type(error).__name__) from error
        except BaseException:
            writer.close()
            raise
        idle = self._idle.setdefault(origin, [])
        if keep and len(idle) < IDLE_CONNECTIONS_MAX:
            idle.append((reader, writer))
        else:
            writer.close()
        return reply

    async def _connection(self, origin: tuple[str, int, bool]) -> _Streams:
        idle = self._idle.get(origin, [])
        while idle:
            reader, writer = idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        host, port, secure = origin
        try:
            return await asyncio.open_connection(host, port, ssl=ssl.create_default_context() if secure else None)
        except OSError as error:
            raise ConnectFailedError(str(error)) from error

    async def _read(self, reader: asyncio.StreamReader) -> tuple[Reply, bool]:
        reading = _Reading()
        parser = httptools.HttpResponseParser(reading)
        while not reading.done:
            chunk = await reader.read(_CHUNK_BYTES)
            if not chunk:
                raise BadReplyError("connection closed before the answer was complete")
            parser.feed_data(chunk)
        if reading.size > BODY_BYTES_MAX:
            raise BadReplyError("answer is too large")
        return Reply(parser.get_status_code(), b"".join(reading.parts)), bool(parser.should_keep_alive())

    def close(self) -> None:
        """Close idle connections."""
        for connections in self._idle.values():
            for _reader, writer in connections:
                writer.close()
        self._idle.clear()
