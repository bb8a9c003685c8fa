"""Who is behind a request: what nginx asks before it passes anything on."""

import base64
import binascii
import hmac
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from auth.cache import Known
from auth.context import Context
from auth.domain.errors import CrossSiteError
from auth.domain.origins import from_our_page
from auth.handlers.metrics import EDGE
from auth.secrets import digest
from auth.store import api_keys, sessions, users
from copeck.web.auth import AUDIENCE_EDGE, TokenVerifier
from copeck.web.problems import Problem, unauthorized

_HEADER_CHARS_MAX = 4096
_USED_STEP = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Question:
    """What the edge proxy knows of a request."""

    authorization: str | None
    session_secret: str | None
    method: str
    origin: str | None
    fetch_site: str | None


async def identify(context: Context, question: Question) -> str | None:
    """Return the internal token of the caller, or None for somebody who shows no credential.

    A credential in Authorization that is no good is refused (401). A session's cookie that is over counts as none:
    browsers send it to public pages too. A good one from another site's page is refused (403).
    """
    header = (question.authorization or "")[:_HEADER_CHARS_MAX]
    scheme, _, value = header.partition(" ")
    known: Known | None
    if scheme.lower() == "basic":
        known = await _api_key(context, value.strip())
    elif scheme.lower() == "bearer":
        known = await _access_token(context, value.strip())
    elif header:
        raise unauthorized("Authorization is Bearer or Basic")
    elif question.session_secret:
        known = await _session(context, question)
    else:
        known = None
        EDGE.labels("none", "anonymous").inc()
    if known is None:
        return None
    return await context.tokens.internal(known.user_id, known.roles, known.client)


async def _api_key(context: Context, value: str) -> Known:
    cache_key = digest(value)
    known = context.keys_cache.get(cache_key)
    if known is not None:
        EDGE.labels("key", "cached").inc()
        return known
    try:
        key_id, separator, secret = base64.b64decode(value, validate=True).decode("ascii").partition(":")
    except (binascii.Error, ValueError) as error:
        raise unauthorized("The API key is not valid") from error
    now = context.clock.now()
    async with context.database.transaction() as tx:
        found = await api_keys.secret_hash(tx, key_id[:64], now) if separator and "\x00" not in key_id else None
        # Compared in equal time, also when there is no such key.
        stored = found[0] if found is not None else bytes(32)
        if not hmac.compare_digest(digest(secret), stored) or found is None:
            EDGE.labels("key", "refused").inc()
            raise unauthorized("The API key is not valid")
        key = found[1]
        user = await users.by_id(tx, key.user_id)
        if user is None or not user.active:
            EDGE.labels("key", "refused").inc()
            raise unauthorized("The API key is not valid")
        if key.used_at is None or now - key.used_at > _USED_STEP:
            await api_keys.touch(tx, key.id, now)
    # What the owner has lost since, the key has lost too.
    known = Known(user.id, key.roles & user.roles, f"key:{key.id}")
    context.keys_cache.put(cache_key, known)
    EDGE.labels("key", "accepted").inc()
    return known


async def _access_token(context: Context, token: str) -> Known:
    try:
        claimed = await TokenVerifier(context.ring, audience=AUDIENCE_EDGE).verify(token)
        family_id = UUID(claimed.client.partition(":")[2])
    except ValueError as error:
        raise unauthorized("The token is not valid") from error
    except Problem:
        EDGE.labels("token", "refused").inc()
        raise
    cache_key = family_id.bytes
    known = context.families_cache.get(cache_key)
    if known is None:
        async with context.database.reading() as tx:
            user_id = await sessions.family_user(tx, family_id, context.clock.now())
            user = await users.by_id(tx, user_id) if user_id == claimed.user_id else None
        if user is None or not user.active:
            EDGE.labels("token", "refused").inc()
            raise unauthorized("The token was revoked; log in again")
        known = Known(user.id, user.roles, claimed.client)
        context.families_cache.put(cache_key, known)
    EDGE.labels("token", "accepted").inc()
    return known


async def _session(context: Context, question: Question) -> Known | None:
    now = context.clock.now()
    idle = timedelta(seconds=context.settings.session_idle_s)
    async with context.database.reading() as tx:
        found = await sessions.find_session(tx, digest(question.session_secret or ""), now, idle)
        user = await users.by_id(tx, found[1]) if found is not None else None
    if found is None or user is None or not user.active:
        EDGE.labels("session", "over").inc()
        return None
    if not from_our_page(question.method, question.origin, question.fetch_site, context.settings.origins):
        EDGE.labels("session", "cross-site").inc()
        raise CrossSiteError("a session may only be used from our own pages", "Origin")
    session_id, _, stale = found
    if stale:
        async with context.database.transaction() as tx:
            await sessions.touch_session(tx, session_id, now)
    EDGE.labels("session", "accepted").inc()
    return Known(user.id, user.roles, f"session:{session_id}")
