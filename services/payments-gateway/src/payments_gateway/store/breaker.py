"""The circuit breaker of each provider, shared by all processes through Redis.

So many calls in a row without an answer open it: for a while nothing is sent to that provider. Then one call goes as a
probe, and its answer closes the breaker or opens it again. Redis may be lost: then the breaker counts as closed.
"""

import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

import redis.asyncio
import redis.exceptions

from copeck.observability.logs import get_logger
from copeck.observability.metrics import Counter, Gauge

log = get_logger(__name__)

OPEN = Gauge(
    "copeck_gateway_breaker_open",
    "1 while nothing is sent to a provider.",
    ["provider"],
    multiprocess_mode="mostrecent",
)
UNREACHABLE = Counter("copeck_gateway_breaker_unreachable_total", "Looks at breakers for which Redis did not answer.")

_TIMEOUT_S = 0.3
# After a failure Redis is left alone for this long: without it everything must go on as fast as before.
_PAUSE_S = 5.0
_COUNT_KEPT_S = 600
_PROBE = -1.0


@dataclass(slots=True)
class Looked:
    """How breakers stand: seconds to wait for each open one, and those that the caller may try with one call."""

    waits_s: dict[str, float] = field(default_factory=dict)
    probes: set[str] = field(default_factory=set)


class Breaker:
    """Counts unanswered calls of each provider, and says how long nothing is to be sent to it."""

    def __init__(self, redis_url: str, failures_max: int, open_s: float) -> None:
        self._redis = (
            redis.asyncio.from_url(redis_url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S)
            if redis_url
            else None
        )
        self._failures_max = failures_max
        self._open_ms = max(1, int(open_s * 1000))
        self._paused_until = float("-inf")
        self._failing: set[str] = set()

    async def look(self, providers: Iterable[str]) -> Looked:
        """Say which providers nothing may be sent to, and for how long.

        Where the time is over and nobody has tried yet, the caller is the one who may try, with one call.
        """
        looked = Looked()
        for provider in providers:
            waiting_s = await self._safely(lambda name=provider: self._look(name))  # type: ignore[misc]
            OPEN.labels(provider).set(1 if waiting_s else 0)
            if waiting_s > 0:
                looked.waits_s[provider] = waiting_s
            elif waiting_s < 0:
                looked.probes.add(provider)
        return looked

    async def give_back(self, provider: str) -> None:
        """Let somebody else try: the probe that was taken came to nothing to send."""
        await self._safely(lambda: self._give_back(provider))

    async def note(self, provider: str, *, answered: bool) -> None:
        """Count a call: an answer, a refusal too, closes the breaker; one call without an answer too many opens it."""
        if answered and provider not in self._failing:
            return
        await self._safely(lambda: self._note(provider, answered=answered))

    async def close(self) -> None:
        """Close the connections to Redis."""
        if self._redis is not None:
            await self._redis.aclose()

    async def _look(self, provider: str) -> float:
        if self._redis is None:
            return 0.0
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.get(_key(provider, "failures"))
            pipe.pttl(_key(provider, "open"))
            failures, left_ms = await pipe.execute()
        count = int(failures or 0)
        if count:
            self._failing.add(provider)
        else:
            self._failing.discard(provider)
        if left_ms > 0:
            return float(left_ms) / 1000
        if count < self._failures_max:
            return 0.0
        probes = await self._redis.set(_key(provider, "probe"), 1, nx=True, px=self._open_ms)
        return _PROBE if probes else self._open_ms / 1000

    async def _give_back(self, provider: str) -> float:
        if self._redis is not None:
            await self._redis.delete(_key(provider, "probe"))
        return 0.0

    async def _note(self, provider: str, *, answered: bool) -> float:
        if self._redis is None:
            return 0.0
        if answered:
            self._failing.discard(provider)
            closed = await self._redis.delete(*(_key(provider, what) for what in ("failures", "open", "probe")))
            if closed > 1:
                log.warning("a provider answers again", provider=provider)
            OPEN.labels(provider).set(0)
            return 0.0
        self._failing.add(provider)
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.incr(_key(provider, "failures"))
            pipe.expire(_key(provider, "failures"), _COUNT_KEPT_S + self._open_ms // 1000)
            count, _ = await pipe.execute()
        if count < self._failures_max:
            return 0.0
        if await self._redis.set(_key(provider, "open"), 1, px=self._open_ms, nx=True):
            log.error("a provider does not answer: nothing is sent to it", provider=provider, failures=count)
        await self._redis.delete(_key(provider, "probe"))
        OPEN.labels(provider).set(1)
        return 0.0

    async def _safely(self, ask: Callable[[], Awaitable[float]]) -> float:
        if self._redis is None or time.monotonic() < self._paused_until:
            return 0.0
        try:
            return await ask()
        except (redis.exceptions.RedisError, OSError, TimeoutError) as error:
            self._paused_until = time.monotonic() + _PAUSE_S
            UNREACHABLE.inc()
            log.warning("breakers count as closed: Redis does not answer", error=type(error).__name__)
            return 0.0


def _key(provider: str, what: str) -> str:
    return f"copeck:breaker:{provider}:{what}"
