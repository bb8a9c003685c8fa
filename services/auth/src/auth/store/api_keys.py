"""API keys."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from auth.tables import api_keys


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret."""

    id: str
    user_id: UUID
    name: str
    roles: frozenset[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    used_at: datetime | None


def _key(row: sa.Row[Any]) -> ApiKey:
    return ApiKey(
        row.id, row.user_id, row.name, frozenset(row.roles), row.created_at, row.expires_at, row.revoked_at, row.used_at
    )


async def insert_key(
    tx: AsyncConnection,
    *,
    key_id: str,
    secret_hash: bytes,
    user_id: UUID,
    name: str,
    roles: Iterable[str],
    now: datetime,
    expires_at: datetime | None,
) -> ApiKey:
    """Store a key."""
    row = await tx.execute(
        sa.insert(api_keys)
        .values(
            id=key_id,
            secret_hash=secret_hash,
            user_id=user_id,
            name=name,
            roles=sorted(roles),
            created_at=now,
            expires_at=expires_at,
        )
        .returning(api_keys)
    )
    return _key(row.one())


async def count_live(tx: AsyncConnection, user_id: UUID) -> int:
    """Count a user's keys that were not revoked."""
    found = await tx.scalar(
        sa.select(sa.func.count()).where(api_keys.c.user_id == user_id, api_keys.c.revoked_at.is_(None))
    )
    return int(found or 0)


async def page(tx: AsyncConnection, *, user_id: UUID, after: tuple[datetime, str] | None, limit: int) -> list[ApiKey]:
    """List a user's keys, the oldest first."""
    order = (api_keys.c.created_at, api_keys.c.id)
    statement = sa.select(api_keys).where(api_keys.c.user_id == user_id).order_by(*order).limit(limit)
    if after is not None:
        statement = statement.where(sa.tuple_(*order) > sa.tuple_(sa.literal(after[0]), sa.literal(after[1])))
    return [_key(row) for row in await tx.execute(statement)]


async def by_id(tx: AsyncConnection, key_id: str) -> ApiKey | None:
    """Find a key."""
    row = (await tx.execute(sa.select(api_keys).where(api_keys.c.id == key_id))).first()
    return _key(row) if row is not None else None


async def secret_hash(tx: AsyncConnection, key_id: str, now: datetime) -> tuple[bytes, ApiKey] | None:
    """Return what a key is checked by; None when it is unknown, revoked or over."""
    row = (
        await tx.execute(
            sa.select(api_keys).where(
                api_keys.c.id == key_id,
                api_keys.c.revoked_at.is_(None),
                sa.or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now),
            )
        )
    ).first()
    return (row.secret_hash, _key(row)) if row is not None else None


async def revoke(tx: AsyncConnection, key_id: str, now: datetime) -> None:
    """Revoke a key."""
    await tx.execute(
        sa.update(api_keys).where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None)).values(revoked_at=now)
    )


async def revoke_all(tx: AsyncConnection, user_id: UUID, now: datetime) -> None:
    """Revoke every key of a user."""
    await tx.execute(
        sa.update(api_keys).where(api_keys.c.user_id == user_id, api_keys.c.revoked_at.is_(None)).values(revoked_at=now)
    )


async def touch(tx: AsyncConnection, key_id: str, now: datetime) -> None:
    """Note when the key was last used."""
    await tx.execute(sa.update(api_keys).where(api_keys.c.id == key_id).values(used_at=now))
