"""Every user of the broker against every exchange, message type and queue: what it may do is allowed, all else refused.

The expectations are written by hand. A message type or a queue that is added fails here until somebody says whose it
is.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from fnmatch import fnmatchcase
from typing import Any

import aiormq
import pytest
from aiormq.abc import AbstractChannel
from aiormq.exceptions import (
    ChannelAccessRefused,
    ChannelPreconditionFailed,
    ConnectionNotAllowed,
    InvalidFrameError,
    PublishError,
)
from pamqp import commands as spec

from copeck.contracts.registry import REGISTRY
from copeck.testkit.rabbit import Broker

pytestmark = pytest.mark.integration

COMMANDS, EVENTS, DEAD = "billing.commands", "billing.events", "billing.dead"
SERVICES = ("auth", "subscriptions", "state-updater", "gateway", "devices", "reminders")
USERS = (*SERVICES, "operator", "monitor")
SHARD_QUEUES = tuple(f"billing.commands.{n:02d}" for n in range(16))
DEAD_QUEUES = (
    "billing.commands.dead",
    "gateway.events.dead",
    "subscriptions.commands.dead",
    "subscriptions.events.dead",
    "devices.events.dead",
)
QUEUES = (
    *SHARD_QUEUES,
    "subscriptions.commands",
    "subscriptions.events",
    "gateway.events",
    "devices.events",
    *DEAD_QUEUES,
)

MAY_SEND = {
    "auth": {"user.*"},
    "subscriptions": {
        "subscription.*", "invoice.issue", "invoice.cancel", "invoice.capture", "invoice.refund",
    },
    "state-updater": {
        "invoice.issued", "invoice.pending", "invoice.payment_failed", "invoice.authorized",
        "invoice.capture_requested", "invoice.void_requested", "invoice.paid", "invoice.canceled",
        "invoice.expired", "invoice.voided",
        "invoice.partially_refunded", "invoice.refunded", "invoice.disputed", "invoice.dispute_won",
        "invoice.charged_back", "invoice.late_payment_received",
        "refund.requested", "refund.pending", "refund.succeeded", "refund.failed", "refund.outcome_unknown",
        "payout.drafted", "payout.approval_requested", "payout.pending", "payout.processing", "payout.completed",
        "payout.failed", "payout.canceled", "wallet.opened", "wallet.changed", "command.refused",
    },
    "gateway": {
        "invoice.issue", "invoice.cancel", "invoice.refund", "payment.report", "refund.report", "dispute.report",
        "settlement.report", "ledger.correct", "wallet.open", "wallet.pay", "payout.request", "payout.submit",
        "payout.approve", "payout.cancel", "payout.retry", "payout.report",
    },
    "devices": {"invoice.issue", "invoice.cancel", "invoice.refund", "wallet.open"},
    "reminders": {"invoice.expire"},
    "operator": set(),
    "monitor": set(),
}  # fmt: skip
MAY_READ = {
    "auth": set(),
    "subscriptions": {"subscriptions.commands", "subscriptions.events"},
    "state-updater": set(SHARD_QUEUES),
    "gateway": {"gateway.events"},
    "devices": {"devices.events"},
    "reminders": set(),
    "operator": set(DEAD_QUEUES),
    "monitor": set(),
}
MAY_ENTER_CELERY = {"gateway", "reminders", "devices"}


def may_send(user: str, type_name: str) -> bool:
    return any(fnmatchcase(type_name, pattern) for pattern in MAY_SEND[user])


def key_of(type_name: str) -> str:
    """Return a routing key of the type: commands to the updater end in a shard, events of an invoice in its kind."""
    entry = REGISTRY[type_name]
    of_invoice = type_name.startswith("invoice.") and entry.kind == "event"
    return f"{type_name}.07" if entry.sharded else f"{type_name}.topup" if of_invoice else type_name


class Session:
    """A user's connection: each attempt on a channel of its own, since a refusal closes it."""

    def __init__(self, connection: Any, user: str) -> None:
        self._connection = connection
        self._user = user

    async def attempt(self, action: Callable[[AbstractChannel], Awaitable[Any]]) -> str:
        """Say what the broker said."""
        channel = await self._connection.channel()
        try:
            await asyncio.wait_for(action(channel), 10)
        except ChannelAccessRefused:
            return "denied"
        except PublishError:
            return "allowed"  # nothing is bound for it, but the user may publish it
        except aiormq.exceptions.AMQPError as error:
            return type(error).__name__
        await channel.close()
        return "allowed"

    async def publish(self, exchange: str, key: str, user_id: str | None = None) -> str:
        """Publish one persistent message under a user's name."""
        properties = spec.Basic.Properties(delivery_mode=2, user_id=user_id or self._user)
        return await self.attempt(
            lambda channel: channel.basic_publish(
                b"{}", exchange=exchange, routing_key=key, properties=properties, mandatory=True
            )
        )

    async def consume(self, queue: str) -> str:
        """Subscribe to a queue."""

        async def nothing(_: Any) -> None:
            return None

        return await self.attempt(lambda channel: channel.basic_consume(queue, nothing))

    async def close(self) -> None:
        """End the connection."""
        await self._connection.close()


