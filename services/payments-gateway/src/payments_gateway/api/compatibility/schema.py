"""`/schema/`, `/docs/` and `/redoc/` of the compatibility routes alone, with the old services' trailing slashes."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute

from copeck.web.docs import docs_router
from payments_gateway.api.compatibility.yaml_text import yaml_text

PREFIX = "/payments/api/v1/compatibility"
TITLE = "Copeck for callers of the services that it replaces"
_JSON_TYPES = ("application/vnd.oai.openapi+json", "application/json")
_YAML_TYPES = ("application/vnd.oai.openapi", "application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml")

router = APIRouter(include_in_schema=False)


def media_type(accept: str, wanted: str | None) -> str:
    """Return the type of the answer: as the query says, else the first that `Accept` names, else plain JSON.

    Weights are not looked at: whoever asks for a document names one type.
    """
    named = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    allowed = {"json": _JSON_TYPES, "yaml": _YAML_TYPES, None: _JSON_TYPES + _YAML_TYPES}[wanted]
    found = next((name for name in named if name in allowed), None)
    return found or ("application/yaml" if wanted == "yaml" else "application/json")


@router.get("/schema")
@router.get("/schema/")
async def schema(
    request: Request,
    wanted: Annotated[Literal["json", "yaml"] | None, Query(alias="format")] = None,
) -> Response:
    """Return the OpenAPI document in JSON or YAML, by `?format=` or `Accept`."""
    document: dict[str, Any] = request.app.state.openapi_documents[PREFIX]()
    kind = media_type(request.headers.get("accept", ""), wanted)
    headers = {"Cache-Control": "no-cache", "Vary": "Accept"}
    if kind in _JSON_TYPES:
        return JSONResponse(document, media_type=kind, headers=headers)
    return Response(yaml_text(document), media_type=kind, headers=headers)


def _with_slashes() -> None:
    """Serve the documentation pages under their old addresses too; without the slash they are every API's."""
    for page in docs_router(PREFIX, TITLE).routes:
        if isinstance(page, APIRoute):
            router.add_api_route(f"{page.path.removeprefix(PREFIX)}/", page.endpoint, methods=["GET"])


_with_slashes()
