"""What routes need: the service's context, who calls, and what they may see."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Path, Request

from copeck.web.auth import CurrentPrincipal, Principal, require_roles
from copeck.web.limits import check_limit
from copeck.web.pagination import CursorParams, invalid_cursor
from device_bridge.domain.catalogue_lines import DEVICE_ID, DRINK_ID
from device_bridge.handlers.context import Actor, Context

PREFIX = "/devices/api/v1"


async def get_context(request: Request) -> Context:
    """Return what `service` composed."""
    context: Context = request.app.state.context
    return context


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. A merchant's id is the id of the user who owns it, so that a caller's own things are known at once."""

    user_id: UUID
    roles: frozenset[str]
    client: str

    @property
    def sees_all(self) -> bool:
        """Tell whether every merchant's things are this caller's to see."""
        return bool(self.roles & {"manager", "operator"})

    @property
    def merchant_id(self) -> UUID | None:
        """The one merchant whose things the caller sees; None for all."""
        return None if self.sees_all else self.user_id

    @property
    def is_manager(self) -> bool:
        """Tell whether the caller is a manager."""
        return "manager" in self.roles

    @property
    def actor(self) -> Actor:
        """Who acts, for histories and the audit."""
        return Actor.user(self.user_id, self.client)

    def sees(self, merchant_id: UUID) -> bool:
        """Tell whether a merchant's things are this caller's to see."""
        return self.sees_all or merchant_id == self.user_id

    def commands(self, merchant_id: UUID) -> bool:
        """Tell whether a merchant's machines are this caller's to change."""
        return self.is_manager or ("merchant" in self.roles and merchant_id == self.user_id)

    def narrowed(self, wanted: UUID | None) -> UUID | None:
        """Return the merchant that a list is of: what was asked for, and never more than what the caller may see."""
        return self.merchant_id or wanted


def _caller(principal: Principal) -> Caller:
    return Caller(principal.user_id, principal.roles, principal.client)


async def _reader(principal: Annotated[Principal, Depends(require_roles("manager", "operator", "merchant"))]) -> Caller:
    return _caller(principal)


async def _keeper(principal: Annotated[Principal, Depends(require_roles("manager", "merchant"))]) -> Caller:
    return _caller(principal)


async def _manager(principal: Annotated[Principal, Depends(require_roles("manager"))]) -> Caller:
    return _caller(principal)


def user_limit(name: str, rate: str) -> Callable[..., Awaitable[None]]:
    """Return a dependency that counts calls of a route for the user who makes them, whatever address they come from."""

    async def check(request: Request, principal: CurrentPrincipal) -> None:
        await check_limit(request, name, rate, f"user:{principal.user_id}")

    check.rate_limit_name = name  # type: ignore[attr-defined]
    return check


Ctx = Annotated[Context, Depends(get_context)]
Reader = Annotated[Caller, Depends(_reader)]
"""Managers and operators see everything, merchants their own."""
Keeper = Annotated[Caller, Depends(_keeper)]
"""Managers change everything, merchants their own."""
Manager = Annotated[Caller, Depends(_manager)]
DeviceIdPath = Annotated[str, Path(pattern=DEVICE_ID, max_length=40, examples=["kofe-17"])]
DrinkIdPath = Annotated[str, Path(pattern=DRINK_ID, max_length=64, examples=["cappuccino"])]
READS = [Depends(user_limit("devices-read", "1200/minute"))]
WRITES = [Depends(user_limit("devices-write", "600/minute"))]
FILES = [Depends(user_limit("devices-files", "60/minute"))]


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


def word(part: Any) -> str:
    """Read a text of a cursor."""
    if not isinstance(part, str):
        raise TypeError("not a text")
    return part
