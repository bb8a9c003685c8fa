"""What callers see and change of themselves."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path

from auth.api.common import UseContext
from auth.api.models import (
    ApiKeyAnswer,
    ApiKeyBody,
    LoginPlaceAnswer,
    MeAnswer,
    NewApiKeyAnswer,
    PasswordBody,
    UserAnswer,
)
from auth.handlers import accounts, api_keys
from auth.store import sessions, users
from auth.store.api_keys import ApiKey
from copeck.web.auth import CurrentPrincipal
from copeck.web.limits import rate_limit
from copeck.web.pagination import Cursor, CursorParams, Page, invalid_cursor
from copeck.web.problems import problem_responses, unauthorized

router = APIRouter(tags=["me"])

_PLACES_MAX = 100
KeyId = Annotated[str, Path(pattern=r"^ck_[0-9a-f]{20}$", examples=["ck_0123456789abcdef0123"])]


@router.get("/me")
async def read_me(principal: CurrentPrincipal, context: UseContext) -> MeAnswer:
    """Say who the caller is."""
    async with context.database.reading() as tx:
        user = await users.by_id(tx, principal.user_id)
    if user is None:
        raise unauthorized("The account does not exist")
    return MeAnswer(**UserAnswer.of(user).model_dump(), client=principal.client)


@router.put("/me/password", status_code=204, dependencies=[Depends(rate_limit("password", "10/minute"))])
async def change_password(body: PasswordBody, principal: CurrentPrincipal, context: UseContext) -> None:
    """Set another password. Every other session and token of the caller ends."""
    await accounts.change_password(context, principal, current=body.current_password, new=body.new_password)


@router.get("/me/logins")
async def list_logins(principal: CurrentPrincipal, context: UseContext) -> list[LoginPlaceAnswer]:
    """List where the caller is logged in, the newest first, 100 at most."""
    now = context.clock.now()
    async with context.database.reading() as tx:
        rows = await sessions.live_of_user(tx, principal.user_id, now, _PLACES_MAX)
    own = principal.client.partition(":")[2]
    return [
        LoginPlaceAnswer(
            id=row.id,
            kind=row.kind,
            created_at=row.created_at,
            expires_at=row.expires_at,
            address=row.address,
            agent=row.agent,
            current=str(row.id) == own,
        )
        for row in rows
    ]


@router.delete("/me/logins", status_code=204)
async def end_logins(principal: CurrentPrincipal, context: UseContext) -> None:
    """Log the caller out everywhere else."""
    async with context.database.transaction() as tx:
        await sessions.revoke_all(
            tx, principal.user_id, context.clock.now(), "logout everywhere", except_client=principal.client
        )
    context.forget_user(principal.user_id)


@router.post("/api-keys", status_code=201, responses=problem_responses(409))
async def create_key(body: ApiKeyBody, principal: CurrentPrincipal, context: UseContext) -> NewApiKeyAnswer:
    """Make an API key for the caller: `id:secret` for HTTP Basic. The secret is shown here and never again."""
    key, secret = await api_keys.create(
        context, principal, name=body.name, roles=list(body.roles), expires_at=body.expires_at
    )
    return NewApiKeyAnswer(**ApiKeyAnswer.of(key).model_dump(), secret=secret)


@router.get("/api-keys")
async def list_keys(principal: CurrentPrincipal, context: UseContext, cursor: Cursor) -> Page[ApiKeyAnswer]:
    """List the caller's API keys, the oldest first."""
    return await page_of_keys(context, principal.user_id, cursor)


@router.delete("/api-keys/{key_id}", status_code=204)
async def revoke_key(key_id: KeyId, principal: CurrentPrincipal, context: UseContext) -> None:
    """Revoke an API key; an operator may revoke anybody's."""
    await api_keys.revoke(context, principal, key_id)


async def page_of_keys(context: UseContext, user_id: UUID, cursor: CursorParams) -> Page[Any]:
    """Return a page of a user's keys."""
    after: tuple[datetime, str] | None = None
    if cursor.after is not None:
        try:
            moment, key_id = cursor.after
            after = (datetime.fromisoformat(moment), str(key_id))
            if after[0].tzinfo is None:
                raise invalid_cursor()
        except (ValueError, TypeError) as error:
            raise invalid_cursor() from error
    keys = await api_keys.listing(context, user_id, after=after, limit=cursor.limit + 1)
    return cursor.page(keys, key=_place, show=ApiKeyAnswer.of)


def _place(key: ApiKey) -> tuple[str, str]:
    return key.created_at.isoformat(), key.id
