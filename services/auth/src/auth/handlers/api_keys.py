"""API keys: made, listed, revoked."""

from datetime import datetime
from uuid import UUID

from auth.context import Context
from auth.domain.errors import KeyFromKeyError, TooManyKeysError
from auth.domain.roles import within
from auth.secrets import digest, new_key_id, new_secret
from auth.store import api_keys, users
from auth.store.api_keys import ApiKey
from copeck.kernel.errors import InvalidValueError, NotFoundError
from copeck.web.auth import Principal

KEYS_MAX = 20


async def create(
    context: Context, principal: Principal, *, name: str, roles: list[str], expires_at: datetime | None
) -> tuple[ApiKey, str]:
    """Make a key for the caller; the secret is returned once and never again."""
    if principal.client.startswith("key:"):
        raise KeyFromKeyError
    now = context.clock.now()
    if expires_at is not None and expires_at <= now:
        raise InvalidValueError("a key cannot be over before it begins", "expires_at")
    secret = new_secret()
    async with context.database.transaction() as tx:
        user = await users.by_id(tx, principal.user_id, lock=True)
        if user is None:
            raise NotFoundError("there is no such user")
        if await api_keys.count_live(tx, user.id) >= KEYS_MAX:
            raise TooManyKeysError(f"revoke one: an account may have {KEYS_MAX}")
        key = await api_keys.insert_key(
            tx,
            key_id=new_key_id(),
            secret_hash=digest(secret),
            user_id=user.id,
            name=name,
            roles=within(roles, user.roles),
            now=now,
            expires_at=expires_at,
        )
        await users.note(
            tx,
            actor=str(principal.user_id),
            action="api_key.created",
            subject_id=user.id,
            details={"key": key.id, "roles": sorted(key.roles)},
            now=now,
        )
    return key, secret


async def revoke(context: Context, principal: Principal, key_id: str) -> None:
    """Revoke a key of the caller; an operator may revoke anybody's. Revoking twice is no error."""
    now = context.clock.now()
    async with context.database.transaction() as tx:
        key = await api_keys.by_id(tx, key_id)
        if key is None or not (key.user_id == principal.user_id or principal.has("operator")):
            raise NotFoundError("there is no such key")
        if key.revoked_at is None:
            await api_keys.revoke(tx, key.id, now)
            await users.note(
                tx,
                actor=str(principal.user_id),
                action="api_key.revoked",
                subject_id=key.user_id,
                details={"key": key.id},
                now=now,
            )
    context.keys_cache.drop_user(key.user_id)


async def listing(context: Context, user_id: UUID, *, after: tuple[datetime, str] | None, limit: int) -> list[ApiKey]:
    """List a user's keys."""
    async with context.database.reading() as tx:
        return await api_keys.page(tx, user_id=user_id, after=after, limit=limit)
