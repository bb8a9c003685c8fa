"""Sealing of what may not be stored in the clear (I-14): encrypted under keys made from a shop's secret. Pure.

Each purpose has a key of its own, so that what was sealed for one cannot be passed off as another's.
"""

from functools import lru_cache
from secrets import token_bytes

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_NONCE_BYTES = 12
_VERSION = b"\x01"


class UnsealableError(Exception):
    """The secret is another one than it was sealed under, or the bytes or what they belong to were changed."""


@lru_cache(maxsize=256)
def key_of(secret: str, purpose: str) -> bytes:
    """Return the 32 bytes of the key of one purpose under a secret."""
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=purpose.encode()).derive(secret.encode())


def seal(secret: str, purpose: str, plain: bytes, belongs_to: str) -> bytes:
    """Encrypt; `belongs_to` must be named again to unseal, so that sealed bytes cannot be moved to another row."""
    nonce = token_bytes(_NONCE_BYTES)
    return _VERSION + nonce + _cipher(secret, purpose).encrypt(nonce, plain, belongs_to.encode())


def unseal(secret: str, purpose: str, sealed: bytes, belongs_to: str) -> bytes:
    """Decrypt what `seal` made; UnsealableError when it is not that."""
    nonce, hidden = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
    if sealed[:1] != _VERSION or len(nonce) != _NONCE_BYTES:
        raise UnsealableError("these bytes were not sealed here")
    try:
        return _cipher(secret, purpose).decrypt(nonce, hidden, belongs_to.encode())
    except InvalidTag as error:
        raise UnsealableError("the secret or the owner is another one than it was sealed for") from error


@lru_cache(maxsize=256)
def _cipher(secret: str, purpose: str) -> AESGCM:
    return AESGCM(key_of(secret, purpose))
