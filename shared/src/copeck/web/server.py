"""Serving an application: uvicorn, started from code, with a graceful end."""

from types import FrameType

import uvicorn
from fastapi import FastAPI

from copeck.kernel.memory import calm_collector
from copeck.kernel.settings import Settings

_KEEP_ALIVE_S = 75
_GRACE_S = 20
_BACKLOG = 512
_CONCURRENCY_MAX = 512


class Server(uvicorn.Server):
    """Tells the application at once that the end is near, so that answers that would go on (events) let go."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal."""
        self.config.app.state.stopping = True  # type: ignore[union-attr]
        super().handle_exit(sig, frame)


def serve(app: FastAPI, settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; requests in flight are answered first."""
    calm_collector()
    Server(server_config(app, settings)).run()


def server_config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """Return how we serve: access lines are ours (structured), and client addresses come from trusted proxies only."""
    return uvicorn.Config(
        app,
        host=settings.listen_host,
        port=settings.listen_port,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=True,
        forwarded_allow_ips=settings.trusted_proxies,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_GRACE_S,
        limit_concurrency=_CONCURRENCY_MAX,
        backlog=_BACKLOG,
        h11_max_incomplete_event_size=32 * 1024,
    )
