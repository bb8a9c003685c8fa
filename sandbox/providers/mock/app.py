"""Composition of the process."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request, Response
from starlette.routing import Route

from sandbox.providers.mock import control, gateway
from sandbox.providers.mock.chaos import Chaos
from sandbox.providers.mock.settings import Settings
from sandbox.providers.mock.store import Store


def create_app(settings: Settings) -> FastAPI:
    """The application; its state is opened at start and closed at stop."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        store = Store(settings.data_dir, settings.opening_minor)
        chaos = Chaos.model_validate_json(store.keep_get("chaos") or "{}")
        app.state.world = gateway.World(settings, settings.all_shops(), store, chaos)
        try:
            yield
        finally:
            store.close()

    # The interactive documentation would load its assets from a CDN; the README lists every address instead.
    app = FastAPI(title="Mock gateway", docs_url=None, redoc_url=None, lifespan=lifespan)
    # Plain routes: hundreds of calls a second leave no time for what parses and validates arguments.
    app.router.routes += [
        Route("/mock-gateway/pay", gateway.pay, methods=["POST"]),
        Route("/mock-gateway/payments/{payment_id}", gateway.find, methods=["GET"]),
        Route("/mock-gateway/balance", gateway.balance, methods=["GET"]),
    ]
    app.include_router(control.router)

    @app.get("/healthz")
    async def healthz(request: Request) -> Response:
        """Alive."""
        return gateway.answer(200, {"status": "ok", "calm": gateway.world_of(request).chaos.calm})

    return app
