"""Users for those who run the place: managers look people up, operators give roles."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response

from auth.api.common import UseContext
from auth.api.me import page_of_keys
from auth.api.models import ApiKeyAnswer, AuditAnswer, Role, RolesBody, UserAnswer
from auth.handlers import accounts
from auth.store import users
from copeck.kernel.errors import NotFoundError
from copeck.web.auth import Principal, require_roles
from copeck.web.etag import IfMatch, etag_for
from copeck.web.pagination import Cursor, Page, invalid_cursor

router = APIRouter(tags=["users"])

Staff = Annotated[Principal, Depends(require_roles("manager", "operator"))]
Operator = Annotated[Principal, Depends(require_roles("operator"))]


@router.get("/users")
async def list_users(
    _: Staff,
    context: UseContext,
    cursor: Cursor,
    search: Annotated[str | None, Query(max_length=254, description="Part of an e-mail address.")] = None,
    role: Annotated[Role | None, Query()] = None,
) -> Page[UserAnswer]:
    """List users in the order in which they came."""
    after: UUID | None = None
    if cursor.after is not None:
        try:
            (text,) = cursor.after
            after = UUID(text)
        except (ValueError, TypeError, AttributeError) as error:
            raise invalid_cursor() from error
    async with context.database.reading() as tx:
        found = await users.page(tx, search=search, role=role, after=after, limit=cursor.limit + 1)
    page: Page[Any] = cursor.page(found, key=lambda user: (str(user.id),), show=UserAnswer.of)
    return page


@router.get("/users/{user_id}")
async def read_user(user_id: UUID, _: Staff, context: UseContext, response: Response) -> UserAnswer:
    """Show a user; the ETag is needed for changing roles."""
    async with context.database.reading() as tx:
        user = await users.by_id(tx, user_id)
    if user is None:
        raise NotFoundError("there is no such user")
    response.headers["ETag"] = etag_for(user.version)
    return UserAnswer.of(user)


@router.put("/users/{user_id}/roles")
async def set_roles(
    user_id: UUID, body: RolesBody, principal: Operator, context: UseContext, if_match: IfMatch, response: Response
) -> UserAnswer:
    """Give a user exactly these roles. Recorded in the user's history, and announced as `user.roles_changed`."""
    user = await accounts.set_roles(context, principal, user_id, frozenset(body.roles), if_match)
    response.headers["ETag"] = etag_for(user.version)
    return UserAnswer.of(user)


@router.get("/users/{user_id}/history")
async def list_history(user_id: UUID, _: Operator, context: UseContext, cursor: Cursor) -> Page[AuditAnswer]:
    """List what was done to a user, the newest first."""
    before: int | None = None
    if cursor.after is not None:
        if len(cursor.after) != 1 or not isinstance(cursor.after[0], int) or not 0 < cursor.after[0] < 2**63:
            raise invalid_cursor()
        before = cursor.after[0]
    async with context.database.reading() as tx:
        if await users.by_id(tx, user_id) is None:
            raise NotFoundError("there is no such user")
        rows = await users.history(tx, user_id, before=before, limit=cursor.limit + 1)
    page: Page[Any] = cursor.page(
        rows,
        key=lambda row: (row.id,),
        show=lambda row: AuditAnswer(id=row.id, at=row.at, actor=row.actor, action=row.action, details=row.details),
    )
    return page


@router.get("/users/{user_id}/api-keys")
async def list_keys_of(user_id: UUID, _: Operator, context: UseContext, cursor: Cursor) -> Page[ApiKeyAnswer]:
    """List a user's API keys, without secrets."""
    async with context.database.reading() as tx:
        if await users.by_id(tx, user_id) is None:
            raise NotFoundError("there is no such user")
    return await page_of_keys(context, user_id, cursor)
