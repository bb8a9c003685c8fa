"""What every provider's client shares: kept connections, bounded answers, and what a status proves (I-08)."""

import asyncio
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from weakref import WeakKeyDictionary

import httpx2

from payments_gateway.domain.provider import Exchange, Shop, Verdict

TIMEOUT = httpx2.Timeout(20.0, connect=5.0)
ANSWER_BYTES_MAX = 4 * 1024 * 1024
# Shorter than servers keep an idle connection: one that they close while we write leaves an unknown outcome.
_LIMITS = httpx2.Limits(max_connections=32, max_keepalive_connections=16, keepalive_expiry=2.0)

_NOT_SENT_ERRORS = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol"})
_NOT_EXECUTED = frozenset({401, 403, 404})
_LATER = frozenset({425, 429})


class Connections:
    """Connections that are kept open, by shop; a client belongs to the event loop that made it, and to no other."""

    def __init__(self, transport: httpx2.AsyncBaseTransport | None = None, timeout: httpx2.Timeout = TIMEOUT) -> None:
        self._transport = transport
        self._timeout = timeout
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Shop, httpx2.AsyncClient]] = WeakKeyDictionary()

    def of(self, shop: Shop, api_url: str) -> httpx2.AsyncClient:
        """Return the client of a shop in this event loop."""
        clients = self._loops.setdefault(asyncio.get_running_loop(), {})
        client = clients.get(shop)
        if client is None:
            client = clients[shop] = httpx2.AsyncClient(
                base_url=api_url.rstrip("/"),
                auth=(shop.public_id, shop.api_secret),
                timeout=self._timeout,
                transport=self._transport,
                limits=_LIMITS,
                follow_redirects=False,
                trust_env=False,
            )
        return client

    async def close(self) -> None:
        """Close the clients of this event loop."""
        for client in self._loops.pop(asyncio.get_running_loop(), {}).values():
            await client.aclose()


def document_of(answer: httpx2.Response) -> dict[str, Any] | None:
    """Read an answer as a JSON object with exact numbers; None when it is not one."""
    if len(answer.content) > ANSWER_BYTES_MAX:
        return None
    try:
        document = json.loads(answer.content, parse_float=Decimal)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def verdict_without_body(exchange: Exchange, document: Mapping[str, Any] | None, *, strict: bool) -> Verdict | None:
    """Judge a call by its connection and its status alone; None when the body of an answer 200 decides.

    `strict` is how payouts and charges are judged: what the provider refuses with a 4xx has failed, and what it puts
    off was not executed. Elsewhere a refusal of our keys is waited out, and 429 proves nothing.
    """
    if exchange.error is not None:
        return Verdict.NOT_SENT if exchange.error in _NOT_SENT_ERRORS else Verdict.UNKNOWN
    status = exchange.status_code or 0
    if strict and 400 <= status < 500 and status != 408:
        return Verdict.NOT_SENT if status in _LATER else Verdict.REJECTED
    if status in _NOT_EXECUTED:
        return Verdict.NOT_SENT
    return Verdict.UNKNOWN if status != 200 or document is None else None
