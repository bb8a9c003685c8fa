"""Rate limits in Redis, one counter per named limit and caller. Redis may be lost: then everyone is let through."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable

import redis.exceptions
from fastapi import Request
from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage, RedisStorage, Storage
from limits.aio.strategies import MovingWindowRateLimiter
from prometheus_client import Counter

from copeck.web.problems import Problem

_LIMITED = Counter("copeck_http_rate_limited_total", "Requests refused by a rate limit.", ["limit"])
_OPEN = Counter(
    "copeck_http_rate_limit_open_total", "Requests let through because the counters were out of reach.", ["limit"]
)
_TIMEOUT_S = 0.5
# After a failure the counters are left alone for this long: a dead Redis must not slow every request down.
_PAUSE_S = 5.0


class Limiter:
    """The counters of one process's application; `storage` is shared by all processes through Redis."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._strategy = MovingWindowRateLimiter(storage)
        self._paused_until = float("-inf")

    @classmethod
    def of(cls, redis_url: str) -> "Limiter":
        """Count in Redis, or in this process when there is none (development only)."""
        if not redis_url:
            return cls(MemoryStorage())
        storage = RedisStorage(
            f"async+{redis_url}",
            implementation="redispy",
            key_prefix="copeck:limits",
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
        )
        return cls(storage)

    async def close(self) -> None:
        """Close the connections to Redis."""
        bridge = getattr(self._storage, "bridge", None)
        storage = getattr(bridge, "storage", None)
        if storage is not None:
            await storage.aclose()

    async def hit(self, name: str, item: RateLimitItem, subject: str) -> float | None:
        """Count one call; return None when it is within the limit, else after how many seconds to come back."""
        if time.monotonic() < self._paused_until:
            _OPEN.labels(name).inc()
            return None
        try:
            async with asyncio.timeout(_TIMEOUT_S * 2):
                if await self._strategy.hit(item, name, subject):
                    return None
                window = await self._strategy.get_window_stats(item, name, subject)
        except (redis.exceptions.RedisError, OSError, TimeoutError):
            self._paused_until = time.monotonic() + _PAUSE_S
            _OPEN.labels(name).inc()
            return None
        _LIMITED.labels(name).inc()
        return max(1.0, window.reset_time - time.time())


def client_address(request: Request) -> str:
    """Return the caller's address; the server has replaced it by X-Forwarded-For if a trusted proxy sent that."""
    return request.client.host if request.client else "unknown"


def subject_of(request: Request) -> str:
    """Return whom a call counts for: the user if the route knows one by now, else the address."""
    principal = getattr(request.state, "principal", None)
    return f"user:{principal.user_id}" if principal is not None else f"ip:{client_address(request)}"


def too_many(name: str, retry_after_s: float) -> Problem:
    """The 429 of a limit."""
    return Problem(
        429,
        "rate-limited",
        "Too many requests",
        f"The limit {name!r} is used up; come back in {math.ceil(retry_after_s)} s",
        headers={"Retry-After": str(math.ceil(retry_after_s))},
    )


async def check_limit(request: Request, name: str, rate: str, subject: str) -> None:
    """Count one call for a subject of the caller's choice (an e-mail address, say); 429 beyond the rate."""
    limiter: Limiter = request.app.state.limiter
    factor: int = getattr(request.app.state, "rate_limit_factor", 1)
    item = parse(rate)
    if factor != 1:
        item = type(item)(item.amount * factor, item.multiples, item.namespace)
    retry_after_s = await limiter.hit(name, item, subject)
    if retry_after_s is not None:
        raise too_many(name, retry_after_s)


def rate_limit(
    name: str, rate: str, *, subject: Callable[[Request], str] = subject_of
) -> Callable[[Request], Awaitable[None]]:
    """Return a dependency that counts calls of an endpoint: `dependencies=[Depends(rate_limit("pay", "10/minute"))]`.

    The counter is keyed by `name`, never by the URL: `/orders/1` and `/orders/2` share it. Put it after the
    dependency that finds the principal, if calls should count for the user.
    """
    parse(rate)

    async def check(request: Request) -> None:
        await check_limit(request, name, rate, subject(request))

    check.rate_limit_name = name  # type: ignore[attr-defined]
    return check
