"""Signing keys: made here, sealed at rest, and the ring of those that are in use."""

import asyncio
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from jwt.algorithms import ECAlgorithm, OKPAlgorithm

from copeck.web.keys import read_jwks
from copeck.web.problems import unavailable

Algorithm = Literal["ES256", "EdDSA"]
PrivateKey = EllipticCurvePrivateKey | Ed25519PrivateKey
SECRET_CHARS_MIN = 32
_NONCE_BYTES = 12
# How long a process may go on with the ring that it has; far below the time between publishing and activating a key.
_RING_S = 5.0


class SealError(Exception):
    """A private key cannot be opened: the signing secret is not the one that sealed it."""


class Sealer:
    """Encrypts private keys for the database with AES-256-GCM under a key derived from the signing secret."""

    def __init__(self, secret: str) -> None:
        if len(secret) < SECRET_CHARS_MIN:
            raise ValueError(f"COPECK_SIGNING_SECRET (or its _FILE) needs {SECRET_CHARS_MIN} characters or more")
        derived = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"copeck-auth signing keys v1")
        self._cipher = AESGCM(derived.derive(secret.encode()))

    def seal(self, kid: str, plain: bytes) -> bytes:
        """Encrypt; the key's id is bound to it, so that rows cannot be swapped."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain, kid.encode())

    def open(self, kid: str, sealed: bytes) -> bytes:
        """Decrypt; SealError when it was sealed with another secret or for another key."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], kid.encode())
        except Exception as error:
            raise SealError("the signing secret does not open the signing key") from error


@dataclass(frozen=True, slots=True)
class NewKey:
    """A signing key as it is stored."""

    kid: str
    algorithm: Algorithm
    public_jwk: dict[str, Any]
    private_sealed: bytes


def make_key(algorithm: Algorithm, sealer: Sealer) -> NewKey:
    """Make a key pair."""
    private: PrivateKey
    if algorithm == "ES256":
        private = generate_private_key(SECP256R1())
        public = json.loads(ECAlgorithm.to_jwk(private.public_key()))
    else:
        private = Ed25519PrivateKey.generate()
        public = json.loads(OKPAlgorithm.to_jwk(private.public_key()))
    kid = secrets.token_hex(8)
    public |= {"kid": kid, "alg": algorithm, "use": "sig"}
    public.pop("key_ops", None)
    encoded = private.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return NewKey(kid, algorithm, public, sealer.seal(kid, encoded))


def load_private(kid: str, sealed: bytes, sealer: Sealer) -> PrivateKey:
    """Open a stored private key."""
    key = serialization.load_der_private_key(sealer.open(kid, sealed), password=None)
    if not isinstance(key, EllipticCurvePrivateKey | Ed25519PrivateKey):
        raise SealError("the signing key is of an unknown kind")
    return key


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A signing key as it is read: those that verify, of which one signs."""

    kid: str
    algorithm: Algorithm
    public_jwk: dict[str, Any]
    private_sealed: bytes
    state: str


@dataclass(frozen=True, slots=True)
class Signer:
    """The key that signs now."""

    kid: str
    algorithm: Algorithm
    key: PrivateKey


class KeyRing:
    """The keys in use, read again every few seconds; also the source of keys for verifying our own tokens."""

    def __init__(self, load: Callable[[], Awaitable[Sequence[StoredKey]]], sealer: Sealer) -> None:
        self._load = load
        self._sealer = sealer
        self._read_at = float("-inf")
        self._public: dict[str, tuple[str, Any]] = {}
        self._document: dict[str, Any] = {"keys": []}
        self._signer: Signer | None = None
        self._lock = asyncio.Lock()

    async def signer(self) -> Signer:
        """Return the key that signs; 503 when there is none yet."""
        await self._fresh()
        if self._signer is None:
            raise unavailable("There is no active signing key", retry_after_s=5)
        return self._signer

    async def key(self, kid: str) -> tuple[str, Any] | None:
        """Return a public key by its id."""
        await self._fresh()
        return self._public.get(kid)

    async def jwks(self) -> dict[str, Any]:
        """Return the document that verifiers fetch."""
        await self._fresh()
        return self._document

    def forget(self) -> None:
        """Read again at the next call."""
        self._read_at = float("-inf")

    async def _fresh(self) -> None:
        if time.monotonic() - self._read_at < _RING_S:
            return
        async with self._lock:
            if time.monotonic() - self._read_at < _RING_S:
                return
            stored = await self._load()
            document = {"keys": [key.public_jwk for key in stored]}
            self._public = read_jwks(document)
            self._document = document
            self._signer = self._opened(next((key for key in stored if key.state == "active"), None))
            self._read_at = time.monotonic()

    def _opened(self, active: StoredKey | None) -> Signer | None:
        if active is None or (self._signer is not None and self._signer.kid == active.kid):
            return self._signer if active is not None else None
        return Signer(active.kid, active.algorithm, load_private(active.kid, active.private_sealed, self._sealer))
