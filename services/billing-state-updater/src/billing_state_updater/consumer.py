"""The edge: takes deliveries off the leased shards' queues, feeds them to the handler in batches, acks after commit."""

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg
from aiormq.channel import Channel
from aiormq.connection import Connection as BrokerConnection

from billing_state_updater import handlers, metrics
from billing_state_updater.decoding import decode
from billing_state_updater.handlers import Batch, FencedError
from billing_state_updater.outbox import Outbox
from billing_state_updater.store import shards as shard_store
from billing_state_updater.transport import connect, open_channel, reaching_broker
from billing_state_updater.world import Delivery, Incoming, Quarantined
from copeck.contracts.registry import shard_queue
from copeck.messaging.errors import BrokerUnavailableError
from copeck.observability.logs import get_logger

log = get_logger(__name__)

Connect = Callable[[], Awaitable[handlers.Connection]]
BACKOFF_S_MAX = 5.0
CLOSE_TIMEOUT_S = 5.0
# The batch again, whatever it holds: the server, the network or a lock was at fault, or a right or a table is missing,
# which an operator mends. Only an error of the data splits a batch (design, 8).
_TRANSIENT_CLASSES = ("08", "25", "40", "42", "53", "55", "57", "58", "F0", "XX")


@dataclass(slots=True)
class Shard:
    """One leased shard: its fencing epoch, its channel, and what was delivered and not yet taken."""

    number: int
    epoch: int
    channel: Channel | None = None
    waiting: deque[Delivery] = field(default_factory=deque)
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """What one batch holds of one shard, and the channel that delivered it."""

    shard: Shard
    channel: Channel | None
    deliveries: list[Delivery]


def is_transient(error: BaseException) -> bool:
    """Tell whether the same batch may succeed later without a change."""
    if isinstance(error, psycopg.errors.UniqueViolation):
        # Two shards credited a new account at the same time; the second attempt finds it there.
        return error.diag.constraint_name == "accounts_pkey"
    if isinstance(error, psycopg.Error):
        state = error.sqlstate
        if state is None:
            # The server did not speak: the connection broke; or the driver refused a value, which is the data's fault.
            return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        return state[:2] in _TRANSIENT_CLASSES
    return isinstance(error, OSError | TimeoutError)


