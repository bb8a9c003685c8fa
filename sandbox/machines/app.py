"""Composition of the process."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response

from sandbox.machines import control, mails, screens, tmetr
from sandbox.machines.fleet import Fleet
from sandbox.machines.settings import Settings
from sandbox.machines.store import Store


def create_app(settings: Settings) -> FastAPI:
    """The application; machines come to life at start and leave at stop."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        store = Store(settings.data_dir)
        fleet = Fleet(settings, store)
        app.state.fleet = fleet
        sink = await mails.listen(store, settings.host, settings.mail_port) if settings.mail_port else None
        fleet.start()
        try:
            yield
        finally:
            fleet.stop()
            if sink is not None:
                sink.close()
            store.close()

    # The interactive documentation would load its assets from a CDN; the README lists every address instead.
    app = FastAPI(title="Machines sandbox", docs_url=None, redoc_url=None, lifespan=lifespan)
    for router in (control.router, tmetr.router, mails.router, screens.router):
        app.include_router(router)
    for error, handler in control.ERRORS.items():
        app.add_exception_handler(error, handler)

    @app.get("/")
    async def start() -> Response:
        """To the list of machines."""
        return RedirectResponse("/machines")

    @app.get("/healthz")
    async def healthz(request: Request) -> JSONResponse:
        """Alive, with the size of the fleet."""
        return JSONResponse({"status": "ok", **request.app.state.fleet.counts()})

    return app
