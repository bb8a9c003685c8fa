"""A session with the broker leaves nothing behind that would be closed later, on a loop that is gone."""

import contextlib
from typing import Any

import aio_pika
import pytest

from copeck.messaging import connection
from copeck.messaging.connection import broker_session


class Remembered(aio_pika.Connection):
    """aio-pika's connection, kept for the test to look at."""

    made: list["Remembered"]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.made.append(self)


class BrokenTransport:
    """A transport whose closing fails, as that of a connection that broke does."""

    async def close(self, _reason: object) -> None:
        raise ConnectionResetError("gone")


class Connected(Remembered):
    """A connection that counts as made without a broker."""

    async def connect(self, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109 - as in aio-pika
        self.transport = BrokenTransport()  # type: ignore[assignment]


@pytest.mark.parametrize("kind", [Remembered, Connected])
async def test_a_connection_counts_as_closed_whatever_became_of_it(
    kind: type[Remembered], unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aio-pika would close one that does not as it is collected, on a loop that may not run any more."""
    Remembered.made = []
    monkeypatch.setattr(connection.aio_pika, "Connection", kind)
    with contextlib.suppress(OSError):
        async with broker_session(f"amqp://guest:guest@127.0.0.1:{unused_tcp_port}", "test"):
            assert kind is Connected, "nobody listens there"
    (made,) = Remembered.made
    assert made.is_closed
