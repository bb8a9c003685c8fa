"""Signed tokens: for callers (audience `copeck.edge`) and, from the edge, for services (`copeck.internal`)."""

from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

import jwt

from auth.signing import KeyRing
from copeck.kernel.clock import Clock
from copeck.web.auth import AUDIENCE_EDGE, AUDIENCE_INTERNAL, ISSUER


class Tokens:
    """Mints tokens with the key that is active."""

    def __init__(self, ring: KeyRing, clock: Clock, *, access_s: int, internal_s: int) -> None:
        self._ring = ring
        self._clock = clock
        self.access_s = access_s
        self.internal_s = internal_s

    async def access(self, user_id: UUID, roles: Iterable[str], family_id: UUID) -> str:
        """Mint what a caller shows to the edge; it names its refresh family, with which it is revoked."""
        return await self._mint(AUDIENCE_EDGE, user_id, roles, f"token:{family_id}", self.access_s)

    async def internal(self, user_id: UUID, roles: Iterable[str], client: str) -> str:
        """Mint what services see."""
        return await self._mint(AUDIENCE_INTERNAL, user_id, roles, client, self.internal_s)

    async def _mint(self, audience: str, user_id: UUID, roles: Iterable[str], client: str, life_s: int) -> str:
        signer = await self._ring.signer()
        now = self._clock.now()
        claims = {
            "iss": ISSUER,
            "aud": audience,
            "sub": str(user_id),
            "roles": sorted(roles),
            "client": client,
            "iat": now,
            "exp": now + timedelta(seconds=life_s),
        }
        return jwt.encode(claims, signer.key, algorithm=signer.algorithm, headers={"kid": signer.kid})
