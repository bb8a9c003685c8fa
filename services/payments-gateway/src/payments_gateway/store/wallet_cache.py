"""Balances in Redis for a moment: what is shown often is not summed up each time. Nothing is ever decided by them."""

import json
import time
from collections.abc import Iterable

import redis.asyncio
import redis.exceptions

from payments_gateway.domain.wallets import Balance

TTL_MS = 2_000
_TIMEOUT_S = 0.2
# After a failure Redis is left alone for this long: a dead one must not slow every request down.
_PAUSE_S = 5.0


class WalletCache:
    """Balances by account. Without Redis, or while it is lost, nothing is remembered."""

    def __init__(self, redis_url: str) -> None:
        self._redis = (
            redis.asyncio.from_url(redis_url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S)
            if redis_url
            else None
        )
        self._paused_until = float("-inf")

    async def get(self, account: str) -> list[Balance] | None:
        """Return the balances as they were a moment ago; None when they have to be read."""
        if self._redis is None or time.monotonic() < self._paused_until:
            return None
        try:
            text = await self._redis.get(_name(account))
        except (redis.exceptions.RedisError, OSError, TimeoutError):
            self._pause()
            return None
        return None if text is None else [Balance(*row) for row in json.loads(text)]

    async def put(self, account: str, balances: Iterable[Balance]) -> None:
        """Remember balances for a moment."""
        if self._redis is None or time.monotonic() < self._paused_until:
            return
        rows = [[one.currency, one.available_minor, one.held_minor, one.pending_minor] for one in balances]
        try:
            await self._redis.set(_name(account), json.dumps(rows), px=TTL_MS)
        except (redis.exceptions.RedisError, OSError, TimeoutError):
            self._pause()

    async def drop(self, accounts: Iterable[str]) -> None:
        """Forget balances that are about to change."""
        names = sorted({_name(account) for account in accounts})
        if self._redis is None or not names or time.monotonic() < self._paused_until:
            return
        try:
            await self._redis.delete(*names)
        except (redis.exceptions.RedisError, OSError, TimeoutError):
            self._pause()

    def _pause(self) -> None:
        self._paused_until = time.monotonic() + _PAUSE_S

    async def close(self) -> None:
        """Close the connections."""
        if self._redis is not None:
            await self._redis.aclose()


def _name(account: str) -> str:
    return f"copeck:balances:{account}"
