"""The outbox: messages are rows of the commit that decided them, and one elected relay publishes them (I-05)."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.contracts.envelope import Envelope
from copeck.messaging.backoff import Backoff
from copeck.messaging.errors import BrokerUnavailableError, PublishError, is_broker_fault
from copeck.messaging.publisher import OutgoingMessage, Publisher
from copeck.observability import metrics
from copeck.observability.trace import current_correlation_id, current_traceparent
from copeck.storage.bulk import BulkInsert
from copeck.storage.engine import Database
from copeck.storage.errors import is_transient

log = logging.getLogger(__name__)

WINDOW_MAX = 500
IDLE_POLL_S = 0.1
FOLLOWER_POLL_S = 1.0
LEADER_IDLE_TIMEOUT_S = 40
_BLOCKED_ROUTES_MAX = 200


class Outbox:
    """Adds messages to a service's outbox, inside the transaction that decided them."""

    def __init__(self, table: sa.Table) -> None:
        self._table = table
        self._add = BulkInsert(table, ("message_id", "exchange", "routing_key", "headers", "body"))

    async def add(self, tx: AsyncConnection, *envelopes: Envelope) -> None:
        """Add messages; they are published in the order of their ids in the table."""
        await self._add(tx, [_row(envelope) for envelope in envelopes])

    def add_sync(self, tx: sa.Connection, *envelopes: Envelope) -> None:
        """The same, for Celery tasks."""
        if envelopes:
            tx.execute(sa.insert(self._table), [_row(envelope) for envelope in envelopes])


def _row(envelope: Envelope) -> dict[str, Any]:
    traced = replace(
        envelope,
        traceparent=envelope.traceparent or current_traceparent(),
        correlation_id=envelope.correlation_id or current_correlation_id(),
    )
    return {
        "message_id": traced.id,
        "exchange": traced.exchange,
        "routing_key": traced.routing_key,
        "headers": traced.headers(),
        "body": traced.body(),
    }


@dataclass(slots=True)
class _Blocked:
    """A route whose oldest message the broker does not take."""

    failures: int
    retry_at: float


_Route = tuple[str, str]


