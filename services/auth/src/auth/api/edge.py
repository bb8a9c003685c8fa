"""For machines: the public keys, and the question of the edge proxy."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from auth.api.common import SESSION_COOKIE, UseContext
from auth.domain.errors import CrossSiteError
from auth.handlers.edge import Question, identify
from copeck.web.keys import CACHE_S
from copeck.web.models import AnswerModel

router = APIRouter(tags=["keys"])

TOKEN_HEADER = "X-Copeck-Token"  # noqa: S105 - a header's name
REFUSAL_HEADER = "X-Copeck-Refusal"


class JwksAnswer(AnswerModel):
    """A JSON Web Key Set (RFC 7517)."""

    keys: list[dict[str, Any]]


@router.get("/.well-known/jwks.json", response_model=JwksAnswer)
async def read_jwks(context: UseContext) -> JSONResponse:
    """Return the keys that verify our tokens; they may be kept for as long as the answer says."""
    return JSONResponse(await context.ring.jwks(), headers={"Cache-Control": f"public, max-age={int(CACHE_S)}"})


@router.get("/edge", include_in_schema=False)
async def edge(request: Request, context: UseContext) -> Response:
    """Answer nginx's auth_request: 204 with the internal token, 204 without for the anonymous, 401 or 403."""
    headers = request.headers
    question = Question(
        authorization=headers.get("authorization"),
        session_secret=request.cookies.get(SESSION_COOKIE),
        method=headers.get("x-original-method", "POST"),
        origin=headers.get("origin"),
        fetch_site=headers.get("sec-fetch-site"),
    )
    try:
        token = await identify(context, question)
    except CrossSiteError:
        return Response(status_code=403, headers={REFUSAL_HEADER: CrossSiteError.type})
    return Response(status_code=204, headers={TOKEN_HEADER: token} if token is not None else {})
