"""Calls of the telemetry's HTTP API: a bearer token, a time-out on everything, bounded answers, and a verdict on each.

What a failure proves: no connection: not sent. 401, 403, 425, 429: not executed, another time. Any other 4xx: refused.
A time-out after the request was written, a broken connection, 5xx, an answer that cannot be read: unknown.
"""

import asyncio
import json
from enum import StrEnum
from typing import Any
from weakref import WeakKeyDictionary

import httpx2

ANSWER_BYTES_MAX = 1024 * 1024
ROWS_MAX = 500
_TIMEOUT = httpx2.Timeout(5.0, connect=2.0)
# Shorter than servers keep an idle connection: one that they close while we write leaves an unknown outcome.
_LIMITS = httpx2.Limits(max_connections=32, max_keepalive_connections=16, keepalive_expiry=2.0)
_NOT_EXECUTED = frozenset({401, 403, 425, 429})
_TIMED_OUT = 408


class Fault(StrEnum):
    """What is known of a call that did not go well."""

    NOT_EXECUTED = "not_executed"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class TmetrError(Exception):
    """A call that did not go well; `code` is short and has nothing of the answer's text."""

    def __init__(self, fault: Fault, code: str) -> None:
        super().__init__(code)
        self.fault = fault
        self.code = code


class TmetrClient:
    """The three calls that are used. A transport may be put in by tests."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        timeout: httpx2.Timeout = _TIMEOUT,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._timeout = timeout
        self._transport = transport
        # A client belongs to the event loop that made it: the worker has one a task.
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, httpx2.AsyncClient] = WeakKeyDictionary()

    async def drink(self, *, device: str, drink: str, size: str, offset: str) -> dict[str, Any]:
        """`static/drink`: the name, the price in kopecks and the telemetry's own id of a drink."""
        body = {"deviceId": device, "drinkIdAtDevice": drink, "drinkSize": size}
        found = await self._call("/api/ui/v1/static/drink", body, offset)
        if not isinstance(found, dict):
            raise TmetrError(Fault.UNKNOWN, "unreadable")
        return found

    async def make(self, *, device: str, order: str, drink: str, size: str, price_minor: int, offset: str) -> None:
        """`command/make`: that it returns means that the command was taken, not that anything was brewed."""
        command = {"deviceId": device, "orderUuid": order, "drinkUuid": drink, "size": size, "price": price_minor}
        await self._call("/api/commander/v1/command/make", [command], offset, with_body=False)

    async def heartbeats(self, devices: list[str], offset: str = "0") -> dict[str, Any]:
        """`stat/heartbeat/recent` of at most `ROWS_MAX` machines."""
        body = {"deviceIds": devices[:ROWS_MAX], "offset": 0, "limit": ROWS_MAX}
        found = await self._call("/api/ui/v1/stat/heartbeat/recent", body, offset)
        if not isinstance(found, dict):
            raise TmetrError(Fault.UNKNOWN, "unreadable")
        return found

    async def close(self) -> None:
        """Close the connections of this event loop."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()

    def _client(self) -> httpx2.AsyncClient:
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            client = self._clients[loop] = httpx2.AsyncClient(
                base_url=self._url,
                headers={"Authorization": f"Bearer {self._token}"},
                timeout=self._timeout,
                transport=self._transport,
                limits=_LIMITS,
                follow_redirects=False,
                trust_env=False,
            )
        return client

    async def _call(self, path: str, body: Any, offset: str, *, with_body: bool = True) -> Any:
        try:
            answer = await self._client().post(path, json=body, headers={"TimeZoneOffset": offset})
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol) as error:
            raise TmetrError(Fault.NOT_EXECUTED, type(error).__name__) from error
        except httpx2.HTTPError as error:
            raise TmetrError(Fault.UNKNOWN, type(error).__name__) from error
        fault = _fault(answer.status_code)
        if fault is not None:
            raise TmetrError(fault, f"http_{answer.status_code}")
        if not with_body:
            return None
        try:
            return json.loads(answer.content) if len(answer.content) <= ANSWER_BYTES_MAX else None
        except (ValueError, RecursionError):
            return None


def _fault(status: int) -> Fault | None:
    if 200 <= status < 300:
        return None
    if status in _NOT_EXECUTED:
        return Fault.NOT_EXECUTED
    return Fault.REFUSED if 400 <= status < 500 and status != _TIMED_OUT else Fault.UNKNOWN
