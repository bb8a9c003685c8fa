"""What routes need: the service's context, and who acts."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request, Response
from fastapi.responses import JSONResponse

from copeck.storage.idempotency import StoredAnswer
from copeck.web.auth import Principal, require_roles
from copeck.web.idempotency import IdempotencyKey, RequestHash
from copeck.web.pagination import CursorParams, invalid_cursor
from copeck.web.wait import wait_until
from subscriptions.handlers.context import Actor, Context, Key
from subscriptions.store import state

CLIENT_PREFIX = "/subscriptions/api/v1"
ADMIN_PREFIX = "/admin/api/v1"


async def get_context(request: Request) -> Context:
    """Return what `main` composed."""
    context: Context = request.app.state.context
    return context


Ctx = Annotated[Context, Depends(get_context)]
Manager = Annotated[Principal, Depends(require_roles("manager", "operator"))]


def actor_of(principal: Principal) -> Actor:
    """Return who acts."""
    return Actor.user(principal.user_id, principal.client)


def key_of(principal: Principal, route: str, key: IdempotencyKey, digest: RequestHash) -> Key:
    """Return an idempotency key in the scope of its user and route."""
    return Key(f"{principal.user_id}:{route}", key, digest)


def after(cursor: CursorParams, *readers: Callable[[Any], Any]) -> tuple[Any, ...] | None:
    """Read the key of a cursor with the types of the list's order columns; 422 when it is not one of this list's."""
    if cursor.after is None:
        return None
    if len(cursor.after) != len(readers):
        raise invalid_cursor()
    try:
        return tuple(read(part) for read, part in zip(readers, cursor.after, strict=True))
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise invalid_cursor() from error


def moment(part: Any) -> datetime:
    """Read a moment of a cursor."""
    found = datetime.fromisoformat(part)
    if found.tzinfo is None:
        raise ValueError("a moment has a zone")
    return found


def word(part: Any) -> str:
    """Read a text of a cursor."""
    if not isinstance(part, str):
        raise TypeError("not a text")
    return part


def number(part: Any) -> int:
    """Read a row number of a cursor."""
    if not isinstance(part, int) or not 0 <= part < 1 << 62:
        raise ValueError("not a row number")
    return part


def subscription_url(subscription_id: UUID) -> str:
    """Return where a customer's subscription is seen."""
    return f"{CLIENT_PREFIX}/subscriptions/{subscription_id}"


def stored(answer: StoredAnswer, location: str | None = None, status: int | None = None) -> Response:
    """Answer with what was stored under the key."""
    headers = {"Location": location} if location else {}
    return JSONResponse(answer.body, status_code=status or answer.status, headers=headers)


async def wait_for_invoice(context: Context, invoice_id: UUID, timeout_s: float) -> state.Invoice | None:
    """Wait until the state updater has issued an invoice; None when that takes longer."""

    async def probe() -> state.Invoice | None:
        async with context.database.reading() as tx:
            return await state.find_invoice(tx, invoice_id)

    return await wait_until(probe, timeout_s)