@pytest.fixture(params=USERS)
async def session(request: pytest.FixtureRequest, broker: Broker) -> AsyncIterator[tuple[str, Session]]:
    user: str = request.param
    session = Session(await aiormq.connect(broker.urls[user]), user)
    yield user, session
    await session.close()


async def test_publishing(session: tuple[str, Session]) -> None:
    """Each type to the right exchange, and with a topic of the wrong exchange."""
    user, broker = session
    wrong: dict[tuple[str, str], str] = {}
    allowed = 0
    for type_name, entry in REGISTRY.items():
        for exchange in (COMMANDS, EVENTS):
            fits = entry.exchange == exchange and may_send(user, type_name)
            outcome = await broker.publish(exchange, key_of(type_name))
            allowed += outcome == "allowed"
            if outcome != ("allowed" if fits else "denied"):
                wrong[exchange, type_name] = outcome
    assert wrong == {}
    assert allowed == sum(may_send(user, type_name) for type_name in REGISTRY)


async def test_invented_topics(session: tuple[str, Session]) -> None:
    user, broker = session
    invented = (
        "",
        "#",
        "*",
        "invoice",
        "invoice.paid.x",
        "xinvoice.paid",
        "invoice.paid\n",
        "INVOICE.PAID",
        "invoice.issue.7",
    )
    for exchange in (COMMANDS, EVENTS):
        for key in (*invented, "payment.report.007", "payment.report.07.x", "ledger.correct", "user.registered.x"):
            assert await broker.publish(exchange, key) == "denied", (user, exchange, key)


async def test_other_exchanges(session: tuple[str, Session]) -> None:
    """Past the topics: straight into a queue, into the dead letters, through the broker's own exchanges."""
    user, broker = session
    for exchange in (DEAD, "amq.direct", "amq.fanout", "amq.topic", "amq.headers", "amq.match"):
        assert await broker.publish(exchange, "billing.commands.07") == "denied", exchange
    straight = await broker.publish("", "billing.commands.07")
    assert straight == ("allowed" if user == "operator" else "denied")


async def test_reading(session: tuple[str, Session]) -> None:
    user, broker = session
    wrong: dict[str, str] = {}
    for queue in QUEUES:
        expected = "allowed" if queue in MAY_READ[user] else "denied"
        outcome = await broker.consume(queue)
        if outcome != expected:
            wrong[queue] = outcome
        if expected == "denied":
            for verb, action in (
                ("get", lambda channel, queue=queue: channel.basic_get(queue)),
                ("purge", lambda channel, queue=queue: channel.queue_purge(queue)),
            ):
                if await broker.attempt(action) != "denied":
                    wrong[f"{verb} {queue}"] = "allowed"
    assert wrong == {}


