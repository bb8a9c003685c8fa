"""Users, their roles, and the audit of what was done to them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from auth.tables import audit, user_roles, users


@dataclass(frozen=True, slots=True)
class User:
    """A user with roles; the password's hash is here for the one place that checks it."""

    id: UUID
    email: str
    password_hash: str
    status: str
    version: int
    created_at: datetime
    roles: frozenset[str]

    @property
    def active(self) -> bool:
        """Tell whether the user may do anything at all."""
        return self.status == "active"


_ROLES = (
    sa.select(sa.func.coalesce(sa.func.array_agg(user_roles.c.role), sa.literal_column("'{}'::text[]")))
    .where(user_roles.c.user_id == users.c.id)
    .scalar_subquery()
    .label("roles")
)
_SELECT = sa.select(users, _ROLES)


def email_key(email: str) -> str:
    """Return the form by which addresses are compared."""
    return email.strip().lower()


def _user(row: sa.Row[Any] | None) -> User | None:
    if row is None:
        return None
    return User(
        row.id, row.email, row.password_hash, row.status, row.version, row.created_at, frozenset(row.roles or ())
    )


async def insert_user(tx: AsyncConnection, user_id: UUID, email: str, password_hash: str, now: datetime) -> bool:
    """Insert a user; False when the address has an account."""
    statement = (
        insert(users)
        .values(
            id=user_id,
            email=email.strip(),
            email_key=email_key(email),
            password_hash=password_hash,
            status="active",
            version=1,
            created_at=now,
        )
        .on_conflict_do_nothing(index_elements=[users.c.email_key])
        .returning(users.c.id)
    )
    return (await tx.execute(statement)).first() is not None


async def by_email(tx: AsyncConnection, email: str) -> User | None:
    """Find a user by address."""
    return _user((await tx.execute(_SELECT.where(users.c.email_key == email_key(email)))).first())


async def by_id(tx: AsyncConnection, user_id: UUID, *, lock: bool = False) -> User | None:
    """Find a user; with `lock` nobody else changes it until the end of the transaction."""
    statement = _SELECT.where(users.c.id == user_id)
    if lock:
        statement = statement.with_for_update(of=users, key_share=True)
    return _user((await tx.execute(statement)).first())


async def page(
    tx: AsyncConnection, *, search: str | None, role: str | None, after: UUID | None, limit: int
) -> list[User]:
    """List users by id (the order in which they came), with part of an address and a role if asked for."""
    statement = _SELECT.order_by(users.c.id).limit(limit)
    if after is not None:
        statement = statement.where(users.c.id > after)
    if search:
        statement = statement.where(users.c.email_key.contains(email_key(search), autoescape=True))
    if role:
        statement = statement.where(sa.exists().where(user_roles.c.user_id == users.c.id, user_roles.c.role == role))
    return [user for row in await tx.execute(statement) if (user := _user(row)) is not None]


async def set_password(tx: AsyncConnection, user_id: UUID, password_hash: str) -> None:
    """Store another hash."""
    await tx.execute(sa.update(users).where(users.c.id == user_id).values(password_hash=password_hash))


async def bump_version(tx: AsyncConnection, user_id: UUID, version: int) -> None:
    """Move a user to a version."""
    await tx.execute(sa.update(users).where(users.c.id == user_id).values(version=version))


async def grant(
    tx: AsyncConnection, user_id: UUID, roles: Iterable[str], granted_by: UUID | None, now: datetime
) -> None:
    """Give roles; those that the user has stay as they are."""
    rows = [{"user_id": user_id, "role": role, "granted_by": granted_by, "granted_at": now} for role in sorted(roles)]
    if rows:
        await tx.execute(insert(user_roles).on_conflict_do_nothing(), rows)


async def revoke(tx: AsyncConnection, user_id: UUID, roles: Iterable[str]) -> None:
    """Take roles."""
    await tx.execute(sa.delete(user_roles).where(user_roles.c.user_id == user_id, user_roles.c.role.in_(sorted(roles))))


async def note(
    tx: AsyncConnection, *, actor: str, action: str, subject_id: UUID, details: Mapping[str, Any], now: datetime
) -> None:
    """Write down who did what to whom."""
    await tx.execute(
        sa.insert(audit).values(at=now, actor=actor, action=action, subject_id=subject_id, details=dict(details))
    )


async def history(tx: AsyncConnection, subject_id: UUID, *, before: int | None, limit: int) -> list[sa.Row[Any]]:
    """List what was done to a user, the newest first."""
    statement = sa.select(audit).where(audit.c.subject_id == subject_id).order_by(audit.c.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(audit.c.id < before)
    return list(await tx.execute(statement))
