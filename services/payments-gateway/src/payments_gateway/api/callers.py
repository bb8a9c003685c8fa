"""Who calls the APIs of payouts, batches and corrections, and the pieces that their lists share."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request

from copeck.web.auth import CurrentPrincipal, Principal, require_roles
from copeck.web.limits import check_limit
from copeck.web.pagination import CursorParams, invalid_cursor
from payments_gateway.domain.payouts import Caller


def caller_of(principal: Principal) -> Caller:
    """Return the caller as the rules know them."""
    return Caller(principal.user_id, principal.roles)


async def _anybody(principal: CurrentPrincipal) -> Caller:
    return caller_of(principal)


async def _payer(principal: Annotated[Principal, Depends(require_roles("manager", "merchant"))]) -> Caller:
    return caller_of(principal)


async def _reader(
    principal: Annotated[Principal, Depends(require_roles("manager", "operator", "merchant", "recipient"))],
) -> Caller:
    return caller_of(principal)


async def _manager(principal: Annotated[Principal, Depends(require_roles("manager"))]) -> Caller:
    return caller_of(principal)


async def _back_office(principal: Annotated[Principal, Depends(require_roles("manager", "operator"))]) -> Caller:
    return caller_of(principal)


async def _batch_reader(
    principal: Annotated[Principal, Depends(require_roles("manager", "operator", "merchant"))],
) -> Caller:
    return caller_of(principal)


def user_limit(name: str, rate: str) -> Callable[..., Awaitable[None]]:
    """Return a dependency that counts calls of a route for the user who makes them, whatever address they come from.

    It asks for the principal itself: what a route depends on beside its parameters runs before them.
    """

    async def check(request: Request, principal: CurrentPrincipal) -> None:
        await check_limit(request, name, rate, f"user:{principal.user_id}")

    check.rate_limit_name = name  # type: ignore[attr-defined]
    return check


Anybody = Annotated[Caller, Depends(_anybody)]
Payer = Annotated[Caller, Depends(_payer)]
"""Managers, and merchants with their own balance."""
Reader = Annotated[Caller, Depends(_reader)]
Manager = Annotated[Caller, Depends(_manager)]
BackOffice = Annotated[Caller, Depends(_back_office)]
BatchReader = Annotated[Caller, Depends(_batch_reader)]


def after_id(cursor: CursorParams) -> UUID | None:
    """Read a cursor of a list that is ordered by id alone."""
    key = after_key(cursor, with_number=False)
    return None if key is None else key[0]


def after_key(cursor: CursorParams, *, with_number: bool) -> tuple[Any, ...] | None:
    """Read a cursor: an id, or a number (minor units) and an id; 422 when it is not one of this list's."""
    if cursor.after is None:
        return None
    try:
        *numbers, text = cursor.after
        if len(numbers) != int(with_number) or not all(type(part) is int and 0 <= part < 1 << 62 for part in numbers):
            raise ValueError("not a key of this list")
        return (*numbers, UUID(text))
    except (ValueError, TypeError, AttributeError) as error:
        raise invalid_cursor() from error
