"""API documentation pages whose files come from us: they work without the internet, and tell nobody who reads them."""

import hashlib
from functools import lru_cache
from html import escape
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import HTMLResponse
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from copeck.web.csp import DOCS_POLICY

STATIC = Path(__file__).parent / "static"


class Assets(StaticFiles):
    """Static files with long caching: pages name them with a digest (`asset_version`), so a new one is a new URL."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return the file."""
        response = await super().get_response(path, scope)
        if response.status_code == 200:
            versioned = scope.get("query_string", b"").startswith(b"v=")
            response.headers["Cache-Control"] = f"public, max-age={31_536_000 if versioned else 3600}"
        return response


@lru_cache(maxsize=256)
def asset_version(path: Path) -> str:
    """Return a short digest of a file, to be put behind `?v=`."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def shared_asset(prefix: str, name: str) -> str:
    """Return the URL of one of our shared files under a service's prefix."""
    return f"{prefix}/assets/copeck/{name}?v={asset_version(STATIC / name)}"


def docs_router(prefix: str, title: str) -> APIRouter:
    """Return the routes `<prefix>/docs` and `<prefix>/redoc`."""
    router = APIRouter(include_in_schema=False)
    headers = {"Content-Security-Policy": DOCS_POLICY, "Cache-Control": "no-cache"}
    name, url = escape(title), escape(f"{prefix}/openapi.json")

    @router.get(f"{prefix}/docs")
    async def swagger_ui() -> HTMLResponse:
        return HTMLResponse(
            "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
            f"<title>{name}: API</title>"
            f"<link rel=stylesheet href='{shared_asset(prefix, 'swagger-ui/swagger-ui.css')}'>"
            f"<link rel=icon href='{shared_asset(prefix, 'icon.svg')}'>"
            f"<body><div id=swagger-ui data-openapi='{url}'></div>"
            f"<script src='{shared_asset(prefix, 'swagger-ui/swagger-ui-bundle.js')}'></script>"
            f"<script src='{shared_asset(prefix, 'swagger-ui/init.js')}'></script></body></html>",
            headers=headers,
        )

    @router.get(f"{prefix}/redoc")
    async def redoc() -> HTMLResponse:
        return HTMLResponse(
            "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
            f"<title>{name}: API</title><link rel=icon href='{shared_asset(prefix, 'icon.svg')}'>"
            f"<body style='margin:0'><redoc spec-url='{url}'></redoc>"
            f"<script src='{shared_asset(prefix, 'redoc/redoc.standalone.js')}'></script></body></html>",
            headers=headers,
        )

    return router
