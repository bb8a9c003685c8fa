"""Connections to Postgres with time-outs on everything, and transactions as the only way to use them."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

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
    ) -> None:
        self.url = url
        self.application = application
        self.timeouts = timeouts
        self.engine: AsyncEngine = create_async_engine(
            driver_url(url),
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=timeouts.pool_wait_s,
            pool_recycle=1800,
            # After a restart of Postgres the pool is full of dead connections; one round trip finds them out. A caller
            # that tries again anyway may save it.
            pool_pre_ping=pre_ping,
            connect_args=connect_args(application, timeouts),
        )

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