class Relay:
    """Publishes a service's outbox, oldest first, and deletes what the broker confirmed.

    Every process of a service may run one: an advisory lock elects the one that works. After a commit `poke()` wakes
    it at once; rows of other processes are found by the idle poll. A message that the broker returns or refuses stops
    its own route (exchange and routing key): nothing overtakes it there, its oldest row is tried again with a growing
    delay, and the other routes go on.
    """

    def __init__(
        self,
        database: Database,
        table: sa.Table,
        publisher: Publisher,
        *,
        window_max: int = WINDOW_MAX,
        idle_poll_s: float = IDLE_POLL_S,
        follower_poll_s: float = FOLLOWER_POLL_S,
        backoff: Backoff | None = None,
    ) -> None:
        self.name = f"{table.schema}.{table.name}" if table.schema else table.name
        self._database = database
        self._table = table
        self._publisher = publisher
        self._window_max = window_max
        self._idle_poll_s = idle_poll_s
        self._follower_poll_s = follower_poll_s
        self._backoff = backoff or Backoff()
        # The sign bit is taken off: Postgres wants a signed bigint.
        self._lock_key = int.from_bytes(blake2b(f"relay:{self.name}".encode(), digest_size=8).digest()) >> 1
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._blocked: dict[_Route, _Blocked] = {}

    def poke(self) -> None:
        """Say that a commit added rows; call it from the relay's event loop."""
        self._wake.set()

    async def run(self) -> None:
        """Work until `stop`; faults of Postgres or of the broker are waited out."""
        failures = 0
        while not self._stopping.is_set():
            try:
                async with self._leading() as connection:
                    if connection is None:
                        failures = 0
                        await self._pause(self._follower_poll_s)
                        continue
                    while not self._stopping.is_set():
                        self._wake.clear()
                        busy = await self._publish_some(connection)
                        failures = 0
                        if not busy:
                            await self._pause(self._idle_poll_s, wakes=True)
            except Exception as error:
                # A relay that ended would hold back everything its service has to say, in silence: it goes on trying.
                if is_transient(error) or is_broker_fault(error):
                    log.warning("outbox %s waits: %s", self.name, _short(error))
                else:
                    log.exception("outbox %s waits after an error that nobody expects", self.name)
                await self._pause(self._backoff.delay_s(failures))
                failures += 1

    async def drain(self) -> int:
        """Publish everything that is there, if nobody else does it now; returns how many messages were confirmed."""
        total = 0
        async with self._leading() as connection:
            if connection is None:
                return 0
            while done := await self._publish_some(connection):
                total += done
        return total

    async def stop(self) -> None:
        """Let `run` end after the window under way."""
        self._stopping.set()
        self._wake.set()

    async def _pause(self, seconds: float, *, wakes: bool = False) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await (self._wake if wakes else self._stopping).wait()

    @contextlib.asynccontextmanager
    async def _leading(self) -> AsyncIterator[AsyncConnection | None]:
        """Hold the advisory lock on one connection; None when another process holds it.

        Rows are read and deleted on this very connection, so that with its loss the lock and the work end together.
        """
        async with self._database.engine.connect() as plain:
            connection = await plain.execution_options(isolation_level="AUTOCOMMIT")
            elected = await connection.scalar(sa.select(sa.func.pg_try_advisory_lock(self._lock_key)))
            if not elected:
                yield None
                return
            metrics.OUTBOX_LEADER.labels(self.name).set(1)
            try:
                # A deletion lost in a crash of Postgres means that a message goes out twice, which is harmless.
                await connection.execute(sa.text("SET synchronous_commit = off"))
                # A leader that stands still, stopped or swapped out, is deposed by the server.
                await connection.execute(sa.text(f"SET idle_session_timeout = '{LEADER_IDLE_TIMEOUT_S}s'"))
                yield connection
            finally:
                metrics.OUTBOX_LEADER.labels(self.name).set(0)
                metrics.OUTBOX_LAG.labels(self.name).set(0)
                await self._resign(connection)

    async def _resign(self, connection: AsyncConnection) -> None:
        try:
            await connection.execute(sa.text("RESET synchronous_commit"))
            await connection.execute(sa.text("RESET idle_session_timeout"))
            await connection.execute(sa.select(sa.func.pg_advisory_unlock(self._lock_key)))
        except Exception as error:  # noqa: BLE001 - whatever it is, the connection must not go back with the lock
            log.debug("outbox %s: its connection is given up: %s", self.name, _short(error))
            await connection.invalidate()

    async def _publish_some(self, connection: AsyncConnection) -> int:
        """Publish one window and the routes whose time to be tried again has come; returns how many went out."""
        done = 0
        now = time.monotonic()
        for route in [route for route, blocked in self._blocked.items() if blocked.retry_at <= now]:
            rows = await self._rows(connection, 1, only=route)
            if not rows:
                del self._blocked[route]
                continue
            done += await self._publish(connection, rows)
        rows = await self._rows(connection, self._window_max)
        self._note_lag(rows)
        if rows:
            done += await self._publish(connection, rows)
        metrics.OUTBOX_BLOCKED.labels(self.name).set(len(self._blocked))
        return done

    async def _rows(self, connection: AsyncConnection, limit: int, only: _Route | None = None) -> list[sa.Row[Any]]:
        table = self._table
        route = sa.tuple_(table.c.exchange, table.c.routing_key)
        query = sa.select(table).order_by(table.c.id).limit(limit)
        if only is not None:
            query = query.where(route == only)
        elif self._blocked:
            query = query.where(route.not_in(list(self._blocked)))
        return list(await connection.execute(query))

    def _note_lag(self, rows: Iterable[sa.Row[Any]]) -> None:
        oldest = next((row.created_at for row in rows), None)
        lag = (datetime.now(UTC) - oldest).total_seconds() if oldest else 0.0
        metrics.OUTBOX_LAG.labels(self.name).set(max(lag, 0.0))

    async def _publish(self, connection: AsyncConnection, rows: list[sa.Row[Any]]) -> int:
        messages = [
            OutgoingMessage(str(row.message_id), row.exchange, row.routing_key, row.body, row.headers) for row in rows
        ]
        try:
            await self._publisher.publish_window(messages)
        except PublishError as error:
            await self._forget(connection, [rows[index].id for index in sorted(error.confirmed)])
            self._note_failures(error, rows)
            if error.transient:
                raise BrokerUnavailableError(str(error)) from error
            return len(error.confirmed)
        await self._forget(connection, [row.id for row in rows])
        for row in rows:
            self._blocked.pop((row.exchange, row.routing_key), None)
        return len(rows)

    async def _forget(self, connection: AsyncConnection, ids: list[int]) -> None:
        if ids:
            column = self._table.c.id
            await connection.execute(
                sa.delete(self._table).where(column == sa.func.any(sa.literal(ids, sa.ARRAY(sa.BigInteger))))
            )
            metrics.OUTBOX_PUBLISHED.labels(self.name).inc(len(ids))

    def _note_failures(self, error: PublishError, rows: list[sa.Row[Any]]) -> None:
        for failure in error.failures:
            metrics.OUTBOX_FAILURES.labels(self.name, failure.kind).inc()
            if failure.kind in ("timeout", "connection"):
                continue
            row = rows[failure.index]
            route = (row.exchange, row.routing_key)
            known = self._blocked.get(route)
            if known is None and len(self._blocked) >= _BLOCKED_ROUTES_MAX:
                continue
            failures = known.failures + 1 if known else 0
            self._blocked[route] = _Blocked(failures, time.monotonic() + self._backoff.delay_s(failures))
            log.error("outbox %s: route %s/%s is stopped: %s", self.name, *route, failure)


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:300]
