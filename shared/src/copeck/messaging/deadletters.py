"""Messages that were set aside: their reasons, and what an operator may do with them.

A message that is rejected cannot be given a header, and no service may publish into a dead-letter queue. So the reason
is a row in the service's own schema, written before the rejection, and a line in its log.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import aio_pika
import sqlalchemy as sa
from aio_pika.abc import AbstractIncomingMessage, AbstractQueue

from copeck.messaging.connection import broker_session
from copeck.storage.engine import Database

DEAD_SUFFIX = ".dead"
SCAN_MAX = 10_000
_TIMEOUT_S = 15.0
_NAME = "dead-letters"


class Reasons:
    """Stores why messages were set aside, each in a transaction of its own."""

    def __init__(self, database: Database, table: sa.Table) -> None:
        self._database = database
        self._table = table

    async def record(self, *, message_id: str, queue: str, type_name: str, reason: str) -> None:
        """Keep one reason."""
        async with self._database.transaction() as tx:
            await tx.execute(
                sa.insert(self._table).values(
                    message_id=message_id[:200], queue=queue, type=type_name, reason=reason.replace("\x00", "")
                )
            )


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message in a dead-letter queue."""

    message_id: str
    dead_queue: str
    source_queue: str
    type: str
    cause: str
    died_at: datetime | None
    sender: str | None
    headers: dict[str, Any] = field(default_factory=dict)
    body: str = ""


class DeadLetters:
    """What an operator does with a dead-letter queue. Its user may read `*.dead` and publish straight into queues."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def list(self, dead_queue: str, limit: int = 100) -> list[DeadLetter]:
        """Look at the oldest messages and leave them where they are."""
        found: list[DeadLetter] = []

        def look(letter: DeadLetter) -> bool:
            found.append(letter)
            return False

        await self._scan(dead_queue, limit, look, None)
        return found

    async def show(self, dead_queue: str, message_id: str) -> DeadLetter | None:
        """Return one message with its body."""
        found = [letter for letter in await self.list(dead_queue, SCAN_MAX) if letter.message_id == message_id]
        return found[0] if found else None

    async def count(self, dead_queue: str) -> int:
        """Return how many messages there are."""
        async with broker_session(self._url, _NAME, _TIMEOUT_S) as connection:
            channel = await connection.channel()
            queue = await channel.get_queue(dead_queue, ensure=True)
            return queue.declaration_result.message_count or 0

    async def redrive(self, dead_queue: str, message_ids: set[str] | None = None, limit: int = SCAN_MAX) -> int:
        """Put messages back into the queues that they died in (all, or those named); returns how many.

        The copy is confirmed before the original is acknowledged: a crash between them leaves both, and the inbox
        recognises the second.
        """
        return await self._take(dead_queue, message_ids, limit, _republish)

    async def drop(self, dead_queue: str, message_ids: set[str], limit: int = SCAN_MAX) -> int:
        """Delete the messages named; the caller records why. Returns how many were there."""
        return await self._take(dead_queue, message_ids, limit, None)

    async def _take(
        self,
        dead_queue: str,
        message_ids: set[str] | None,
        limit: int,
        before: Any,
    ) -> int:
        def wanted(letter: DeadLetter) -> bool:
            return message_ids is None or letter.message_id in message_ids

        return await self._scan(dead_queue, limit, wanted, before)

    async def _scan(self, dead_queue: str, limit: int, wanted: Callable[[DeadLetter], bool], before: Any) -> int:
        """Take messages one by one; settle the wanted, and give the others back when all were seen."""
        taken = 0
        async with broker_session(self._url, _NAME, _TIMEOUT_S) as connection:
            channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
            queue: AbstractQueue = await channel.get_queue(dead_queue, ensure=False)
            for _ in range(limit):
                message = await queue.get(fail=False, timeout=_TIMEOUT_S)
                if message is None:
                    break
                letter = describe(dead_queue, message)
                if wanted(letter):
                    if before is not None:
                        await before(channel, message, letter)
                    await message.ack()
                    taken += 1
            # What is not settled goes back as the channel closes; these queues' delivery limit is out of reach.
        return taken


async def _republish(channel: Any, message: AbstractIncomingMessage, letter: DeadLetter) -> None:
    if not letter.source_queue:
        raise ValueError(f"{letter.message_id} does not say which queue it died in")
    headers = {
        name: value
        for name, value in message.headers.items()
        if not name.startswith(("x-death", "x-first-", "x-last-", "x-delivery-count"))
    }
    copy = aio_pika.Message(
        message.body,
        headers=headers,
        content_type=message.content_type,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        message_id=message.message_id,
        type=message.type,
        user_id=message.user_id,
        timestamp=message.timestamp,
    )
    await channel.default_exchange.publish(copy, letter.source_queue, mandatory=True, timeout=_TIMEOUT_S)


def describe(dead_queue: str, message: AbstractIncomingMessage) -> DeadLetter:
    """Read what the broker wrote about a death."""
    deaths = message.headers.get("x-death")
    last: dict[str, Any] = {}
    if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict):
        last = deaths[0]
    died_at = last.get("time")
    return DeadLetter(
        message_id=message.message_id or "",
        dead_queue=dead_queue,
        source_queue=str(last.get("queue") or message.headers.get("x-first-death-queue") or ""),
        type=str(message.headers.get("cloudEvents:type") or message.type or ""),
        cause=str(last.get("reason") or ""),
        died_at=died_at if isinstance(died_at, datetime) else None,
        sender=message.user_id,
        headers={name: str(value) for name, value in message.headers.items() if name.startswith("cloudEvents:")},
        body=message.body.decode("utf-8", "replace"),
    )
