"""A session with the broker leaves nothing behind that would be closed later, on a loop that is gone."""

import asyncio
import contextlib
import gc
import warnings

import pytest

from copeck.messaging.connection import broker_session


def test_a_connection_that_was_never_made_is_not_closed_by_the_garbage_collector(unused_tcp_port: int) -> None:
    async def try_it() -> None:
        with contextlib.suppress(OSError):
            async with broker_session(f"amqp://guest:guest@127.0.0.1:{unused_tcp_port}", "test"):
                pytest.fail("nobody listens there")

    loop = asyncio.new_event_loop()
    try:
        gc.collect()
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            loop.run_until_complete(try_it())
            # Its loop is still open and does not run: what would be closed now would never be awaited.
            gc.collect()
    finally:
        loop.close()
    assert [str(warning.message) for warning in said] == []
