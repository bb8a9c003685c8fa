"""The hot path's way over AMQP: aiormq's connection, with content frames taken off before its per-message machinery.

aiormq makes a task of every delivery and a future of every confirm. At thousands of messages a second that costs
more than the work itself, so a `FrameTap` stands where a channel's frame queue is: it assembles deliveries, returns
and confirms as the frames arrive and leaves every other frame to aiormq (handshake, heartbeat, channel closing).
Measured by `make bench`; the profile is in `arch/performance.md`.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from struct import pack
from typing import Any, Protocol

from aiormq.abc import ChannelFrame
from aiormq.channel import Channel
from aiormq.connection import Connection
from pamqp import commands as spec
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from billing_state_updater.world import Outgoing
from copeck.messaging.connection import loss_instead_of_cancellation
from copeck.messaging.errors import BrokerUnavailableError

HEARTBEAT_S = 10
CONNECT_TIMEOUT_S = 10.0
CONFIRM_TIMEOUT_S = 20.0
_BASIC_CLASS = 60
_PUBLISH_METHOD = 40
_MANDATORY = 0b01
_PERSISTENT = 2
# Which properties follow: content type, headers, delivery mode, message id, timestamp, user id (AMQP 0-9-1, 4.2.6.1).
_FLAGS = 1 << 15 | 1 << 13 | 1 << 12 | 1 << 7 | 1 << 6 | 1 << 4


class PublishError(Exception):
    """Some of a window was returned, refused or not answered; what was not confirmed is to be published again."""


class DeliverySink(Protocol):
    """Takes a delivery: (delivery tag, properties, body)."""

    def __call__(self, tag: int, properties: Any, body: bytes) -> None:
        """Take one delivery; must not block."""
        ...


class FrameTap:
    """Stands in for a channel's frame queue: handles content, passes the rest on."""

    def __init__(self, passed_on: "asyncio.Queue[Any]") -> None:
        self._passed_on = passed_on
        self._method: Any = None
        self._header: ContentHeader | None = None
        self._body: list[bytes] = []
        self._missing = 0
        self.on_deliver: DeliverySink | None = None
        self.on_return: Callable[[str, int, str], None] | None = None
        self.on_confirm: Callable[[int, bool, bool], None] | None = None

    async def put(self, item: tuple[int, Any]) -> None:
        """Take a frame as the connection's reader hands it over."""
        frame = item[1]
        kind = type(frame)
        if kind is ContentBody and self._method is not None:
            self._body.append(frame.value)
            self._missing -= len(frame.value)
            if self._missing <= 0:
                self._complete()
        elif kind is ContentHeader and self._method is not None:
            self._header = frame
            self._missing = frame.body_size
            if not self._missing:
                self._complete()
        elif kind is spec.Basic.Deliver or kind is spec.Basic.Return:
            self._method = frame
        elif kind is spec.Basic.Ack and self.on_confirm is not None:
            self.on_confirm(frame.delivery_tag, frame.multiple, True)
        elif kind is spec.Basic.Nack and self.on_confirm is not None:
            self.on_confirm(frame.delivery_tag, frame.multiple, False)
        else:
            await self._passed_on.put(item)

    def _complete(self) -> None:
        method, header, body = self._method, self._header, b"".join(self._body)
        self._method, self._header, self._body = None, None, []
        properties = header.properties if header is not None else None
        if isinstance(method, spec.Basic.Deliver):
            if self.on_deliver is not None:
                self.on_deliver(method.delivery_tag or 0, properties, body)
        elif self.on_return is not None:
            message_id = properties.message_id if properties is not None else None
            self.on_return(message_id or "", method.reply_code, method.reply_text or "")

    async def get(self) -> Any:
        """Hand the next frame of the rest to the channel's reader."""
        return await self._passed_on.get()

    def task_done(self) -> None:
        """Part of the queue's interface."""
        self._passed_on.task_done()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._passed_on, name)


@contextlib.contextmanager
def reaching_broker() -> Iterator[None]:
    """Turn whatever the library raises while it talks to the broker into one error.

    A connection that is cut in the middle of a handshake ends in a bare `Exception`, or in a cancellation that nobody
    asked for; either would end the process's part for good, where trying again is all that it takes.
    """
    try:
        with loss_instead_of_cancellation():
            yield
    except BrokerUnavailableError:
        raise
    except Exception as error:
        raise BrokerUnavailableError(f"the broker is not reached: {error!r}"[:300]) from error


async def connect(url: str, name: str) -> Connection:
    """Open a connection that notices a dead peer within two heartbeats of 10 seconds."""
    separator = "&" if "?" in url else "?"
    connection = Connection(f"{url}{separator}heartbeat={HEARTBEAT_S}&name={name}")
    with reaching_broker():
        await asyncio.wait_for(connection.connect(), CONNECT_TIMEOUT_S)
    return connection


async def open_channel(connection: Connection, confirms: bool) -> tuple[Channel, FrameTap]:
    """Open a channel whose content frames go through a tap."""
    number = next(n for n in range(1, 2048) if n not in connection.channels)
    channel = Channel(connection, number, publisher_confirms=confirms)
    tap = FrameTap(channel.frames)
    channel.frames = tap  # type: ignore[assignment]
    connection.channels[number] = channel
    with reaching_broker():
        await channel.open(timeout=CONNECT_TIMEOUT_S)
    return channel, tap


def _short(text: str) -> bytes:
    raw = text.encode()[:255]
    return bytes((len(raw),)) + raw


def _field(name: str, value: str) -> bytes:
    raw = value.encode()
    return _short(name) + b"S" + pack("!I", len(raw)) + raw


@dataclass(slots=True)
class _Window:
    """One window of confirms: open tags, and what went wrong."""

    last_tag: int
    open: set[int]
    done: "asyncio.Future[None]"
    problem: str = ""