async def test_nobody_declares_deletes_or_binds(session: tuple[str, Session]) -> None:
    user, broker = session
    attempts: dict[str, Callable[[AbstractChannel], Awaitable[Any]]] = {
        "declare a queue": lambda channel: channel.queue_declare(f"{user}.mine", durable=True),
        "declare a server-named queue": lambda channel: channel.queue_declare("", exclusive=True),
        "declare an exchange": lambda channel: channel.exchange_declare(f"{user}.mine"),
        "delete a queue": lambda channel: channel.queue_delete("billing.commands.07"),
        "delete an exchange": lambda channel: channel.exchange_delete(COMMANDS),
        "bind a queue": lambda channel: channel.queue_bind("gateway.events", COMMANDS, "#"),
        "unbind a queue": lambda channel: channel.queue_unbind("gateway.events", EVENTS, "invoice.*.topup"),
        "bind an exchange": lambda channel: channel.exchange_bind(EVENTS, COMMANDS, "#"),
    }
    outcomes = {name: await broker.attempt(action) for name, action in attempts.items()}
    assert set(outcomes.values()) == {"denied"}, outcomes


async def test_nobody_speaks_for_another(broker: Broker) -> None:
    """The sender that the updater checks is the one that the broker verified."""
    for user in SERVICES:
        session = Session(await aiormq.connect(broker.urls[user]), user)
        own = next((name for name in REGISTRY if may_send(user, name)), None)
        if own is not None:
            entry = REGISTRY[own]
            other = next(name for name in SERVICES if name != user)
            outcome = await session.publish(entry.exchange, key_of(own), user_id=other)
            assert outcome == ChannelPreconditionFailed.__name__, user
        await session.close()


@pytest.mark.parametrize("user", USERS)
async def test_only_workers_enter_the_host_of_celery(user: str, broker: Broker) -> None:
    url = broker.urls[user].replace(broker.billing_host, broker.celery_host)
    if user in MAY_ENTER_CELERY:
        await (await aiormq.connect(url)).close()
        return
    try:
        connection = await aiormq.connect(url)
    except (ConnectionNotAllowed, InvalidFrameError, aiormq.exceptions.AMQPConnectionError):
        # The broker answers the opening of a host with a close; the library calls that an invalid frame.
        return
    # The monitoring login may look at the host, and do nothing there.
    assert user == "monitor"
    session = Session(connection, user)
    assert await session.attempt(lambda channel: channel.queue_declare("mine")) == "denied"
    await session.close()


async def test_only_the_deployer_administers(broker: Broker) -> None:
    for user in USERS:
        password = broker.urls[user].split("://", 1)[1].split("@", 1)[0].split(":", 1)[1]
        async with broker.client() as client:
            answer = await client.put("/api/vhosts/mine", auth=(user, password))
            assert answer.status_code == 401, user
            seen = await client.get("/api/overview", auth=(user, password))
            assert seen.status_code == (200 if user == "monitor" else 401), user


async def test_every_queue_is_in_these_tables(broker: Broker) -> None:
    async with broker.client() as client:
        answer = await client.get(f"/api/queues/{broker.billing_host}", params={"columns": "name,arguments"})
    queues = {entry["name"]: entry["arguments"] for entry in answer.json()}
    assert set(queues) == set(QUEUES)
    for name, arguments in queues.items():
        assert arguments["x-queue-type"] == "quorum", name
        # Without it dead-lettering at least once silently becomes at most once.
        assert arguments["x-overflow"] == "reject-publish", name
        assert arguments.get("x-single-active-consumer", False) == (name in SHARD_QUEUES), name
        if name not in DEAD_QUEUES:
            assert arguments["x-delivery-limit"] == 20, name
            assert arguments["x-dead-letter-strategy"] == "at-least-once", name
