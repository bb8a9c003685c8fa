"""What every handler is given, and how its messages are made."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.contracts.base import Message
from copeck.contracts.envelope import Envelope
from copeck.kernel.clock import Clock, SystemClock
from copeck.messaging.inbox import Inbox
from copeck.messaging.outbox import Outbox
from copeck.observability.trace import current_correlation_id
from copeck.storage.engine import Database
from copeck.storage.idempotency import Idempotency, StoredAnswer
from device_bridge import tables
from device_bridge.domain.drivers import NO_DRIVER, DriverPolicy, Drivers, NoDrivers
from device_bridge.domain.keys import device_key
from device_bridge.domain.model import Device
from device_bridge.domain.outcomes import Limits
from device_bridge.settings import DevicesSettings
from device_bridge.store import audit

SOURCE = "devices"
ACTOR_SERVICE = "service:device-bridge"


def _nobody_listens() -> None:
    """Stand in for a wake-up in processes that run nothing to be woken."""


def _nobody_sends(_order_ids: Sequence[UUID]) -> None:
    """Stand in for tasks in processes without Celery: the janitor finds the rows."""


@dataclass(frozen=True)
class Context:
    """The service's connections and settings.

    `poke` wakes the relay after a commit that added messages, `wake_sender` the one that hands commands to machines.
    `drivers` is the registry of drivers; `accounts` makes the machines' accounts at the broker, where there is one.
    `enqueue_commands` and `send_receipts` send Celery tasks for rows that are committed.
    """

    database: Database
    settings: DevicesSettings
    clock: Clock = field(default_factory=SystemClock)
    poke: Callable[[], None] = _nobody_listens
    wake_sender: Callable[[], None] = _nobody_listens
    enqueue_commands: Callable[[Sequence[UUID]], None] = _nobody_sends
    send_receipts: Callable[[Sequence[UUID]], None] = _nobody_sends
    drivers: Drivers = field(default_factory=NoDrivers)
    accounts: Any = None
    outbox: Outbox = field(default_factory=lambda: Outbox(tables.outbox))
    inbox: Inbox = field(default_factory=lambda: Inbox(tables.inbox))
    idempotency: Idempotency = field(default_factory=lambda: Idempotency(tables.idempotency))

    @property
    def limits(self) -> Limits:
        """How long machines are waited for."""
        settings = self.settings
        return Limits(settings.accept_timeout_s, settings.revoke_timeout_s, settings.brewing_grace_s)

    def policy(self, model: str) -> DriverPolicy:
        """Return what a model can do; what a model without a driver can do is nothing."""
        try:
            return self.drivers.policy(model)
        except KeyError:
            return NO_DRIVER

    def device_key(self, device: Device) -> bytes:
        """Return the key that signs a machine's commands and links."""
        return device_key(self.settings.secret(), device.id, device.key_number)


@dataclass(frozen=True)
class Actor:
    """Who does something: a person through a client, or a service."""

    name: str
    client: str = "service"

    @classmethod
    def user(cls, user_id: UUID, client: str) -> "Actor":
        """Return a person."""
        return cls(f"user:{user_id}", client)


SERVICE = Actor(ACTOR_SERVICE)
BUYER = Actor("buyer", "page")


@dataclass(frozen=True)
class Work:
    """One transaction under way: on whose behalf, at what moment, and because of which message."""

    context: Context
    tx: AsyncConnection
    now: datetime
    actor: Actor = SERVICE
    cause: Envelope | None = None

    def wrap(self, message: Message, message_id: UUID | None = None) -> Envelope:
        """Make a message that goes on with the story of the one that led to it; without an id it gets a new one."""
        if self.cause is None:
            return Envelope.new(message, source=SOURCE, clock=self.context.clock, id=message_id)
        return Envelope.new(
            message,
            source=SOURCE,
            clock=self.context.clock,
            id=message_id,
            cause_id=self.cause.id,
            traceparent=self.cause.traceparent,
            correlation_id=self.cause.correlation_id,
        )

    async def send(self, *messages: Message) -> list[Envelope]:
        """Add messages to the outbox of this transaction."""
        envelopes = [self.wrap(message) for message in messages]
        await self.context.outbox.add(self.tx, *envelopes)
        return envelopes

    async def note(
        self,
        action: str,
        subject_kind: str,
        subject_id: object,
        *,
        reason: str = "",
        before: dict[str, Any] | None = None,
        after: dict[str, Any] | None = None,
    ) -> None:
        """Write down what a person did, in the same transaction."""
        await audit.add(
            self.tx,
            audit.AuditEntry(
                at=self.now,
                actor=self.actor.name,
                client=self.actor.client,
                action=action,
                subject_kind=subject_kind,
                subject_id=str(subject_id),
                reason=reason,
                before=before,
                after=after,
                correlation_id=current_correlation_id(),
            ),
        )


async def in_transaction(
    context: Context, actor: Actor, work: Callable[[Work], Awaitable[Any]], cause: Envelope | None = None
) -> Any:
    """Run a piece of work in a transaction of its own, then wake the relay."""
    async with context.database.transaction() as tx:
        result = await work(Work(context, tx, context.clock.now(), actor, cause))
    context.poke()
    return result


@dataclass(frozen=True)
class Key:
    """An idempotency key with what it belongs to: a user and a route, and the digest of the request."""

    scope: str
    key: str
    request_hash: str


async def once(
    context: Context, actor: Actor, key: Key, work: Callable[[Work], Awaitable[tuple[int, dict[str, Any]]]]
) -> StoredAnswer:
    """Run a piece of work under an idempotency key: a repeat gets the stored answer, and nothing happens twice."""
    async with context.database.transaction() as tx:
        known = await context.idempotency.begin(tx, key.scope, key.key, key.request_hash)
        if known is not None:
            return known
        status, body = await work(Work(context, tx, context.clock.now(), actor))
        await context.idempotency.finish(tx, key.scope, key.key, status, body)
    context.poke()
    return StoredAnswer(status, body)
