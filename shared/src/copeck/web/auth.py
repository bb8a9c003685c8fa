"""Who is calling: the short-lived internal token that the edge proxy sets, verified here, and what roles allow."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

import jwt
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from copeck.web.keys import KeySource
from copeck.web.problems import forbidden, unauthorized

ISSUER = "copeck-auth"
AUDIENCE_INTERNAL = "copeck.internal"
AUDIENCE_EDGE = "copeck.edge"
ROLES = frozenset({"customer", "recipient", "merchant", "manager", "operator"})
_TOKEN_CHARS_MAX = 4096
_LEEWAY_S = 5
_VERIFIED_S = 10.0
_VERIFIED_MAX = 10_000

_bearer = HTTPBearer(auto_error=False, scheme_name="bearer", description="An access token of `/auth/api/v1/login`.")


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller. `client` says through what: `session:…`, `key:…` or `token`."""

    user_id: UUID
    roles: frozenset[str]
    client: str

    def has(self, *roles: str) -> bool:
        """Tell whether the caller has any of these roles."""
        return not self.roles.isdisjoint(roles)


class TokenVerifier:
    """Checks tokens of one audience."""

    def __init__(self, keys: KeySource, *, audience: str = AUDIENCE_INTERNAL) -> None:
        self._keys = keys
        self._audience = audience
        self._verified: dict[str, tuple[float, Principal]] = {}

    async def verify(self, token: str) -> Principal:
        """Return who the token speaks for; 401 when it is not one of ours, is over, or is for somebody else.

        A signature that was found good is believed for some seconds: the edge uses a token for several requests.
        """
        now = time.time()
        known = self._verified.get(token)
        if known is not None and now < known[0]:
            return known[1]
        claims = await self.claims(token)
        principal = self._principal(claims)
        if len(self._verified) >= _VERIFIED_MAX:
            self._verified.clear()
        self._verified[token] = (min(now + _VERIFIED_S, float(claims["exp"])), principal)
        return principal

    def _principal(self, claims: dict[str, Any]) -> Principal:
        roles = claims.get("roles", [])
        try:
            return Principal(
                user_id=UUID(claims["sub"]),
                roles=frozenset(role for role in roles if role in ROLES),
                client=str(claims.get("client", "token"))[:200],
            )
        except (ValueError, TypeError, AttributeError) as error:
            raise unauthorized("The token is not valid") from error

    async def claims(self, token: str) -> dict[str, Any]:
        """Return the verified claims."""
        if len(token) > _TOKEN_CHARS_MAX:
            raise unauthorized("The token is not valid")
        try:
            header = jwt.get_unverified_header(token)
            kid = header.get("kid")
            found = await self._keys.key(kid) if isinstance(kid, str) else None
            if found is None:
                raise unauthorized("The token is not valid")
            algorithm, key = found
            return jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=self._audience,
                issuer=ISSUER,
                leeway=_LEEWAY_S,
                options={"require": ["exp", "iat", "sub", "aud", "iss"], "strict_aud": True},
            )
        except jwt.ExpiredSignatureError as error:
            raise unauthorized("The token is over; ask for a new one") from error
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise unauthorized("The token is not valid") from error


async def optional_principal(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Principal | None:
    """Return the caller, or None when nobody is known; a token that is no good is an error all the same."""
    if credentials is None:
        return None
    verifier: TokenVerifier = request.app.state.token_verifier
    principal = await verifier.verify(credentials.credentials)
    request.state.principal = principal
    return principal


async def current_principal(principal: Annotated[Principal | None, Depends(optional_principal)]) -> Principal:
    """Return the caller; 401 when nobody is known."""
    if principal is None:
        raise unauthorized()
    return principal


def require_roles(*roles: str) -> Callable[..., Awaitable[Principal]]:
    """Return a dependency that lets only callers with one of the roles in; 403 for others."""
    unknown = set(roles) - ROLES
    if unknown or not roles:
        raise ValueError(f"roles are some of {sorted(ROLES)}, not {sorted(unknown)}")

    async def check(principal: Annotated[Principal, Depends(current_principal)]) -> Principal:
        if not principal.has(*roles):
            raise forbidden(f"This needs one of the roles: {', '.join(roles)}")
        return principal

    return check


CurrentPrincipal = Annotated[Principal, Depends(current_principal)]
OptionalPrincipal = Annotated[Principal | None, Depends(optional_principal)]
