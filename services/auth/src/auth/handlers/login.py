"""Logging in, refreshing, logging out."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from auth.context import Context
from auth.domain.errors import (
    InvalidCredentialsError,
    InvalidRefreshTokenError,
    RefreshInProgressError,
    RefreshReusedError,
)
from auth.domain.refresh import Verdict, judge
from auth.handlers.metrics import LOGINS, REFRESHES
from auth.secrets import digest, new_secret
from auth.store import failures, sessions, users
from auth.store.sessions import Origin
from auth.store.users import User, email_key
from copeck.kernel.ids import new_id
from copeck.web.limits import too_many


@dataclass(frozen=True, slots=True)
class TokenPair:
    """What a client gets: an access token and the refresh token for the next one."""

    access_token: str
    access_s: int
    refresh_token: str
    refresh_expires_at: datetime
    user: User


@dataclass(frozen=True, slots=True)
class NewSession:
    """What a browser gets."""

    secret: str
    expires_at: datetime
    user: User


async def check_login(context: Context, *, email: str, password: str, proof: str | None, origin: Origin) -> User:
    """Return the user of the address and the password.

    An unknown address takes as long as a wrong password and gets the same answer. Failures are counted for address
    and account together, and for the account alone, and lock it for a while, whether or not it exists.
    """
    now = context.clock.now()
    pair, account = _subject("pair", email_key(email), origin.address), _subject("account", email_key(email))
    async with context.database.transaction() as tx:
        await context.challenge.check(tx, action="login", proof=proof, address=origin.address)
        until = await failures.locked_until(tx, [pair, account], now)
        user = await users.by_email(tx, email)
    if until is not None:
        LOGINS.labels("locked").inc()
        raise too_many("login-failures", (until - now).total_seconds())
    right, renewed = await context.passwords.verify(password, user.password_hash if user is not None else None)
    window = timedelta(seconds=context.settings.lockout_s)
    async with context.database.transaction() as tx:
        if user is not None and right and user.active:
            await failures.forget(tx, pair)
            if renewed is not None:
                await users.set_password(tx, user.id, renewed)
        else:
            await failures.count(tx, pair, now, window, context.settings.lockout_failures)
            await failures.count(tx, account, now, window, context.settings.lockout_account_failures)
    if user is None or not right or not user.active:
        LOGINS.labels("refused").inc()
        raise InvalidCredentialsError
    LOGINS.labels("accepted").inc()
    return user


def _subject(*parts: str) -> bytes:
    return hashlib.sha256("\x00".join(parts).encode("utf-8", "replace")).digest()


async def begin_tokens(context: Context, user: User, origin: Origin) -> TokenPair:
    """Begin a family of refresh tokens for a user who has just logged in."""
    now = context.clock.now()
    life = timedelta(seconds=context.settings.refresh_token_s)
    family_id, secret = new_id(), new_secret()
    async with context.database.transaction() as tx:
        await sessions.insert_family(tx, family_id=family_id, user_id=user.id, now=now, life=life, origin=origin)
        await sessions.insert_token(tx, digest(secret), family_id, now, now + life)
    access = await context.tokens.access(user.id, user.roles, family_id)
    return TokenPair(access, context.tokens.access_s, secret, now + life, user)


async def begin_session(context: Context, user: User, origin: Origin) -> NewSession:
    """Begin a browser's session."""
    now = context.clock.now()
    life = timedelta(seconds=context.settings.session_s)
    secret = new_secret()
    async with context.database.transaction() as tx:
        await sessions.insert_session(
            tx,
            session_id=new_id(),
            token_hash=digest(secret),
            user_id=user.id,
            now=now,
            life=life,
            origin=origin,
        )
    return NewSession(secret, now + life, user)


async def refresh(context: Context, refresh_token: str) -> TokenPair:
    """Exchange a refresh token for a new pair. Of two requests at once one wins; the other is told so (409)."""
    now = context.clock.now()
    secret = new_secret()
    pair: tuple[UUID, User, datetime] | None = None
    verdict = Verdict.INVALID
    async with context.database.transaction() as tx:
        used = await sessions.use_token(tx, digest(refresh_token), now)
        verdict = judge(
            used.state if used is not None else None, now, timedelta(seconds=context.settings.refresh_grace_s)
        )
        if used is not None and verdict is Verdict.REUSED:
            # Committed, and only then refused: the revocation must outlive this request.
            await sessions.revoke_family(tx, used.family_id, now, "reused")
            await users.note(
                tx,
                actor="system",
                action="refresh.reused",
                subject_id=used.user_id,
                details={"family": str(used.family_id)},
                now=now,
            )
        elif used is not None and verdict is Verdict.ROTATE:
            user = await users.by_id(tx, used.user_id)
            assert user is not None  # noqa: S101 - the family refers to it
            life = timedelta(seconds=context.settings.refresh_token_s)
            expires_at = min(now + life, used.state.family_expires_at)
            await sessions.insert_token(tx, digest(secret), used.family_id, now, expires_at)
            pair = (used.family_id, user, expires_at)
    REFRESHES.labels(verdict.name.lower()).inc()
    if verdict is Verdict.IN_PROGRESS:
        raise RefreshInProgressError("use the token pair that the other request was answered", "refresh_token")
    if verdict is Verdict.REUSED and used is not None:
        context.forget_user(used.user_id)
        raise RefreshReusedError(field="refresh_token")
    if pair is None:
        raise InvalidRefreshTokenError(field="refresh_token")
    family_id, user, expires_at = pair
    access = await context.tokens.access(user.id, user.roles, family_id)
    return TokenPair(access, context.tokens.access_s, secret, expires_at, user)


async def log_out(
    context: Context, *, session_secret: str | None, refresh_token: str | None, family_id: UUID | None
) -> None:
    """End whatever the caller named; naming nothing, or what is over, is no error."""
    now = context.clock.now()
    async with context.database.transaction() as tx:
        if session_secret:
            await sessions.revoke_session(tx, digest(session_secret), now)
        if refresh_token:
            named = await sessions.family_of_token(tx, digest(refresh_token))
            if named is not None:
                await sessions.revoke_family(tx, named, now, "logout")
        if family_id is not None:
            await sessions.revoke_family(tx, family_id, now, "logout")
    context.families_cache.clear()
