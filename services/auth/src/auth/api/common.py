"""What the routes share."""

from typing import Annotated

from fastapi import Depends, Request

from auth.context import Context
from auth.store.sessions import Origin
from copeck.web.limits import client_address

SESSION_COOKIE = "copeck_session"


async def context_of(request: Request) -> Context:
    """Return the parts of the service."""
    context: Context = request.app.state.context
    return context


async def origin_of(request: Request) -> Origin:
    """Return from where the caller calls."""
    agent = request.headers.get("user-agent", "").encode("latin-1", "replace").decode("utf-8", "replace")
    return Origin(client_address(request), agent.replace("\x00", "")[:200])


UseContext = Annotated[Context, Depends(context_of)]
UseOrigin = Annotated[Origin, Depends(origin_of)]
