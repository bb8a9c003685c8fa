"""Accounts: registering, roles, passwords."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from auth.context import Context
from auth.domain.errors import EmailTakenError, InvalidCredentialsError, KeyFromKeyError
from auth.domain.passwords import check_password
from auth.domain.roles import INITIAL_ROLES, check_change
from auth.store import api_keys, sessions, users
from auth.store.users import User
from copeck.contracts import events
from copeck.kernel.errors import NotFoundError
from copeck.kernel.ids import new_id
from copeck.web.auth import Principal
from copeck.web.etag import check_if_match

SYSTEM = "system"


async def register(context: Context, *, email: str, password: str, proof: str | None, address: str) -> User:
    """Make a customer's account."""
    check_password(password, email)
    # Hashed before the address is looked up, and outside the transaction: it takes long.
    password_hash = await context.passwords.hash(password)
    now = context.clock.now()
    user_id = new_id()
    async with context.database.transaction() as tx:
        await context.challenge.check(tx, action="register", proof=proof, address=address)
        if not await users.insert_user(tx, user_id, email, password_hash, now):
            raise EmailTakenError(field="email")
        await users.grant(tx, user_id, INITIAL_ROLES, None, now)
        await users.note(
            tx, actor=str(user_id), action="user.registered", subject_id=user_id, details={"by": "self"}, now=now
        )
        await context.announce(
            tx, events.UserRegistered(user_id=user_id, version=1, roles=tuple(sorted(INITIAL_ROLES)))
        )
        user = await users.by_id(tx, user_id)
    context.poke()
    assert user is not None  # noqa: S101 - inserted above, in the same transaction
    return user


async def ensure_user(
    context: Context, *, email: str, password: str, roles: frozenset[str], existing: bool = False
) -> tuple[User, bool]:
    """Make an account with roles; for commands. Only with `existing` is the account that is there taken over.

    Anybody may have registered the address, and nothing proves that it is theirs: so the password becomes the given
    one, and whatever its owner had until now to act by is over.
    """
    password_hash = await context.passwords.hash(password)
    now = context.clock.now()
    async with context.database.transaction() as tx:
        user_id = new_id()
        created = await users.insert_user(tx, user_id, email, password_hash, now)
        if created:
            await users.grant(tx, user_id, roles, None, now)
            await users.note(
                tx,
                actor=SYSTEM,
                action="user.registered",
                subject_id=user_id,
                details={"by": "command", "roles": sorted(roles)},
                now=now,
            )
            await context.announce(tx, events.UserRegistered(user_id=user_id, version=1, roles=tuple(sorted(roles))))
        elif existing:
            user_id = await _take_over(context, tx, email, password_hash, roles)
        else:
            raise EmailTakenError(field="email")
        fresh = await users.by_id(tx, user_id)
    context.forget_user(user_id)
    context.poke()
    assert fresh is not None  # noqa: S101 - inserted just now, or by somebody before
    return fresh, created


async def _take_over(
    context: Context, tx: AsyncConnection, email: str, password_hash: str, roles: frozenset[str]
) -> UUID:
    now = context.clock.now()
    found = await users.by_email(tx, email)
    user = await users.by_id(tx, found.id, lock=True) if found is not None else None
    assert user is not None  # noqa: S101 - accounts are never deleted
    await users.set_password(tx, user.id, password_hash)
    await sessions.revoke_all(tx, user.id, now, "taken over by command")
    await api_keys.revoke_all(tx, user.id, now)
    await users.note(
        tx, actor=SYSTEM, action="user.taken_over", subject_id=user.id, details={"roles": sorted(roles)}, now=now
    )
    if roles - user.roles:
        await _change_roles(context, tx, user, user.roles | roles, actor=SYSTEM, granted_by=None)
    return user.id


async def set_roles(
    context: Context, principal: Principal, user_id: UUID, wanted: frozenset[str], if_match: str
) -> User:
    """Give and take roles; what the user holds is refreshed at the next token."""
    async with context.database.transaction() as tx:
        user = await users.by_id(tx, user_id, lock=True)
        if user is None:
            raise NotFoundError("there is no such user")
        check_if_match(if_match, user.version)
        check_change(principal.user_id, user_id, user.roles, wanted)
        if wanted != user.roles:
            await _change_roles(context, tx, user, wanted, actor=str(principal.user_id), granted_by=principal.user_id)
        changed = await users.by_id(tx, user_id)
    context.forget_user(user_id)
    context.poke()
    assert changed is not None  # noqa: S101
    return changed


async def _change_roles(
    context: Context, tx: AsyncConnection, user: User, wanted: frozenset[str], *, actor: str, granted_by: UUID | None
) -> None:
    now = context.clock.now()
    await users.revoke(tx, user.id, user.roles - wanted)
    await users.grant(tx, user.id, wanted - user.roles, granted_by, now)
    await users.bump_version(tx, user.id, user.version + 1)
    await users.note(
        tx,
        actor=actor,
        action="user.roles_changed",
        subject_id=user.id,
        details={"from": sorted(user.roles), "to": sorted(wanted)},
        now=now,
    )
    await context.announce(
        tx, events.UserRolesChanged(user_id=user.id, version=user.version + 1, roles=tuple(sorted(wanted)))
    )


async def change_password(context: Context, principal: Principal, *, current: str, new: str) -> None:
    """Set another password; every other session and token of the user is over."""
    if principal.client.startswith("key:"):
        raise KeyFromKeyError
    async with context.database.reading() as tx:
        user = await users.by_id(tx, principal.user_id)
    right, _ = await context.passwords.verify(current, user.password_hash if user is not None else None)
    if user is None or not right:
        raise InvalidCredentialsError("the current password is wrong", "current_password")
    check_password(new, user.email)
    password_hash = await context.passwords.hash(new)
    now = context.clock.now()
    async with context.database.transaction() as tx:
        await users.set_password(tx, user.id, password_hash)
        await sessions.revoke_all(tx, user.id, now, "password changed", except_client=principal.client)
        await users.note(
            tx, actor=str(user.id), action="user.password_changed", subject_id=user.id, details={}, now=now
        )
    context.forget_user(user.id)
