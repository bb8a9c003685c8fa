"""Sessions of browsers, and families of refresh tokens."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from auth.domain.refresh import TokenState
from auth.tables import refresh_families, refresh_tokens, sessions, users

_SEEN_STEP = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Origin:
    """From where a session or family was made, shown to its owner."""

    address: str
    agent: str


async def insert_session(
    tx: AsyncConnection,
    *,
    session_id: UUID,
    token_hash: bytes,
    user_id: UUID,
    now: datetime,
    life: timedelta,
    origin: Origin,
) -> None:
    """Store a session."""
    await tx.execute(
        sa.insert(sessions).values(
            id=session_id,
            token_hash=token_hash,
            user_id=user_id,
            created_at=now,
            expires_at=now + life,
            seen_at=now,
            address=origin.address[:100],
            agent=origin.agent[:200],
        )
    )


async def find_session(
    tx: AsyncConnection, token_hash: bytes, now: datetime, idle: timedelta
) -> tuple[UUID, UUID, bool] | None:
    """Return session, user, and whether it is time to note that it was seen; None when it is over or revoked."""
    row = (
        await tx.execute(
            sa.select(sessions.c.id, sessions.c.user_id, sessions.c.seen_at).where(
                sessions.c.token_hash == token_hash,
                sessions.c.revoked_at.is_(None),
                sessions.c.expires_at > now,
                sessions.c.seen_at > now - idle,
            )
        )
    ).first()
    return (row.id, row.user_id, now - row.seen_at > _SEEN_STEP) if row is not None else None


async def touch_session(tx: AsyncConnection, session_id: UUID, now: datetime) -> None:
    """Note that the session is in use."""
    await tx.execute(sa.update(sessions).where(sessions.c.id == session_id).values(seen_at=now))


async def revoke_session(tx: AsyncConnection, token_hash: bytes, now: datetime) -> None:
    """End one session."""
    await tx.execute(
        sa.update(sessions)
        .where(sessions.c.token_hash == token_hash, sessions.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )


async def revoke_all(
    tx: AsyncConnection, user_id: UUID, now: datetime, reason: str, *, except_client: str | None = None
) -> None:
    """End every session and family of a user, but for the one that asks."""
    kept = except_client.partition(":")[2] if except_client else ""
    own_session = sa.update(sessions).where(sessions.c.user_id == user_id, sessions.c.revoked_at.is_(None))
    own_family = sa.update(refresh_families).where(
        refresh_families.c.user_id == user_id, refresh_families.c.revoked_at.is_(None)
    )
    await tx.execute(own_session.where(sa.cast(sessions.c.id, sa.Text) != kept).values(revoked_at=now))
    await tx.execute(
        own_family.where(sa.cast(refresh_families.c.id, sa.Text) != kept).values(revoked_at=now, revoked_reason=reason)
    )


async def insert_family(
    tx: AsyncConnection, *, family_id: UUID, user_id: UUID, now: datetime, life: timedelta, origin: Origin
) -> None:
    """Begin a family of refresh tokens: one login on one device."""
    await tx.execute(
        sa.insert(refresh_families).values(
            id=family_id,
            user_id=user_id,
            created_at=now,
            expires_at=now + life,
            address=origin.address[:100],
            agent=origin.agent[:200],
        )
    )


async def insert_token(
    tx: AsyncConnection, token_hash: bytes, family_id: UUID, now: datetime, expires_at: datetime
) -> None:
    """Store a refresh token."""
    await tx.execute(
        sa.insert(refresh_tokens).values(
            token_hash=token_hash, family_id=family_id, issued_at=now, expires_at=expires_at
        )
    )


@dataclass(frozen=True, slots=True)
class UsedToken:
    """What an attempt to use a refresh token found."""

    state: TokenState
    family_id: UUID
    user_id: UUID


async def use_token(tx: AsyncConnection, token_hash: bytes, now: datetime) -> UsedToken | None:
    """Use a token up, in one atomic statement: of any number of requests at once exactly one wins it."""
    won = (
        await tx.execute(
            sa.update(refresh_tokens)
            .where(refresh_tokens.c.token_hash == token_hash, refresh_tokens.c.used_at.is_(None))
            .values(used_at=now)
            .returning(refresh_tokens.c.token_hash)
        )
    ).first() is not None
    row = (
        await tx.execute(
            sa.select(
                refresh_tokens.c.used_at,
                refresh_tokens.c.expires_at,
                refresh_families.c.id.label("family_id"),
                refresh_families.c.user_id,
                refresh_families.c.expires_at.label("family_expires_at"),
                refresh_families.c.revoked_at,
                users.c.status,
            )
            .join(refresh_families, refresh_families.c.id == refresh_tokens.c.family_id)
            .join(users, users.c.id == refresh_families.c.user_id)
            .where(refresh_tokens.c.token_hash == token_hash)
        )
    ).first()
    if row is None:
        return None
    state = TokenState(
        won=won,
        used_at=row.used_at,
        expires_at=row.expires_at,
        family_expires_at=row.family_expires_at,
        family_revoked=row.revoked_at is not None,
        user_active=row.status == "active",
    )
    return UsedToken(state, row.family_id, row.user_id)


async def revoke_family(tx: AsyncConnection, family_id: UUID, now: datetime, reason: str) -> bool:
    """End a family; False when it was over before."""
    row = await tx.execute(
        sa.update(refresh_families)
        .where(refresh_families.c.id == family_id, refresh_families.c.revoked_at.is_(None))
        .values(revoked_at=now, revoked_reason=reason)
        .returning(refresh_families.c.id)
    )
    return row.first() is not None


async def family_of_token(tx: AsyncConnection, token_hash: bytes) -> UUID | None:
    """Return the family of a refresh token."""
    found: UUID | None = await tx.scalar(
        sa.select(refresh_tokens.c.family_id).where(refresh_tokens.c.token_hash == token_hash)
    )
    return found


async def family_user(tx: AsyncConnection, family_id: UUID, now: datetime) -> UUID | None:
    """Return the user of a family that is neither revoked nor over."""
    found: UUID | None = await tx.scalar(
        sa.select(refresh_families.c.user_id).where(
            refresh_families.c.id == family_id,
            refresh_families.c.revoked_at.is_(None),
            refresh_families.c.expires_at > now,
        )
    )
    return found


async def live_of_user(tx: AsyncConnection, user_id: UUID, now: datetime, limit: int) -> list[sa.Row[Any]]:
    """List where a user is logged in, the newest first."""
    browser = sa.select(
        sa.literal("session").label("kind"), sessions.c.id, sessions.c.created_at, sessions.c.expires_at,
        sessions.c.address, sessions.c.agent,
    ).where(sessions.c.user_id == user_id, sessions.c.revoked_at.is_(None), sessions.c.expires_at > now)  # fmt: skip
    tokens = sa.select(
        sa.literal("token").label("kind"), refresh_families.c.id, refresh_families.c.created_at,
        refresh_families.c.expires_at, refresh_families.c.address, refresh_families.c.agent,
    ).where(
        refresh_families.c.user_id == user_id,
        refresh_families.c.revoked_at.is_(None),
        refresh_families.c.expires_at > now,
    )  # fmt: skip
    both = sa.union_all(browser, tokens).subquery()
    return list(await tx.execute(sa.select(both).order_by(both.c.created_at.desc()).limit(limit)))


async def purge(tx: AsyncConnection, before: datetime, limit: int) -> int:
    """Delete sessions and families that ended before a moment, a bounded number at once."""
    count = 0
    for table in (sessions, refresh_families):
        doomed = sa.select(table.c.id).where(table.c.expires_at < before).order_by(table.c.expires_at).limit(limit)
        count += (await tx.execute(sa.delete(table).where(table.c.id.in_(doomed)))).rowcount
    return count
