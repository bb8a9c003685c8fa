"""A TCP proxy that misbehaves on demand: cuts, hangs, refuses, delays. For tests of broken networks."""

import asyncio
import contextlib
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

_CHUNK = 65536


class TcpProxy:
    """Forwards a local port to a server. `async with TcpProxy("127.0.0.1", 5672) as proxy: … proxy.url(amqp_url)`."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._refusing = False
        self._delay_s = 0.0
        self.port = 0
        self.connections = 0

    @classmethod
    def to(cls, url: str) -> "TcpProxy":
        """Build a proxy to the server of a URL."""
        parts = urlsplit(url)
        defaults = {"amqp": 5672, "postgresql": 5432, "redis": 6379, "http": 80}
        return cls(parts.hostname or "127.0.0.1", parts.port or defaults[parts.scheme])

    def url(self, url: str) -> str:
        """Return a URL that leads through the proxy."""
        parts = urlsplit(url)
        login = parts.netloc.rpartition("@")[0]
        netloc = f"{login}@127.0.0.1:{self.port}" if login else f"127.0.0.1:{self.port}"
        return urlunsplit(parts._replace(netloc=netloc))

    async def start(self) -> None:
        """Listen on a free port, or on the same one again."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Cut everything and stop listening."""
        if self._server is not None:
            self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._server = None

    def cut(self) -> None:
        """Reset every connection; new ones are let in."""
        for writer in list(self._writers):
            transport = writer.transport
            if transport is not None:
                transport.abort()

    def refuse(self) -> None:
        """Cut every connection and refuse new ones, as a server that is down."""
        self._refusing = True
        self.cut()

    def accept(self) -> None:
        """Let connections in again."""
        self._refusing = False

    def hang(self) -> None:
        """Hold everything back without a word, as a cable that was pulled."""
        self._flowing.clear()

    def resume(self) -> None:
        """Let everything flow again."""
        self._flowing.set()

    def delay(self, seconds: float) -> None:
        """Hold each piece of data for a while, in both directions."""
        self._delay_s = seconds

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        self.connections += 1
        self._writers |= {writer, upstream_writer}
        pumps = [
            asyncio.create_task(self._pump(reader, upstream_writer)),
            asyncio.create_task(self._pump(upstream_reader, writer)),
        ]
        self._tasks.update(pumps)
        try:
            # One direction that ends takes the other with it.
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._tasks.difference_update(pumps)
            for side in (writer, upstream_writer):
                self._writers.discard(side)
                if side.transport is not None:
                    side.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                await self._flowing.wait()
                if self._delay_s:
                    await asyncio.sleep(self._delay_s)
                writer.write(data)
                await writer.drain()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
