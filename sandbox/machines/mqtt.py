"""A small MQTT 3.1.1 client: one connection a machine, thousands of them in one event loop.

A library's client costs a thread or several tasks a connection; a machine needs a socket and a buffer. Quality of
service 0 and 1 only; what was sent with 1 is not kept here, because machines repeat what matters to them themselves.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast
from urllib.parse import unquote, urlsplit

CONNECT_TIMEOUT_S = 20.0
_PACKET_BYTES_MAX = 256 * 1024
_CONNECT, _CONNACK, _PUBLISH, _PUBACK, _SUBSCRIBE, _SUBACK, _PINGREQ, _PINGRESP, _DISCONNECT = (
    1, 2, 3, 4, 8, 9, 12, 13, 14,
)  # fmt: skip
_REFUSALS = {1: "protocol", 2: "client id", 3: "unavailable", 4: "bad user or password", 5: "not authorised"}


class MqttError(Exception):
    """The broker refused, or the connection is of no use any more."""


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes when the connection breaks."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Login:
    """Who connects, and where."""

    url: str
    client_id: str
    username: str
    password: str
    keepalive_s: int = 60
    clean: bool = False
    will: Will | None = None
    ca_file: str | None = None


def _text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return len(data).to_bytes(2, "big") + data


def _packet(first: int, body: bytes) -> bytes:
    length, head = len(body), bytearray((first,))
    while True:
        length, digit = divmod(length, 128)
        head.append(digit | 0x80 if length else digit)
        if not length:
            return bytes(head) + body


class Connection(asyncio.Protocol):
    """One connection. `on_message(topic, payload)` answers False to leave a message unacknowledged."""

    def __init__(
        self, login: Login, on_message: Callable[[str, bytes], bool], on_lost: Callable[[Connection], None]
    ) -> None:
        self._login = login
        self._on_message = on_message
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._packet_id = 0
        self._accepted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._subscribed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._deaf = False
        self._unanswered_pings = 0

    @property
    def alive(self) -> bool:
        """The socket is open and somebody listens."""
        return self._transport is not None and not self._transport.is_closing() and not self._deaf

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say who connects."""
        # Under uvloop it is a transport that is no subclass of asyncio's.
        transport = cast(asyncio.Transport, transport)
        self._transport = transport
        login = self._login
        flags = (0x02 if login.clean else 0) | (0x80 if login.username else 0) | (0x40 if login.username else 0)
        body = _text(login.client_id)
        if login.will:
            flags |= 0x04 | 0x20 | (1 << 3)
            body += _text(login.will.topic) + _text(login.will.payload)
        if login.username:
            body += _text(login.username) + _text(login.password)
        head = _text("MQTT") + bytes((4, flags)) + login.keepalive_s.to_bytes(2, "big")
        transport.write(_packet(_CONNECT << 4, head + body))

    def data_received(self, data: bytes) -> None:
        """Take packets out of the stream."""
        self._buffer += data
        # What came with a packet that made the machine break off is not read any more: the broker brings it again.
        while (self._transport is None or not self._transport.is_closing()) and not self._deaf:
            packet = self._next()
            if packet is None:
                return
            self._take(*packet)

    def _next(self) -> tuple[int, bytes] | None:
        length, shift, at = 0, 0, 1
        while True:
            if len(self._buffer) <= at:
                return None
            digit = self._buffer[at]
            length |= (digit & 0x7F) << shift
            shift, at = shift + 7, at + 1
            if not digit & 0x80:
                break
        if length > _PACKET_BYTES_MAX:
            self.abort()
            return None
        if len(self._buffer) < at + length:
            return None
        packet = self._buffer[0], bytes(self._buffer[at : at + length])
        del self._buffer[: at + length]
        return packet

    def _take(self, first: int, body: bytes) -> None:
        kind = first >> 4
        if kind == _PUBLISH:
            self._take_publish(first, body)
        elif kind == _CONNACK and not self._accepted.done():
            if body[1]:
                self._accepted.set_exception(MqttError(_REFUSALS.get(body[1], str(body[1]))))
            else:
                self._accepted.set_result(bool(body[0] & 1))
        elif kind == _SUBACK and not self._subscribed.done():
            if any(code & 0x80 for code in body[2:]):
                self._subscribed.set_exception(MqttError("a subscription was refused"))
            else:
                self._subscribed.set_result(None)
        elif kind == _PINGRESP:
            self._unanswered_pings = 0

    def _take_publish(self, first: int, body: bytes) -> None:
        quality = first >> 1 & 3
        end = 2 + int.from_bytes(body[:2], "big")
        topic, packet_id = body[2:end].decode("utf-8", "replace"), b""
        if quality:
            packet_id, end = body[end : end + 2], end + 2
        taken = self._on_message(topic, body[end:])
        if quality and taken and self.alive:
            self._write(_packet(_PUBACK << 4, packet_id))

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _next_id(self) -> bytes:
        self._packet_id = self._packet_id % 65_535 + 1
        return self._packet_id.to_bytes(2, "big")

    def publish(self, topic: str, payload: bytes, *, quality: int = 0, retain: bool = False) -> None:
        """Send a message; nothing happens on a connection that is of no use any more."""
        if self._deaf:
            return
        packet_id = self._next_id() if quality else b""
        first = _PUBLISH << 4 | quality << 1 | (1 if retain else 0)
        self._write(_packet(first, _text(topic) + packet_id + payload))

    def ping(self) -> bool:
        """Ask whether the broker is there; False when it did not answer the last two times."""
        if self._unanswered_pings >= 2:
            return False
        self._unanswered_pings += 1
        self._write(_packet(_PINGREQ << 4, b""))
        return True

    async def accepted(self) -> bool:
        """Wait for the broker's yes; True when it remembers an earlier session."""
        return await self._accepted

    async def subscribe(self, topics: tuple[str, ...]) -> None:
        """Subscribe with quality of service 1."""
        body = self._next_id() + b"".join(_text(topic) + b"\x01" for topic in topics)
        self._write(_packet(_SUBSCRIBE << 4 | 2, body))
        await self._subscribed

    def disconnect(self) -> None:
        """Leave in order: the broker publishes no Will."""
        self._write(_packet(_DISCONNECT << 4, b""))
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Break off: the broker publishes the Will."""
        if self._transport is not None:
            self._transport.abort()

    def go_deaf(self) -> None:
        """Keep the socket open and do nothing with it any more, as a machine behind a dead link does."""
        self._deaf = True
        if self._transport is not None:
            self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits and whoever uses it."""
        self._transport = None
        for waiting in (self._accepted, self._subscribed):
            if not waiting.done():
                waiting.set_exception(MqttError(str(exc) if exc else "the connection was closed"))
            # Nobody may be waiting for it any more: its error is not news then.
            if not waiting.cancelled():
                waiting.exception()
        self._on_lost(self)


async def connect(
    login: Login,
    topics: tuple[str, ...],
    on_message: Callable[[str, bytes], bool],
    on_lost: Callable[[Connection], None],
) -> Connection:
    """Connect and subscribe; MqttError or OSError when that does not work in time."""
    address = urlsplit(login.url)
    secure = address.scheme in ("mqtts", "ssl", "tls")
    context = ssl.create_default_context(cafile=login.ca_file) if secure else None
    loop = asyncio.get_running_loop()
    connection = Connection(login, on_message, on_lost)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await loop.create_connection(
                lambda: connection, address.hostname or "127.0.0.1", address.port or (8883 if secure else 1883),
                ssl=context,
            )  # fmt: skip
            await connection.accepted()
            await connection.subscribe(topics)
    except BaseException:
        connection.abort()
        raise
    return connection


def credentials(url: str) -> tuple[str, str]:
    """User and password inside a broker's URL, empty when there are none."""
    address = urlsplit(url)
    return unquote(address.username or ""), unquote(address.password or "")
