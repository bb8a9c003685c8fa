"""How a server ends: whoever answers without an end is told at once."""

import signal

import pytest
from fastapi import FastAPI

from copeck.kernel.settings import Settings
from copeck.web.server import Server, server_config

pytestmark = pytest.mark.unit


def test_a_signal_is_passed_on_to_long_answers() -> None:
    app = FastAPI()
    server = Server(server_config(app, Settings()))
    assert not getattr(app.state, "stopping", False)
    server.handle_exit(signal.SIGTERM, None)
    assert app.state.stopping
    assert server.should_exit
