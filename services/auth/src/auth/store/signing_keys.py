"""Signing keys and the steps of their life."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from auth.domain.rotation import KeyState
from auth.signing import NewKey, StoredKey
from auth.tables import signing_keys

# Sealed keys of the past are of no use to anybody but a thief.
_NOTHING = b""
_LOCK = 0x636F7065636B6B65


async def lock(tx: AsyncConnection) -> None:
    """Let one process at a time change the keys."""
    await tx.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))


async def in_use(tx: AsyncConnection) -> list[StoredKey]:
    """Return the keys that verifiers should know."""
    rows = await tx.execute(
        sa.select(signing_keys).where(signing_keys.c.state != "retired").order_by(signing_keys.c.published_at)
    )
    return [StoredKey(row.kid, row.algorithm, row.public_jwk, bytes(row.private_sealed), row.state) for row in rows]


async def states(tx: AsyncConnection, limit: int = 50) -> list[KeyState]:
    """Return the life of the keys, the newest first."""
    rows = await tx.execute(sa.select(signing_keys).order_by(signing_keys.c.published_at.desc()).limit(limit))
    return [KeyState(row.kid, row.state, row.published_at, row.activated_at, row.retiring_at) for row in rows]


async def publish(tx: AsyncConnection, key: NewKey, now: datetime) -> None:
    """Store a key that verifiers may learn."""
    await tx.execute(
        sa.insert(signing_keys).values(
            kid=key.kid,
            algorithm=key.algorithm,
            public_jwk=key.public_jwk,
            private_sealed=key.private_sealed,
            state="published",
            published_at=now,
        )
    )


async def activate(tx: AsyncConnection, kid: str, now: datetime) -> None:
    """Let a key sign from now on, and the one before only verify."""
    await tx.execute(
        sa.update(signing_keys).where(signing_keys.c.state == "active").values(state="retiring", retiring_at=now)
    )
    await tx.execute(sa.update(signing_keys).where(signing_keys.c.kid == kid).values(state="active", activated_at=now))


async def retire(tx: AsyncConnection, kid: str, now: datetime) -> None:
    """Forget a key: its tokens are no longer good, and its private half is erased."""
    await tx.execute(
        sa.update(signing_keys)
        .where(signing_keys.c.kid == kid)
        .values(state="retired", retired_at=now, private_sealed=_NOTHING)
    )
