"""Wrong passwords, counted in Postgres: a lock-out must not be lost with Redis."""

from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from auth.tables import challenges, login_failures


async def locked_until(tx: AsyncConnection, subjects: list[bytes], now: datetime) -> datetime | None:
    """Return until when any of the subjects has to wait."""
    found: datetime | None = await tx.scalar(
        sa.select(sa.func.max(login_failures.c.locked_until)).where(
            login_failures.c.subject.in_(subjects), login_failures.c.locked_until > now
        )
    )
    return found


async def count(tx: AsyncConnection, subject: bytes, now: datetime, window: timedelta, failures_max: int) -> None:
    """Count a failure; with the last allowed one the lock begins. Old failures are forgotten after the window."""
    fresh = login_failures.c.since > now - window
    failures = sa.case((fresh, login_failures.c.failures + 1), else_=1)
    statement = insert(login_failures).values(subject=subject, failures=1, since=now)
    await tx.execute(
        statement.on_conflict_do_update(
            index_elements=[login_failures.c.subject],
            set_={
                "failures": failures,
                "since": sa.case((fresh, login_failures.c.since), else_=now),
                "locked_until": sa.case((failures >= failures_max, now + window), else_=None),
            },
        )
    )


async def forget(tx: AsyncConnection, subject: bytes) -> None:
    """Start counting anew after a right password."""
    await tx.execute(sa.delete(login_failures).where(login_failures.c.subject == subject))


async def purge(tx: AsyncConnection, before: datetime) -> int:
    """Delete what is too old to matter."""
    gone = await tx.execute(sa.delete(login_failures).where(login_failures.c.since < before))
    await tx.execute(sa.delete(challenges).where(challenges.c.expires_at < before))
    return gone.rowcount
