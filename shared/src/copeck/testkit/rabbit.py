"""Virtual hosts of a test run: one pair a worker, with the whole topology and its users, emptied before each test."""

import asyncio
import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import aiormq
import httpx2

from copeck.messaging import topology

AMQP_URL = os.environ.get("COPECK_TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672")
MANAGEMENT_URL = os.environ.get("COPECK_TEST_MANAGEMENT_URL", "http://guest:guest@127.0.0.1:15672")
_TIMEOUT_S = 30.0


def broker_log() -> Path | None:
    """Return the broker's log, when it is on this machine: COPECK_TEST_RABBITMQ_LOG, or the system's own server's."""
    named = os.environ.get("COPECK_TEST_RABBITMQ_LOG")
    if named:
        return Path(named) if Path(named).is_file() else None
    logs = [path for path in Path("/var/log/rabbitmq").glob("*.log") if path.stat().st_size]
    return max(logs, key=lambda path: path.stat().st_mtime, default=None)


def password_of(user: str) -> str:
    """Return a user's password in tests."""
    return f"test-{user}"


@dataclass
class Broker:
    """A pair of virtual hosts. `urls[user]` is a user's URL of the billing host, `celery_urls[user]` of Celery's."""

    billing_host: str
    celery_host: str
    urls: dict[str, str] = field(default_factory=dict)
    celery_urls: dict[str, str] = field(default_factory=dict)
    management_url: str = MANAGEMENT_URL

    @property
    def admin_url(self) -> str:
        """The administrator's URL of the billing host."""
        return _amqp_url(self.billing_host)

    @property
    def celery_admin_url(self) -> str:
        """The administrator's URL of Celery's host."""
        return _amqp_url(self.celery_host)

    async def connect_admin(self, host: str | None = None) -> Any:
        """Open an administrator's connection with aiormq; the caller closes it."""
        return await aiormq.connect(_amqp_url(host or self.billing_host))

    async def unbind(self, exchange: str, queue: str, key: str) -> None:
        """Take a binding away; `restore` brings it back."""
        connection = await self.connect_admin()
        try:
            channel = await connection.channel()
            await channel.queue_unbind(queue, exchange, key)
        finally:
            await connection.close()

    async def bind(self, exchange: str, queue: str, key: str) -> None:
        """Add a binding."""
        connection = await self.connect_admin()
        try:
            channel = await connection.channel()
            await channel.queue_bind(queue, exchange, key)
        finally:
            await connection.close()

    async def count(self, queue: str) -> int:
        """Return how many messages wait in a queue; those under way at a consumer are not among them."""
        connection = await self.connect_admin()
        try:
            channel = await connection.channel()
            answer = await channel.queue_declare(queue, passive=True)
            return int(answer.message_count or 0)
        finally:
            await connection.close()

    async def take(self, queue: str, count: int = 1, timeout_s: float = 5.0) -> list[Any]:
        """Take messages out of a queue, up to `count` within a time; a single active consumer allows no basic.get."""
        taken: list[Any] = []
        enough = asyncio.Event()

        async def on_message(message: Any) -> None:
            if len(taken) < count:
                taken.append(message)
                await channel.basic_ack(message.delivery.delivery_tag)
            if len(taken) >= count:
                enough.set()

        connection = await self.connect_admin()
        try:
            channel = await connection.channel()
            await channel.basic_qos(prefetch_count=count)
            await channel.basic_consume(queue, on_message)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await enough.wait()
        finally:
            await connection.close()
        return taken

    async def get(self, queue: str, timeout_s: float = 5.0) -> Any:
        """Take one message out of a queue, or None when none comes in time."""
        taken = await self.take(queue, 1, timeout_s)
        return taken[0] if taken else None

    async def empty(self) -> None:
        """Bring back what a test changed of the bindings, and empty every queue."""
        connection = await self.connect_admin()
        try:
            channel = await connection.channel()
            for queue in topology.queues():
                await channel.queue_purge(queue.name)
                for exchange, key in queue.bindings:
                    await channel.queue_bind(queue.name, exchange, key)
        finally:
            await connection.close()
        await self._empty_celery()

    async def _empty_celery(self) -> None:
        async with self.client() as client:
            answer = await client.get(f"/api/queues/{quote(self.celery_host, safe='')}", params={"columns": "name"})
            answer.raise_for_status()
            names = [entry["name"] for entry in answer.json() if not entry["name"].startswith("celery_delayed_")]
        if not names:
            return
        connection = await self.connect_admin(self.celery_host)
        try:
            channel = await connection.channel()
            for name in names:
                await channel.queue_purge(name)
        finally:
            await connection.close()

    def client(self) -> httpx2.AsyncClient:
        """Return a client of the management API."""
        return httpx2.AsyncClient(base_url=self.management_url, timeout=_TIMEOUT_S, trust_env=False)


def _amqp_url(host: str, user: str | None = None) -> str:
    parts = urlsplit(AMQP_URL)
    address = parts.netloc.rpartition("@")[2]
    login = f"{user}:{password_of(user)}" if user else (parts.netloc.rpartition("@")[0] or "guest:guest")
    return f"amqp://{login}@{address}/{quote(host, safe='')}"


def create_broker(run: str, worker: str) -> Broker:
    """Create a worker's hosts with the topology of production."""
    broker = Broker(f"copeck-test-{run}-{worker}-billing", f"copeck-test-{run}-{worker}-celery")
    passwords = {user: password_of(user) for user in topology.USERS}
    document = topology.definitions(passwords, billing_host=broker.billing_host, celery_host=broker.celery_host)
    admin = urlsplit(AMQP_URL).username or "guest"
    document["permissions"] += [
        {"user": admin, "vhost": host, "configure": ".*", "write": ".*", "read": ".*"}
        for host in (broker.billing_host, broker.celery_host)
    ]
    topology.apply(MANAGEMENT_URL, document)
    broker.urls = {user: _amqp_url(broker.billing_host, user) for user in topology.USERS}
    broker.celery_urls = {user: _amqp_url(broker.celery_host, user) for user in topology.CELERY_USERS}
    return broker


def drop_hosts(run: str) -> None:
    """Delete every virtual host of a test run."""
    with httpx2.Client(base_url=MANAGEMENT_URL, timeout=_TIMEOUT_S, trust_env=False) as client:
        answer = client.get("/api/vhosts", params={"columns": "name"})
        answer.raise_for_status()
        for entry in answer.json():
            if entry["name"].startswith(f"copeck-test-{run}-"):
                client.delete(f"/api/vhosts/{quote(entry['name'], safe='')}")
