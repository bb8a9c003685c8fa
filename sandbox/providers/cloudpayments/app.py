"""Composition of the process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from sandbox.providers.cloudpayments import checkout, control
from sandbox.providers.cloudpayments.api.call import World
from sandbox.providers.cloudpayments.api.routes import build_router
from sandbox.providers.cloudpayments.delivery import Delivery
from sandbox.providers.cloudpayments.engine import Engine
from sandbox.providers.cloudpayments.payouts import Payouts
from sandbox.providers.cloudpayments.settings import Settings
from sandbox.providers.cloudpayments.store import Store, now_ms
from sandbox.providers.cloudpayments.subscriptions import Subscriptions


def build_world(settings: Settings) -> World:
    """Open the store and put the parts together; needs a running event loop."""
    shops = {shop.public_id: shop for shop in settings.all_shops()}
    store = Store(settings.data_dir)
    with store.unit():
        stale = now_ms() - int(settings.request_id_ttl_s * 1000)
        store.write("DELETE FROM answers WHERE at_ms < ?", (stale,))
    delivery = Delivery(store, settings, shops)
    engine = Engine(store, delivery, settings, shops)
    payouts = Payouts(store, delivery, settings, shops)
    return World(settings, shops, store, delivery, engine, payouts, Subscriptions(store, delivery))


def create_app(settings: Settings) -> FastAPI:
    """The application; its state is opened at start and closed at stop."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        world = build_world(settings)
        app.state.world = world
        world.engine.recover()
        world.payouts.recover()
        sender = asyncio.create_task(world.delivery.run())
        try:
            yield
        finally:
            sender.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sender
            world.engine.stop()
            world.payouts.stop()
            await world.delivery.stop()
            world.store.close()

    # The interactive documentation would load its assets from a CDN; the README lists every address instead.
    app = FastAPI(title="CloudPayments sandbox", docs_url=None, redoc_url=None, lifespan=lifespan)
    app.include_router(build_router())
    app.include_router(checkout.router)
    app.include_router(control.router)

    @app.get("/healthz")
    async def healthz(request: Request) -> JSONResponse:
        """Alive, with the size of the queue."""
        return JSONResponse({"status": "ok", "pending": request.app.state.world.delivery.pending()})

    return app