class Lane:
    """Some of the process's shards on one database connection. While one lane commits, another decides."""

    def __init__(self, name: str, connect_database: Connect, outbox: Outbox, batch_max: int) -> None:
        self.name = name
        self.shards: dict[int, Shard] = {}
        self.ready = asyncio.Event()
        self.stopping = False
        self._connect = connect_database
        self._outbox = outbox
        self._batch_max = batch_max
        self._connection: handlers.Connection | None = None
        self._busy = False
        self._pause = asyncio.Event()

    async def finish(self, deadline: float) -> None:
        """Wait until nothing is in memory and nothing in flight, or the event loop's clock comes to `deadline`."""
        while self._busy or any(shard.waiting for shard in self.shards.values()):
            left_s = deadline - asyncio.get_running_loop().time()
            if left_s <= 0:
                return
            self._pause.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._pause.wait(), left_s)

    async def run(self) -> None:
        """Take whatever waits, up to a batch, apply it, ack it; never returns but by cancellation."""
        while True:
            await self.ready.wait()
            self.ready.clear()
            while taken := self._take():
                self._busy = True
                try:
                    await self._work(taken)
                finally:
                    self._busy = False
                    self._pause.set()

    def _take(self) -> list[Taken]:
        """Take an even share from each shard that has something waiting."""
        full = [shard for shard in self.shards.values() if shard.waiting and not shard.lost]
        taken = []
        for shard in full:
            share = max(1, self._batch_max // len(full))
            waiting = shard.waiting
            deliveries = [waiting.popleft() for _ in range(min(share, len(waiting)))]
            taken.append(Taken(shard, shard.channel, deliveries))
        return taken

    async def _work(self, taken: list[Taken]) -> None:
        now_s = time.time()
        items = [decode(delivery, now_s) for part in taken for delivery in part.deliveries]
        await self._apply(items, {part.shard.number: part.shard for part in taken})
        for part in taken:
            if not part.shard.lost:
                await self._ack(part)

    async def _ack(self, part: Taken) -> None:
        """Ack on the channel that delivered: the same tag means another message on a channel opened since."""
        channel = part.channel
        if channel is None or channel.is_closed:
            return
        try:
            with reaching_broker():
                await channel.basic_ack(part.deliveries[-1].tag, multiple=True, wait=False)
        except BrokerUnavailableError:
            # The broker delivers these again, and the inbox knows them.
            log.info("an ack did not reach the broker", shard=part.shard.number)

    async def _apply(self, items: list[Incoming | Quarantined], shards: dict[int, Shard]) -> None:
        """Apply items as one transaction; split them only for an error of the data."""
        attempt = 0
        while items := [item for item in items if not shards[_shard_of(item)].lost]:
            attempt += 1
            try:
                await self._transact(items, shards)
                return
            except FencedError as error:
                metrics.fenced.inc(len(error.shards))
                log.warning("shards were taken over by another owner", shards=sorted(error.shards))
                for number in error.shards & set(shards):
                    shards[number].lost = True
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, it is retried or its culprit is set aside
                if is_transient(error):
                    await self._back_off(attempt, error)
                    continue
                if len(items) > 1:
                    metrics.batch_retries.labels("split").inc()
                    middle = len(items) // 2
                    await self._apply(items[:middle], shards)
                    await self._apply(items[middle:], shards)
                    return
                items = [self._culprit(items[0], error)]

    def _culprit(self, item: Incoming | Quarantined, error: Exception) -> Quarantined:
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:400]
        delivery = item.delivery
        if delivery is None:
            raise TypeError("a command of a batch came without its delivery") from error
        log.error("a message is set aside", reason=reason, message_id=delivery.message_id)
        if isinstance(item, Quarantined):
            # Even setting it aside fails: without its content it still leaves a trace.
            delivery = Delivery(delivery.shard, delivery.tag, delivery.message_id, "", {}, b"")
        return Quarantined(delivery, reason)

    async def _back_off(self, attempt: int, error: Exception) -> None:
        metrics.batch_retries.labels("transient").inc()
        pause_s = min(BACKOFF_S_MAX, 0.05 * 2 ** min(attempt, 10)) * random.uniform(0.5, 1)  # noqa: S311 - jitter
        log.warning("a batch is tried again", attempt=attempt, pause_s=round(pause_s, 3), reason=str(error)[:300])
        await asyncio.sleep(pause_s)

    async def _transact(self, items: list[Incoming | Quarantined], shards: dict[int, Shard]) -> None:
        if self._connection is None or self._connection.closed:
            connection = await self._connect()
            try:
                await self._recheck(connection)
            except BaseException:
                await connection.close()
                raise
            self._connection = connection
        numbers = {_shard_of(item) for item in items}
        batch = Batch(
            incoming=[item for item in items if isinstance(item, Incoming)],
            unreadable=[item for item in items if isinstance(item, Quarantined)],
            epochs={number: shards[number].epoch for number in numbers},
            next_seq={number: self._outbox.next_seq(number) for number in numbers},
            published=self._outbox.to_save(numbers),
        )
        began = time.monotonic()
        try:
            committed = await handlers.handle(self._connection, batch)
        except (psycopg.OperationalError, OSError):
            # The commit may have gone through or not: positions are read from the table before the next try.
            await self._close()
            raise
        metrics.batch_seconds.observe(time.monotonic() - began)
        metrics.batches.inc()
        metrics.batch_size.observe(len(items))
        for outcome, count in committed.counts.items():
            if count:
                metrics.commands.labels(outcome).inc(count)
        for message in committed.quarantined:
            metrics.quarantined.inc()
            log.error("a message is in quarantine", reason=message.reason, message_id=message.delivery.message_id)
        self._outbox.saved(dict(batch.published))
        self._outbox.committed(committed.outgoing)

    async def _recheck(self, connection: handlers.Connection) -> None:
        # Read too early, positions would be given twice, and every later command of the shard set aside for it.
        await shard_store.settle(connection, self.shards)
        places = await shard_store.positions(connection, self.shards)
        for number, (_, written) in places.items():
            self._outbox.recheck(number, written)

    async def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and not connection.closed:
            await connection.close()


