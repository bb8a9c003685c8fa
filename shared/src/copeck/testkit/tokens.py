"""Tokens of a test's own `auth`: a key pair, its JWKS, tokens for any user and role."""

import json
import threading
import time
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID, uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

ISSUER = "copeck-auth"
AUDIENCE = "copeck.internal"
TTL_S = 60


class TokenMint:
    """Signs what a service takes for the edge's tokens, when it trusts `jwks()`."""

    def __init__(self, kid: str = "test") -> None:
        self.kid = kid
        self._key = ec.generate_private_key(ec.SECP256R1())

    def jwks(self) -> dict[str, Any]:
        """Return the public half as a JWKS document."""
        key: dict[str, Any] = json.loads(ECAlgorithm.to_jwk(self._key.public_key()))
        return {"keys": [{**key, "kid": self.kid, "use": "sig", "alg": "ES256"}]}

    def token(
        self,
        user_id: UUID | str | None = None,
        roles: Iterable[str] = ("customer",),
        *,
        client: str = "token",
        audience: str = AUDIENCE,
        issuer: str = ISSUER,
        ttl_s: float = TTL_S,
        **claims: Any,
    ) -> str:
        """Sign a token; every claim may be made wrong."""
        now = time.time()
        payload = {
            "iss": issuer,
            "aud": audience,
            "sub": str(user_id or uuid4()),
            "iat": int(now),
            "exp": int(now + ttl_s),
            "roles": sorted(roles),
            "client": client,
            **claims,
        }
        return jwt.encode(payload, self._key, algorithm="ES256", headers={"kid": self.kid})

    def headers(self, user_id: UUID | str | None = None, roles: Iterable[str] = ("customer",)) -> dict[str, str]:
        """Return the Authorization header for a user."""
        return {"Authorization": f"Bearer {self.token(user_id, roles)}"}


class JwksServer:
    """Serves a mint's JWKS over HTTP, in a thread."""

    def __init__(self, mint: TokenMint) -> None:
        document = json.dumps(mint.jwks()).encode()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(document)))
                self.end_headers()
                self.wfile.write(document)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/auth/api/v1/.well-known/jwks.json"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)
