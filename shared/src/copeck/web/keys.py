"""Public keys of `auth`, fetched from its JWKS and kept: what tokens are verified by."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Protocol

import httpx2
import jwt
from jwt.algorithms import ECAlgorithm, OKPAlgorithm

from copeck.web.problems import unavailable

ALGORITHMS = ("ES256", "EdDSA")
CACHE_S = 300.0
# A token with an unknown key id makes us ask again, but not more often than this: anybody can invent key ids.
REFETCH_S_MIN = 5.0
_TIMEOUT_S = 3.0
_BODY_BYTES_MAX = 64 * 1024
_KEYS_MAX = 16


class KeySource(Protocol):
    """Where the key of a key id comes from."""

    async def key(self, kid: str) -> tuple[str, Any] | None:
        """Return the algorithm and the public key, or None when the id is unknown."""
        ...


def read_jwks(document: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    """Return the keys that we may use by id; the algorithm follows from the key, never from the token."""
    keys: dict[str, tuple[str, Any]] = {}
    for entry in list(document.get("keys", []))[:_KEYS_MAX]:
        kid = entry.get("kid")
        if not isinstance(kid, str) or entry.get("use", "sig") != "sig":
            continue
        if entry.get("kty") == "EC" and entry.get("crv") == "P-256":
            keys[kid] = ("ES256", ECAlgorithm.from_jwk(entry))
        elif entry.get("kty") == "OKP" and entry.get("crv") == "Ed25519":
            keys[kid] = ("EdDSA", OKPAlgorithm.from_jwk(entry))
    return keys


class StaticKeys:
    """Keys that are given: for `auth` itself, and for tests."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._keys = read_jwks(document)

    async def key(self, kid: str) -> tuple[str, Any] | None:
        """Return the key of an id."""
        return self._keys.get(kid)


class JwksKeys:
    """Keys fetched over HTTP. When `auth` is out of reach, the keys that we have go on being good."""

    def __init__(self, url: str, *, client: httpx2.AsyncClient | None = None) -> None:
        self._url = url
        self._client = client
        self._keys: dict[str, tuple[str, Any]] = {}
        self._asked_at = float("-inf")
        self._fetched_at = float("-inf")
        self._lock = asyncio.Lock()

    async def key(self, kid: str) -> tuple[str, Any] | None:
        """Return the key of an id, asking `auth` when it is new or our copy is old; 503 when we have none at all."""
        now = time.monotonic()
        if kid in self._keys and now - self._fetched_at < CACHE_S:
            return self._keys[kid]
        async with self._lock:
            now = time.monotonic()
            stale = kid not in self._keys or now - self._fetched_at >= CACHE_S
            if stale and now - self._asked_at >= (REFETCH_S_MIN if self._keys else 0.2):
                self._asked_at = now
                await self._fetch()
        if not self._keys:
            raise unavailable("Tokens cannot be verified at the moment", retry_after_s=2)
        return self._keys.get(kid)

    async def _fetch(self) -> None:
        if not self._url:
            return
        try:
            if self._client is None:
                self._client = httpx2.AsyncClient(timeout=_TIMEOUT_S, follow_redirects=False)
            answer = await self._client.get(self._url)
            if answer.status_code == 200 and len(answer.content) <= _BODY_BYTES_MAX:
                self._keys = read_jwks(answer.json())
                self._fetched_at = time.monotonic()
        except (httpx2.HTTPError, ValueError, AttributeError, jwt.PyJWTError):
            # What we know stays valid; the next token asks again.
            return

    async def close(self) -> None:
        """Close the connection to `auth`."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None
