"""A thin HTTP client: the load must not cost more than what it measures."""

import asyncio
import json
from typing import Any

_TIMEOUT_S = 30.0
_BODY_BYTES_MAX = 1024 * 1024


class Connection:
    """One kept-alive connection to one service; opened again when the service closed it."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def post(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """Send JSON; return the status and the JSON of the answer. OSError when there was none."""
        payload = json.dumps(body).encode()
        lines = [f"POST {path} HTTP/1.1", f"Host: {self._host}:{self._port}", "Content-Type: application/json"]
        lines += [f"Content-Length: {len(payload)}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        request = "\r\n".join(lines).encode() + payload
        async with asyncio.timeout(_TIMEOUT_S):
            try:
                return await self._exchange(request)
            except (OSError, asyncio.IncompleteReadError) as error:
                await self.close()
                raise OSError(f"no answer: {error!r}") from error

    async def _exchange(self, request: bytes) -> tuple[int, dict[str, Any]]:
        if self._writer is None or self._reader is None or self._writer.is_closing():
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ", 2)[1])
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        length = int(fields.get("content-length", "0"))
        if length > _BODY_BYTES_MAX:
            raise OSError(f"an answer of {length} bytes")
        body = await self._reader.readexactly(length)
        if fields.get("connection", "").lower() == "close":
            await self.close()
        return status, json.loads(body) if body else {}

    async def close(self) -> None:
        """Close the connection."""
        writer, self._reader, self._writer = self._writer, None, None
        if writer is not None:
            writer.close()