class EventPublisher:
    """Publishes events with confirms in windows; an ack alone is success, a return or a nack is not."""

    def __init__(self, url: str, user: str, exchange: str, source: str) -> None:
        self._url = url
        self._user = _short(user)
        self._exchange = exchange
        self._static = _field("cloudEvents:specversion", "1.0") + _field("cloudEvents:source", source)
        self._connection: Connection | None = None
        self._channel: Channel | None = None
        self._tag = 0
        self._windows: list[_Window] = []
        self._tag_of_message: dict[str, int] = {}
        self._methods: dict[str, bytes] = {}
        self._connecting = asyncio.Lock()

    @property
    def is_connected(self) -> bool:
        """Tell whether the next window can be written."""
        return self._channel is not None and not self._channel.is_closed

    async def _ensure(self) -> Channel:
        async with self._connecting:
            if self._channel is not None and not self._channel.is_closed:
                return self._channel
            self._fail("the connection was lost")
            if self._connection is None or self._connection.is_closed:
                self._connection = await connect(self._url, "publisher")
            channel, tap = await open_channel(self._connection, confirms=True)
            tap.on_confirm, tap.on_return = self._confirmed, self._was_returned
            channel.closing.add_done_callback(lambda _: self._fail("the channel was closed"))
            self._tag, self._channel, self._methods = 0, channel, {}
            self._tag_of_message.clear()
            return channel

    async def publish(self, events: Sequence[Outgoing]) -> None:
        """Publish and wait until the broker has confirmed every one; PublishError says what was wrong otherwise."""
        if not events:
            return
        try:
            channel = await self._ensure()
        except BrokerUnavailableError as error:
            raise PublishError(f"the broker is not reached: {error!r}") from error
        first = self._tag + 1
        parts: list[bytes] = []
        for event in events:
            self._tag += 1
            message_id = str(event.message_id)
            self._tag_of_message[message_id] = self._tag
            parts.append(self._marshal(channel.number, event, message_id))
        loop = asyncio.get_running_loop()
        window = _Window(self._tag, set(range(first, self._tag + 1)), loop.create_future())
        self._windows.append(window)
        channel.write_queue.put_nowait(ChannelFrame(payload=b"".join(parts), should_close=False))
        try:
            await asyncio.wait_for(asyncio.shield(window.done), CONFIRM_TIMEOUT_S)
        except TimeoutError as error:
            # Without an answer nothing is known of this channel any more: a new one starts from scratch.
            await self.close()
            raise PublishError("the broker did not confirm in time") from error
        finally:
            for event in events:
                self._tag_of_message.pop(str(event.message_id), None)
        if window.problem:
            raise PublishError(window.problem)

    def _marshal(self, channel: int, event: Outgoing, message_id: str) -> bytes:
        method = self._methods.get(event.topic)
        if method is None:
            payload = (
                pack("!HHH", _BASIC_CLASS, _PUBLISH_METHOD, 0)
                + _short(self._exchange)
                + _short(event.topic)
                + bytes((_MANDATORY,))
            )
            method = pack("!BHI", 1, channel, len(payload)) + payload + b"\xce"
            self._methods[event.topic] = method
        table = (
            self._static
            + _field("cloudEvents:id", message_id)
            + _field("cloudEvents:type", f"{event.type}.v1")
            + _field("cloudEvents:subject", event.subject)
            + _field("cloudEvents:time", event.at.isoformat())
            + _field("cloudEvents:causeid", str(event.cause_id))
        )
        if event.traceparent:
            table += _field("cloudEvents:traceparent", event.traceparent)
        if event.correlation_id:
            table += _field("cloudEvents:correlationid", event.correlation_id)
        properties = b"".join(
            (
                pack("!H", _FLAGS),
                b"\x10application/json",
                pack("!I", len(table)),
                table,
                bytes((_PERSISTENT,)),
                _short(message_id),
                pack("!Q", int(event.at.timestamp())),
                self._user,
            )
        )
        header = pack("!HHQ", _BASIC_CLASS, 0, len(event.body)) + properties
        return b"".join(
            (
                method,
                pack("!BHI", 2, channel, len(header)),
                header,
                b"\xce",
                pack("!BHI", 3, channel, len(event.body)),
                event.body,
                b"\xce",
            )
        )

    def _was_returned(self, message_id: str, code: int, text: str) -> None:
        tag = self._tag_of_message.get(message_id)
        for window in self._windows:
            if tag in window.open:
                window.problem = f"an event was returned: {code} {text}"

    def _confirmed(self, tag: int, multiple: bool, positive: bool) -> None:
        for window in self._windows:
            before = len(window.open)
            if not multiple:
                window.open.discard(tag)
            elif tag >= window.last_tag:
                window.open.clear()
            else:
                window.open = {open_tag for open_tag in window.open if open_tag > tag}
            if not positive and len(window.open) < before:
                window.problem = window.problem or "the broker refused an event (a queue is full)"
            if tag < window.last_tag:
                break
        while self._windows and not self._windows[0].open:
            window = self._windows.pop(0)
            if not window.done.done():
                window.done.set_result(None)

    def _fail(self, why: str) -> None:
        windows, self._windows = self._windows, []
        for window in windows:
            window.problem = window.problem or why
            if not window.done.done():
                window.done.set_result(None)

    async def close(self) -> None:
        """Close the connection; windows that wait fail."""
        connection, self._connection, self._channel = self._connection, None, None
        self._fail("the publisher was closed")
        if connection is not None and not connection.is_closed:
            try:
                with reaching_broker():
                    await asyncio.wait_for(connection.close(), CONNECT_TIMEOUT_S)
            except BrokerUnavailableError:
                return