def _shard_of(item: Incoming | Quarantined) -> int:
    return item.delivery.shard if isinstance(item, Quarantined) else item.shard


class ShardConsumer:
    """Subscriptions to the queues of the leased shards, one channel each."""

    def __init__(self, url: str, lanes: list[Lane], prefetch: int) -> None:
        self._url = url
        self._lanes = lanes
        self._prefetch = prefetch
        self._connection: BrokerConnection | None = None

    @property
    def owned(self) -> dict[int, Shard]:
        """Return every shard of every lane."""
        return {number: shard for lane in self._lanes for number, shard in lane.shards.items()}

    def lane_of(self, number: int) -> Lane:
        """Return the lane that works on a shard."""
        return self._lanes[number % len(self._lanes)]

    async def subscribe(self, number: int) -> None:
        """Open the shard's channel and consume, where that is not the case already."""
        shard = self.owned.get(number)
        if shard is None or shard.lost or (shard.channel is not None and not shard.channel.is_closed):
            return
        # What an old channel delivered is delivered again; its tags mean nothing on a new one.
        shard.waiting = deque()
        if self._connection is None or self._connection.is_closed:
            self._connection = await connect(self._url, "consumer")
        channel, tap = await open_channel(self._connection, confirms=False)
        lane, waiting = self.lane_of(number), shard.waiting

        def deliver(tag: int, properties: Any, body: bytes) -> None:
            waiting.append(
                Delivery(
                    number, tag, properties.message_id or "", properties.user_id or "", properties.headers or {}, body
                )
            )
            lane.ready.set()

        tap.on_deliver = deliver
        shard.channel = channel
        try:
            with reaching_broker():
                await channel.basic_qos(prefetch_count=self._prefetch)
                await channel.basic_consume(shard_queue(number), _unused, no_ack=False)
        except BaseException:
            # A channel without its consumer looks alive and would never be opened again.
            shard.channel = None
            with contextlib.suppress(BrokerUnavailableError), reaching_broker():
                await asyncio.wait_for(channel.close(), CLOSE_TIMEOUT_S)
            raise

    async def give_up(self, number: int) -> None:
        """Close a shard's channel and forget it; what was not acked goes to the next owner."""
        shard = self.lane_of(number).shards.pop(number, None)
        if shard is None:
            return
        shard.lost = True
        shard.waiting.clear()
        if shard.channel is not None and not shard.channel.is_closed:
            try:
                with reaching_broker():
                    await asyncio.wait_for(shard.channel.close(), CLOSE_TIMEOUT_S)
            except BrokerUnavailableError:
                log.info("a channel did not close in order", shard=number)

    async def pause(self) -> None:
        """Ask the broker to deliver nothing more; what is in memory is still worked on."""
        for shard in self.owned.values():
            channel = shard.channel
            if channel is None or channel.is_closed:
                continue
            for tag in list(channel.consumers):
                try:
                    with reaching_broker():
                        await asyncio.wait_for(channel.basic_cancel(tag), CLOSE_TIMEOUT_S)
                except BrokerUnavailableError:
                    break

    async def close(self) -> None:
        """Close the connection; the broker takes back what was not acked."""
        if self._connection is not None and not self._connection.is_closed:
            try:
                with reaching_broker():
                    await asyncio.wait_for(self._connection.close(), CLOSE_TIMEOUT_S)
            except BrokerUnavailableError:
                log.info("the consumer's connection did not close in order")


async def _unused(_message: Any) -> None:
    """Stand for a callback: the frame tap takes deliveries before aiormq would call it."""
