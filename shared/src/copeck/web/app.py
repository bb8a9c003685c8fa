"""The application factory: one FastAPI application of a service, with everything around its routes."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from copeck.kernel.settings import Settings
from copeck.observability.health import Health
from copeck.observability.trace import TraceMiddleware
from copeck.web.auth import TokenVerifier
from copeck.web.docs import STATIC, Assets, docs_router
from copeck.web.keys import JwksKeys, KeySource
from copeck.web.limits import Limiter
from copeck.web.middleware import BodyGuard, ErrorBoundary, HostCheck, SecurityHeaders
from copeck.web.openapi import build_openapi
from copeck.web.problems import add_problem_handlers

VERSION = "1.0.0"

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True)
class Api:
    """One documented API: its prefix, its title, its routers."""

    prefix: str
    title: str
    routers: Sequence[APIRouter]
    description: str = ""


def create_app(
    settings: Settings,
    *,
    title: str,
    prefix: str,
    routers: Sequence[APIRouter],
    pages: APIRouter | Sequence[APIRouter] | None = None,
    lifespan: Lifespan | None = None,
    health: Health,
    apis: Sequence[Api] = (),
    description: str = "",
    keys: KeySource | None = None,
    raw_prefixes: Sequence[str] = (),
    body_limits: Mapping[str, int] | None = None,
) -> FastAPI:
    """Build a service's application.

    `routers` get `prefix`; `pages` are HTML routes with their own full paths, outside the OpenAPI document; `apis` are
    further APIs with documents of their own (the admin API). `keys` replaces the JWKS of `settings.jwks_url`.
    `raw_prefixes` are paths whose bodies are kept as they come; `body_limits` are paths that take larger bodies than
    the others, in bytes.
    """
    jwks = keys if keys is not None else JwksKeys(settings.jwks_url)

    @asynccontextmanager
    async def run(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if isinstance(jwks, JwksKeys):
                stack.push_async_callback(jwks.close)
            stack.push_async_callback(app.state.limiter.close)
            if lifespan is not None:
                await stack.enter_async_context(lifespan(app))
            yield

    app = FastAPI(
        title=title,
        version=VERSION,
        description=description,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=run,
        redirect_slashes=False,
        middleware=[
            Middleware(TraceMiddleware),
            Middleware(SecurityHeaders),
            Middleware(ErrorBoundary, timeout_s=settings.request_timeout_s),
            Middleware(HostCheck, allowed=settings.trusted_hosts),
            Middleware(
                BodyGuard,
                bytes_max=settings.request_body_bytes_max,
                raw_prefixes=raw_prefixes,
                bytes_max_of=body_limits or {},
            ),
        ],
    )
    app.state.settings = settings
    app.state.token_verifier = TokenVerifier(jwks)
    app.state.limiter = Limiter.of(settings.redis_url)
    app.state.rate_limit_factor = settings.rate_limit_factor
    app.state.prefix = prefix
    add_problem_handlers(app)
    _add_health(app, health)
    for api in (Api(prefix, title, routers, description), *apis):
        _add_api(app, api)
    for router in [pages] if isinstance(pages, APIRouter) else pages or []:
        app.include_router(router, include_in_schema=False)
    return app


def _add_api(app: FastAPI, api: Api) -> None:
    """Mount one API with its document, its documentation pages and the files that those need."""
    before = len(app.routes)
    for router in api.routers:
        app.include_router(router, prefix=api.prefix)
    routes: list[BaseRoute] = app.routes[before:]
    document: dict[str, Any] = {}

    def build() -> dict[str, Any]:
        if not document:
            document.update(build_openapi(title=api.title, version=VERSION, description=api.description, routes=routes))
        return document

    async def openapi() -> JSONResponse:
        return JSONResponse(build(), headers={"Cache-Control": "no-cache"})

    app.add_api_route(f"{api.prefix}/openapi.json", openapi, methods=["GET"], include_in_schema=False)
    app.include_router(docs_router(api.prefix, api.title))
    app.mount(f"{api.prefix}/assets/copeck", Assets(directory=STATIC), name=f"assets:{api.prefix}")
    documents = getattr(app.state, "openapi_documents", {})
    documents[api.prefix] = build
    app.state.openapi_documents = documents
    if api.prefix == app.state.prefix:
        app.openapi = build  # type: ignore[method-assign]


def _add_health(app: FastAPI, health: Health) -> None:
    """Mount /healthz (the process answers), /readyz (what it needs answers) and /metrics."""

    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> JSONResponse:
        return JSONResponse({"status": "alive"})

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> JSONResponse:
        report = await health.ready()
        return JSONResponse(report.as_dict(), status_code=200 if report.ok else 503)

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
