"""Consuming: one message, one handler, acknowledged after the handler's commit; nothing is declared here.

What becomes of a message: the handler returned → acknowledged. It is against its contract or against a business rule
→ set aside into the dead-letter queue, with its reason. Postgres or the broker is in trouble → the handler runs again
in place, with a growing delay; the message is never requeued, because each requeue would count towards the delivery
limit of everything prefetched. Anything else is a fault of code: a few runs, then set aside.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import aio_pika
import aiormq
from aio_pika.abc import AbstractIncomingMessage

from copeck.contracts.base import ContractError
from copeck.contracts.envelope import Envelope
from copeck.kernel.errors import DomainError
from copeck.messaging.acknowledgements import Acknowledgements
from copeck.messaging.backoff import Backoff
from copeck.messaging.connection import (
    CONNECT_TIMEOUT_S,
    HEARTBEAT_S,
    broker_session,
    loss_instead_of_cancellation,
    safe_url,
)
from copeck.messaging.errors import MessagingError, is_broker_fault
from copeck.observability import metrics
from copeck.observability.trace import message_scope
from copeck.storage.errors import is_transient

log = logging.getLogger(__name__)

Handler = Callable[[Envelope], Awaitable[None]]
PREFETCH = 64
CONCURRENCY = 8
DRAIN_TIMEOUT_S = 20.0
UNEXPECTED_ATTEMPTS_MAX = 3
_REASON_CHARS_MAX = 1000


class ReasonStore(Protocol):
    """Keeps why a message was set aside; see `copeck.messaging.deadletters.Reasons`."""

    async def record(self, *, message_id: str, queue: str, type_name: str, reason: str) -> None:
        """Keep one reason."""


@dataclass(slots=True)
class _Session:
    """One life of the channel: what is under way on it, and when it ended."""

    lost: asyncio.Event
    tasks: set[asyncio.Task[None]]
    acknowledgements: Acknowledgements = field(default_factory=Acknowledgements)


class Consumer:
    """Feeds one queue to one handler.

    Messages about the same subject are handled one after the other, in order; others up to `concurrency` at once.
    """

    def __init__(
        self,
        url: str,
        queue: str,
        handler: Handler,
        prefetch: int = PREFETCH,
        *,
        concurrency: int = CONCURRENCY,
        reasons: ReasonStore | None = None,
        name: str = "copeck-consumer",
        backoff: Backoff | None = None,
        drain_timeout_s: float = DRAIN_TIMEOUT_S,
    ) -> None:
        self._url = url
        self.queue = queue
        self._handler = handler
        self._prefetch = prefetch
        self._slots = asyncio.Semaphore(concurrency)
        self._reasons = reasons
        self._name = name
        self._backoff = backoff or Backoff()
        self._drain_timeout_s = drain_timeout_s
        self._stopping = asyncio.Event()
        self._stopped = asyncio.Event()
        self._stopped.set()
        self._subjects: dict[str, asyncio.Task[None]] = {}
        self.connected = False

    async def run(self) -> None:
        """Consume until `stop`; after a loss of the connection, connect again."""
        self._stopped.clear()
        failures = 0
        try:
            while not self._stopping.is_set():
                try:
                    with loss_instead_of_cancellation():
                        await self._consume()
                    failures = 0
                except Exception as error:
                    # Handlers' errors end in their own tasks, so this is the connection's; aiormq may raise a bare
                    # Exception when it breaks in mid-handshake. Whatever it is, a consumer never gives up.
                    expected = is_broker_fault(error) or type(error) in (Exception, RuntimeError)
                    level = logging.WARNING if expected else logging.ERROR
                    text = f"{type(error).__name__} {error}".rstrip()
                    log.log(
                        level,
                        "queue %s at %s waits: %s",
                        self.queue,
                        safe_url(self._url),
                        text,
                        exc_info=None if expected else error,
                    )
                    await self._pause(self._backoff.delay_s(failures))
                    failures += 1
        finally:
            self._stopped.set()

    async def stop(self) -> None:
        """Take no more messages, finish those under way, and return."""
        self._stopping.set()
        await self._stopped.wait()

    async def ping(self) -> None:
        """Raise unless the queue is held, for the health check."""
        if not self.connected:
            raise ConnectionError(f"the queue {self.queue} is not consumed")

    async def _consume(self) -> None:
        session = _Session(asyncio.Event(), set())
        async with broker_session(self._url, self._name) as connection:
            try:
                await self._consume_over(connection, session)
            finally:
                self._set_connected(False)
                await self._finish(session)
        if session.lost.is_set() and not self._stopping.is_set():
            log.warning("queue %s: the channel was lost", self.queue)
            await self._pause(self._backoff.delay_s(0))

    async def _consume_over(self, connection: aio_pika.Connection, session: _Session) -> None:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            channel = await connection.channel(publisher_confirms=False)
            await channel.set_qos(prefetch_count=self._prefetch)
            # The broker may end a consumer without closing its channel: the queue was deleted.
            underlay = await channel.get_underlay_channel()
            underlay.on_consumer_cancel_callbacks.add(lambda _frame: session.lost.set())
            channel.close_callbacks.add(lambda *_: session.lost.set())
            queue = await channel.get_queue(self.queue, ensure=False)
            tag = await queue.consume(partial(self._take, session=session), no_ack=False)
        self._set_connected(True)
        await self._until(session.lost)
        if not session.lost.is_set():
            with contextlib.suppress(Exception):
                async with asyncio.timeout(HEARTBEAT_S):
                    await queue.cancel(tag)

    def _set_connected(self, connected: bool) -> None:
        self.connected = connected
        metrics.CONSUMER_CONNECTED.labels(self.queue).set(int(connected))

    async def _until(self, lost: asyncio.Event) -> None:
        waits = [asyncio.ensure_future(lost.wait()), asyncio.ensure_future(self._stopping.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _finish(self, session: _Session) -> None:
        """Wait for the handlers under way; a handler that takes too long is cancelled, its message comes again."""
        if session.tasks:
            _, late = await asyncio.wait(session.tasks, timeout=self._drain_timeout_s)
            for task in late:
                task.cancel()
            if late:
                log.warning("queue %s: %d handlers were cancelled", self.queue, len(late))
                await asyncio.wait(late, timeout=self._drain_timeout_s)

    async def _take(self, message: AbstractIncomingMessage, session: _Session) -> None:
        started = time.monotonic()
        session.acknowledgements.taken(message.delivery_tag or 0)
        try:
            envelope = Envelope.parse(
                dict(message.headers), message.body, message_id=message.message_id, sender=message.user_id
            )
        except ContractError as error:
            task = asyncio.ensure_future(self._set_aside(message, None, f"contract: {error}", session))
        else:
            before = self._subjects.get(envelope.subject)
            task = asyncio.ensure_future(self._handle(message, envelope, before, session, started))
            self._subjects[envelope.subject] = task
            task.add_done_callback(lambda done: self._forget_subject(envelope.subject, done))
        session.tasks.add(task)
        task.add_done_callback(session.tasks.discard)

    def _forget_subject(self, subject: str, task: asyncio.Task[None]) -> None:
        if self._subjects.get(subject) is task:
            del self._subjects[subject]

    async def _handle(
        self,
        message: AbstractIncomingMessage,
        envelope: Envelope,
        before: asyncio.Task[None] | None,
        session: _Session,
        started: float,
    ) -> None:
        if before is not None:
            await asyncio.wait([before])
        async with self._slots:
            with message_scope(envelope):
                await self._handle_until_settled(message, envelope, session)
        metrics.MESSAGE_SECONDS.labels(self.queue, envelope.type).observe(time.monotonic() - started)

    async def _handle_until_settled(
        self, message: AbstractIncomingMessage, envelope: Envelope, session: _Session
    ) -> None:
        unexpected = attempt = 0
        while not session.lost.is_set():
            try:
                await self._handler(envelope)
            except (ContractError, DomainError) as error:
                await self._set_aside(message, envelope, f"{type(error).__name__}: {error}", session)
                return
            except Exception as error:
                if not (is_transient(error) or is_broker_fault(error)):
                    unexpected += 1
                    log.exception("handler of %s failed on %s %s", self.queue, envelope.type, envelope.id)
                    if unexpected >= UNEXPECTED_ATTEMPTS_MAX:
                        reason = f"unexpected {type(error).__name__}: {error}"
                        await self._set_aside(message, envelope, reason, session)
                        return
                else:
                    log.warning("%s %s waits: %s", envelope.type, envelope.id, type(error).__name__)
                metrics.MESSAGE_RETRIES.labels(self.queue, envelope.type).inc()
                if self._stopping.is_set():
                    # Given back by the closing channel: a fault that lasts must not hold up the stop.
                    return
                await self._pause(self._backoff.delay_s(attempt))
                attempt += 1
            else:
                await self._acknowledge(message, envelope, session)
                return

    async def _acknowledge(self, message: AbstractIncomingMessage, envelope: Envelope, session: _Session) -> None:
        try:
            with loss_instead_of_cancellation():
                await session.acknowledgements.done(message.channel, message.delivery_tag or 0)
            metrics.MESSAGES_CONSUMED.labels(self.queue, envelope.type, "done").inc()
        except (aiormq.exceptions.AMQPError, MessagingError, OSError, RuntimeError) as error:
            # The effect is committed; the copy that comes again is recognised by its id.
            log.warning("%s %s was done but not acknowledged: %s", envelope.type, envelope.id, type(error).__name__)
            metrics.MESSAGES_CONSUMED.labels(self.queue, envelope.type, "unacknowledged").inc()

    async def _set_aside(
        self, message: AbstractIncomingMessage, envelope: Envelope | None, reason: str, session: _Session
    ) -> None:
        """Reject into the dead-letter queue. The reason is kept first: a rejected message cannot carry it."""
        reason = reason[:_REASON_CHARS_MAX]
        type_name = envelope.type if envelope else ""
        identifier = message.message_id or (str(envelope.id) if envelope else "")
        log.error("message %s of %s is set aside: %s", identifier, self.queue, reason)
        if self._reasons is not None:
            try:
                await self._reasons.record(message_id=identifier, queue=self.queue, type_name=type_name, reason=reason)
            except Exception:
                # The reason is in the log too; a missing row must not keep a poison message in its neighbours' way.
                log.exception("the reason of %s is not stored", identifier)
        with (
            contextlib.suppress(aiormq.exceptions.AMQPError, MessagingError, OSError, RuntimeError),
            loss_instead_of_cancellation(),
        ):
            await message.reject(requeue=False)
        session.acknowledgements.rejected(message.delivery_tag or 0)
        metrics.MESSAGES_CONSUMED.labels(self.queue, type_name, "dead").inc()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
