"""`paid`: where providers report. The body is read as raw bytes; nothing is parsed before the signature holds."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.responses import JSONResponse

from copeck.observability.logs import get_logger
from copeck.storage.errors import is_transient
from copeck.web.problems import Problem, problem_responses, unavailable
from payments_gateway.domain.provider import NotificationKind, RawCallback
from payments_gateway.handlers.group import TooManyWaitingError
from payments_gateway.handlers.paid import Paid

log = get_logger(__name__)
router = APIRouter(tags=["paid"])

_SINGLE_HEADERS = ("content-hmac", "x-content-hmac", "content-type")
_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The callback is stored. `code` is 0, or why a payment is not accepted.",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["code"],
                    "properties": {"code": {"type": "integer", "enum": [0, 10, 11, 12, 13, 20]}},
                }
            }
        },
    },
    **problem_responses(403, 404, 413, 503),
}
_FORM = {"schema": {"type": "object", "additionalProperties": {"type": "string"}}}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/x-www-form-urlencoded": _FORM, "application/json": {"schema": {"type": "object"}}},
    }
}

ShopName = Annotated[
    str, Path(pattern="^[a-z0-9_-]{1,64}$", description="The shop, as the gateway's settings name it.")
]
Kind = Annotated[NotificationKind, Path(description="What the notification is about.")]


@router.post("/paid/cloudpayments/{shop}/{kind}", responses=_ANSWER, openapi_extra=_BODY)
async def cloudpayments_post(request: Request, shop: ShopName, kind: Kind) -> JSONResponse:
    """Take a CloudPayments notification: form or JSON, signed in `Content-HMAC` and `X-Content-HMAC`."""
    return await _take(request, "cloudpayments", shop, kind, await request.body())


@router.get("/paid/cloudpayments/{shop}/{kind}", responses=_ANSWER)
async def cloudpayments_get(request: Request, shop: ShopName, kind: Kind) -> JSONResponse:
    """Take a CloudPayments notification whose fields are the query string, which is what is signed."""
    return await _take(request, "cloudpayments", shop, kind, request.scope.get("query_string", b""))


async def _take(request: Request, provider: str, shop: str, kind: NotificationKind, body: bytes) -> JSONResponse:
    paid: Paid = request.app.state.paid
    if len(body) > paid.context.settings.callback_body_bytes_max:
        raise Problem(413, "body-too-large", "The body is too large", "a callback is never this large")
    for name in _SINGLE_HEADERS:
        if len(request.headers.getlist(name)) > 1:
            raise Problem(400, "malformed", "The request could not be read", f"the header {name} appears twice", name)
    callback = RawCallback(
        method=request.method,
        body=body,
        headers=dict(request.headers.items()),
        content_type=request.headers.get("content-type", ""),
    )
    peer = request.client.host if request.client else ""
    try:
        return JSONResponse(dict(await paid.take(provider, shop, kind, callback, peer)))
    except Exception as error:
        if not is_transient(error) and not isinstance(error, TooManyWaitingError):
            raise
        # Not stored, so not answered with success: the provider sends it again (I-07).
        log.warning("a callback is not stored", provider=provider, shop=shop, kind=kind, error=type(error).__name__)
        raise unavailable("the callback could not be stored") from error
