"""Connections to the broker: names, heartbeats and time-outs in one place."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator

import aio_pika
import aiormq
from aiormq.abc import AbstractConnection
from pamqp.common import FieldTable
from yarl import URL

from copeck.messaging.errors import BrokerUnavailableError

HEARTBEAT_S = 10
CONNECT_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 5.0


def user_of(url: str) -> str:
    """Return the user of an AMQP URL: the name that the broker verifies in `user_id`."""
    user = URL(url).user
    if not user:
        raise ValueError("the broker's URL names no user")
    return user


def safe_url(url: str) -> str:
    """Return the URL without its password, for logs."""
    parsed = URL(url)
    return str(parsed.with_password("***") if parsed.password else parsed)


def with_heartbeat(url: str) -> URL:
    """Return the URL with our heartbeat, unless it names another."""
    parsed = URL(url)
    return parsed if "heartbeat" in parsed.query else parsed.update_query(heartbeat=str(HEARTBEAT_S))


@contextlib.contextmanager
def loss_instead_of_cancellation() -> Iterator[None]:
    """Turn a cancellation that comes from inside the library into what it means: the connection was lost.

    aiormq cancels what waits on a connection that breaks. Let through, that would end a consumer or a relay for good,
    as if somebody had asked it to stop.
    """
    try:
        yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise BrokerUnavailableError("the connection was lost") from error


async def open_connection(url: str, name: str) -> AbstractConnection:
    """Connect within a time limit; BrokerUnavailableError says what hindered it.

    A heartbeat of 10 s means that a peer that vanished is noticed within about 20 s, on both sides.
    """
    target = with_heartbeat(url)
    properties: FieldTable = {"connection_name": f"{name}:{os.getpid()}"}
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            with loss_instead_of_cancellation():
                return await aiormq.connect(target, client_properties=properties)
    except BrokerUnavailableError:
        raise
    except Exception as error:
        # Whatever it is: aiormq raises a bare Exception when the connection breaks in the middle of its handshake.
        raise BrokerUnavailableError(f"{safe_url(url)}: {type(error).__name__} {error}".rstrip()) from error


async def close_connection(connection: AbstractConnection | None) -> None:
    """Close a connection whatever its state; never raises, never hangs."""
    if connection is None or connection.is_closed:
        return
    with contextlib.suppress(Exception):
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await connection.close()


@contextlib.asynccontextmanager
async def broker_session(
    url: str, name: str, timeout_s: float = CONNECT_TIMEOUT_S
) -> AsyncIterator[aio_pika.Connection]:
    """Hold a connection of aio-pika's for the block; it counts as closed afterwards, whatever became of it.

    aio-pika closes a connection that still counts as open when it is collected as garbage: on a loop that may not run
    any more, which warns of a coroutine that nobody awaited. One whose handshake failed, or whose closing did, is such.
    """
    connection = aio_pika.Connection(with_heartbeat(url), client_properties={"connection_name": name})
    try:
        async with asyncio.timeout(timeout_s):
            await connection.connect()
        yield connection
    finally:
        try:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await connection.close()
        finally:
            # After a first call that failed there is no transport left: this one only says that it is over.
            await connection.close()
