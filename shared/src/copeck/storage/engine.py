"""Connections to Postgres with time-outs on everything, and transactions as the only way to use them."""

import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import sqlalchemy as sa
from psycopg.rows import namedtuple_row
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

_DRIVER = "postgresql+psycopg"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Limits of every session. A statement, a wait for a lock and an idle transaction each end by themselves."""

    connect_s: int = 5
    statement_ms: int = 15_000
    lock_ms: int = 5_000
    idle_in_transaction_ms: int = 30_000
    pool_wait_s: float = 10.0


DEFAULT_TIMEOUTS = Timeouts()
_COMPILER = PGDialect_psycopg()  # type: ignore[no-untyped-call]


def driver_url(url: str) -> URL:
    """Turn a libpq URL (`postgresql://…`) into SQLAlchemy's, always with psycopg 3."""
    parsed = make_url(url)
    if not parsed.drivername.startswith("postgres"):
        raise ValueError(f"a postgresql:// URL is needed, not {parsed.drivername}://")
    return parsed.set(drivername=_DRIVER)


def libpq_url(url: str) -> str:
    """Turn a URL of either kind into the plain one, for psycopg itself and for command line tools."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def connect_args(application: str, timeouts: Timeouts = DEFAULT_TIMEOUTS) -> dict[str, Any]:
    """Return libpq's parameters: the limits are set as the session starts, so they cost no round trip.

    A peer that vanished without a word is noticed within about 20 seconds, on both sides: what a dead process had
    locked does not stay locked.
    """
    options = (
        f"-c statement_timeout={timeouts.statement_ms} -c lock_timeout={timeouts.lock_ms} "
        f"-c idle_in_transaction_session_timeout={timeouts.idle_in_transaction_ms} -c timezone=UTC "
        "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=3 -c tcp_keepalives_count=3"
    )
    return {
        "application_name": application[:63],
        "connect_timeout": timeouts.connect_s,
        "options": options,
        "keepalives": 1,
        "keepalives_idle": 10,
        "keepalives_interval": 3,
        "keepalives_count": 3,
        "tcp_user_timeout": 20_000,
    }


def _note_use(_connection: Any, record: ConnectionPoolEntry) -> None:
    record.info["used_at"] = time.monotonic()


def _find_out_dead(ping_after_s: float, connection: DBAPIConnection, record: ConnectionPoolEntry, _proxy: Any) -> None:
    """Ask a connection that lay in the pool for a while whether it lives; the pool makes a new one if it does not.

    After a restart of Postgres the pool is full of dead connections. Whoever tries again by itself may save the round
    trip for one that was used a moment ago: under load it would be one in ten.
    """
    if time.monotonic() - record.info.get("used_at", 0.0) < ping_after_s:
        return
    cursor = connection.cursor()
    try:
        cursor.execute("SELECT 1")
        # psycopg has begun a transaction for it, which the next user would be in.
        connection.rollback()
    except Exception as error:
        raise sa.exc.DisconnectionError("the connection is dead") from error
    finally:
        cursor.close()


class Database:
    """A pool of connections for asyncio. One transaction a message: `async with database.transaction() as tx`."""

    def __init__(
        self,
        url: str,
        pool_size: int = 10,
        *,
        application: str = "copeck",
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        pre_ping: bool = True,
        ping_after_s: float = 0.0,
    ) -> None:
        """`pre_ping` asks each connection that lay in the pool for `ping_after_s` or longer whether it lives."""
        self.url = url
        self.application = application
        self.timeouts = timeouts
        self.engine: AsyncEngine = create_async_engine(
            driver_url(url),
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=timeouts.pool_wait_s,
            pool_recycle=1800,
            connect_args=connect_args(application, timeouts),
        )
        if pre_ping:
            sa.event.listen(self.engine.sync_engine.pool, "checkin", _note_use)
            sa.event.listen(self.engine.sync_engine.pool, "checkout", partial(_find_out_dead, ping_after_s))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Begin; commit when the block ends, roll back when it raises."""
        async with self.engine.begin() as tx:
            yield tx

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A transaction in which Postgres refuses every write."""
        async with self.engine.connect() as plain:
            tx = await plain.execution_options(postgresql_readonly=True)
            async with tx.begin():
                yield tx

    async def ping(self) -> None:
        """Ask the server for an answer; raises when there is none."""
        async with self.engine.connect() as tx:
            await tx.execute(sa.text("SELECT 1"))

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()


@asynccontextmanager
async def pipelined(tx: AsyncConnection, *, commit: bool = False) -> AsyncIterator[None]:
    """Send the statements of the block without waiting for the answer to each: one round trip for all of them.

    None of them may return rows; the error of any of them is raised at the end of the block, as psycopg words it. With
    `commit` the commit goes along: the block is then the last thing in its transaction. After an error the server skips
    what follows, the commit too.
    """
    raw: Any = (await tx.get_raw_connection()).driver_connection
    async with raw.pipeline():
        yield
        if commit:
            await raw.commit()


async def fetch_together(tx: AsyncConnection, *queries: tuple[sa.Select[Any], Mapping[str, Any]]) -> list[list[Any]]:
    """Run queries in one round trip; returns the rows of each, as named tuples."""
    raw: Any = (await tx.get_raw_connection()).driver_connection
    cursors = []
    async with raw.pipeline():
        for statement, parameters in queries:
            cursor = raw.cursor(row_factory=namedtuple_row)
            await cursor.execute(_text_of(statement), parameters)
            cursors.append(cursor)
    return [await cursor.fetchall() for cursor in cursors]


@cache
def _text_of(statement: sa.Select[Any]) -> str:
    return str(statement.compile(dialect=_COMPILER))


class SyncDatabase:
    """The same for code without an event loop: Celery tasks and command line tools."""

    def __init__(
        self,
        url: str,
        pool_size: int = 2,
        *,
        application: str = "copeck",
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
    ) -> None:
        self.url = url
        self.application = application
        self.engine = sa.create_engine(
            driver_url(url),
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=timeouts.pool_wait_s,
            pool_recycle=1800,
            pool_pre_ping=True,
            connect_args=connect_args(application, timeouts),
        )

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """Begin; commit when the block ends, roll back when it raises."""
        with self.engine.begin() as tx:
            yield tx

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction in which Postgres refuses every write."""
        with self.engine.connect() as plain:
            tx = plain.execution_options(postgresql_readonly=True)
            with tx.begin():
                yield tx

    def ping(self) -> None:
        """Ask the server for an answer; raises when there is none."""
        with self.engine.connect() as tx:
            tx.execute(sa.text("SELECT 1"))

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()
