"""Publishing with confirms, in windows: persistent, mandatory, each message with fresh properties and its own id.

An acknowledgement is the only success. The broker positively acknowledges a message that no queue took, after it
returned it; aiormq matches a return by message id and turns it into an error, which is why every id in flight must
be unique. A lost connection makes the outcome of everything in flight unknown: the caller publishes it again, and
consumers recognise the repeat by its id.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import aiormq
from aiormq.abc import AbstractChannel, AbstractConnection
from pamqp import commands as spec

from copeck.contracts.envelope import CONTENT_TYPE, Envelope
from copeck.messaging.connection import close_connection, open_connection, user_of
from copeck.messaging.errors import BrokerUnavailableError, Failure, PublishError

log = logging.getLogger(__name__)

WINDOW_MAX = 500
CONFIRM_TIMEOUT_S = 10.0
_PERSISTENT = 2

_REFUSALS = (
    aiormq.exceptions.ChannelAccessRefused,
    aiormq.exceptions.ChannelNotFoundEntity,
    aiormq.exceptions.ChannelPreconditionFailed,
)
_Kind = Literal["returned", "nacked", "timeout", "connection", "refused"]


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """One message as the broker gets it."""

    message_id: str
    exchange: str
    routing_key: str
    body: bytes
    headers: Mapping[str, Any] = field(default_factory=dict)
    type: str = ""

    @classmethod
    def of(cls, envelope: Envelope) -> "OutgoingMessage":
        """Render an envelope."""
        return cls(
            message_id=str(envelope.id),
            exchange=envelope.exchange,
            routing_key=envelope.routing_key,
            body=envelope.body(),
            headers=envelope.headers(),
            type=envelope.type,
        )


class Publisher:
    """One connection and one channel, used for nothing but publishing; it reconnects on the next call after a loss."""

    def __init__(
        self,
        url: str,
        *,
        user_id: str | None = None,
        name: str = "copeck-publisher",
        confirm_timeout_s: float = CONFIRM_TIMEOUT_S,
        window_max: int = WINDOW_MAX,
    ) -> None:
        self._url = url
        self._user_id = user_id or user_of(url)
        self._name = name
        self._confirm_timeout_s = confirm_timeout_s
        self._window_max = window_max
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None
        # One window at a time: a window's failures must not be mixed with those of another.
        self._lock = asyncio.Lock()
        self._closed = False

    @classmethod
    async def connect(
        cls, url: str, *, user_id: str | None = None, name: str = "copeck-publisher", **options: Any
    ) -> "Publisher":
        """Connect now, so that a wrong URL is known at the start; BrokerUnavailableError when it fails."""
        publisher = cls(url, user_id=user_id, name=name, **options)
        async with publisher._lock:
            await publisher._ready_channel()
        return publisher

    @property
    def connected(self) -> bool:
        """Tell whether the channel is open, as far as this side knows."""
        return self._channel is not None and not self._channel.is_closed

    async def ping(self) -> None:
        """Make sure that there is a channel; raises when the broker cannot be reached."""
        async with self._lock:
            await self._ready_channel()

    async def publish(self, message: OutgoingMessage | Envelope) -> None:
        """Publish one message and wait for its confirm; for rare messages only, a window is many times faster."""
        await self.publish_window([message if isinstance(message, OutgoingMessage) else OutgoingMessage.of(message)])

    async def publish_window(self, messages: Sequence[OutgoingMessage]) -> None:
        """Publish messages in order, several hundred in flight, and wait until all are confirmed.

        PublishError names every message that was returned, refused or not confirmed in time, and the indices of
        those that were confirmed. BrokerUnavailableError: nothing was sent.
        """
        if not messages:
            return
        if len({message.message_id for message in messages}) != len(messages):
            raise ValueError("message ids in a window must be unique: returns are matched by them")
        confirmed: set[int] = set()
        async with self._lock:
            for start in range(0, len(messages), self._window_max):
                part = messages[start : start + self._window_max]
                failures = await self._publish_part(part, start, confirmed)
                if failures:
                    # What comes after a failure is not sent: it may be about the same aggregate.
                    raise PublishError(failures, frozenset(confirmed))

    async def _publish_part(self, part: Sequence[OutgoingMessage], start: int, confirmed: set[int]) -> list[Failure]:
        try:
            channel = await self._ready_channel()
        except BrokerUnavailableError as error:
            if not confirmed:
                raise
            return [_failure(start, part[0], error)]
        results = await asyncio.gather(
            *(self._publish_one(channel, message) for message in part), return_exceptions=True
        )
        failures: list[Failure] = []
        for index, (message, result) in enumerate(zip(part, results, strict=True), start):
            if isinstance(result, spec.Basic.Ack):
                confirmed.add(index)
            elif isinstance(result, BaseException) and not isinstance(result, Exception):
                raise result
            else:
                failures.append(_failure(index, message, result))
        if any(failure.kind in ("timeout", "connection") for failure in failures):
            await self._drop()
        return failures

    async def _publish_one(self, channel: AbstractChannel, message: OutgoingMessage) -> Any:
        properties = spec.Basic.Properties(
            content_type=CONTENT_TYPE,
            delivery_mode=_PERSISTENT,
            message_id=message.message_id,
            message_type=message.type or None,
            user_id=self._user_id,
            timestamp=datetime.now(UTC),
            headers=dict(message.headers),
        )
        return await channel.basic_publish(
            message.body,
            exchange=message.exchange,
            routing_key=message.routing_key,
            properties=properties,
            mandatory=True,
            timeout=self._confirm_timeout_s,
        )

    async def _ready_channel(self) -> AbstractChannel:
        if self._closed:
            raise BrokerUnavailableError("the publisher is closed")
        if self._channel is not None and not self._channel.is_closed:
            return self._channel
        await self._drop()
        connection = await open_connection(self._url, self._name)
        try:
            async with asyncio.timeout(self._confirm_timeout_s):
                self._channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        except (TimeoutError, OSError, RuntimeError, aiormq.exceptions.AMQPError) as error:
            await close_connection(connection)
            raise BrokerUnavailableError(f"no channel: {type(error).__name__} {error}") from error
        self._connection = connection
        return self._channel

    async def _drop(self) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        await close_connection(connection)

    async def close(self) -> None:
        """Close the connection for good; a window under way is waited for."""
        self._closed = True
        async with self._lock:
            await self._drop()


def _failure(index: int, message: OutgoingMessage, result: Any) -> Failure:
    kind: _Kind
    if isinstance(result, aiormq.exceptions.PublishError):
        kind, detail = "returned", "no queue takes it"
    elif isinstance(result, aiormq.exceptions.DeliveryError | spec.Basic.Nack):
        kind, detail = "nacked", "the broker refused it; a queue may be full"
    elif isinstance(result, TimeoutError):
        kind, detail = "timeout", "no confirm in time"
    elif isinstance(result, _REFUSALS):
        kind, detail = "refused", str(result)
    elif isinstance(result, Exception):
        kind, detail = "connection", f"{type(result).__name__} {result}".rstrip()
    else:
        kind, detail = "connection", f"an unexpected reply {type(result).__name__}"
    return Failure(index, message.message_id, message.exchange, message.routing_key, kind, detail)
