"""The test kit is trusted by every other test, so it is tested itself."""

import asyncio
import time
from datetime import UTC, datetime

import httpx2
import jwt
import pytest

from copeck.kernel.clock import ManualClock
from copeck.testkit.proxy import TcpProxy
from copeck.testkit.tokens import JwksServer, TokenMint
from copeck.testkit.waiting import eventually, eventually_sync, never


async def test_eventually_returns_what_became_true() -> None:
    ticks = iter([0, None, "", "here"])
    assert await eventually(lambda: next(ticks), 2) == "here"

    async def later() -> list[int]:
        return [1]

    assert await eventually(later, 2) == [1]
    assert eventually_sync(lambda: 7) == 7


async def test_eventually_fails_at_its_deadline_and_says_why() -> None:
    started = time.monotonic()
    with pytest.raises(AssertionError, match=r"the moon is still False after 0\.05 s"):
        await eventually(lambda: False, 0.05, "the moon")
    with pytest.raises(AssertionError, match="1 == 2"):
        await eventually(_wrong, 0.05)
    with pytest.raises(AssertionError, match="is still"):
        eventually_sync(lambda: None, 0.05)
    assert time.monotonic() - started < 1


def _wrong() -> bool:
    assert [1] == [2], "1 == 2"
    return True


async def test_never_fails_as_soon_as_it_happens() -> None:
    await never(lambda: False, 0.05)
    with pytest.raises(AssertionError, match="rain happened"):
        await never(lambda: True, 10, "rain")


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(100):
        writer.write(data)
        await writer.drain()
    writer.close()


async def test_the_proxy_forwards_cuts_hangs_and_refuses() -> None:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with TcpProxy("127.0.0.1", port) as proxy:
        assert proxy.url("amqp://u:p@127.0.0.1:5672/v?x=1") == f"amqp://u:p@127.0.0.1:{proxy.port}/v?x=1"

        async def ask(writer: asyncio.StreamWriter, reader: asyncio.StreamReader) -> bytes:
            writer.write(b"x")
            return await asyncio.wait_for(reader.read(1), 0.3)

        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await ask(writer, reader) == b"x"
        proxy.hang()
        with pytest.raises(TimeoutError):
            await ask(writer, reader)
        proxy.resume()
        assert await asyncio.wait_for(reader.read(1), 1) == b"x"
        proxy.cut()
        with pytest.raises((ConnectionError, AssertionError)):
            assert await asyncio.wait_for(reader.read(1), 1) == b"x"
        writer.close()
        proxy.refuse()
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        with pytest.raises((ConnectionError, AssertionError)):
            assert await ask(writer, reader) == b"x"
        writer.close()
        proxy.accept()
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await ask(writer, reader) == b"x"
        assert proxy.connections == 2
        writer.close()
    server.close()


async def test_the_mint_signs_what_its_keys_verify() -> None:
    mint = TokenMint()
    server = JwksServer(mint)
    server.start()
    try:
        async with httpx2.AsyncClient(trust_env=False) as client:
            document = (await client.get(server.url)).json()
    finally:
        server.stop()
    assert document == mint.jwks()
    assert "d" not in document["keys"][0]
    key = jwt.PyJWK(document["keys"][0]).key
    token = mint.token("0192f0c1-1111-7222-8333-444455556666", ["operator", "customer"])
    claims = jwt.decode(token, key, algorithms=["ES256"], audience="copeck.internal", issuer="copeck-auth")
    assert claims["roles"] == ["customer", "operator"]
    with pytest.raises(jwt.ExpiredSignatureError):
        jwt.decode(mint.token(ttl_s=-60), key, algorithms=["ES256"], audience="copeck.internal")
    assert mint.headers()["Authorization"].startswith("Bearer ")


def test_the_clock_stands_still(clock: ManualClock) -> None:
    assert clock.now() == clock.now()
    assert clock.now().tzinfo is UTC
    assert abs(clock.now() - datetime.now(UTC)).total_seconds() < 5
