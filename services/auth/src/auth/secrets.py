"""Opaque secrets: 256 random bits shown once; what is stored is their SHA-256.

A fast digest is right here, and only here: there is nothing to guess in 256 random bits. Passwords go to argon2.
"""

import hashlib
import secrets

_BYTES = 32
_CHARS_MAX = 200


def new_secret() -> str:
    """Return a new secret, safe in URLs, headers and cookies."""
    return secrets.token_urlsafe(_BYTES)


def new_key_id() -> str:
    """Return the id of a new API key."""
    return f"ck_{secrets.token_hex(10)}"


def digest(secret: str) -> bytes:
    """Return what is stored of a secret, and looked up by."""
    return hashlib.sha256(secret[:_CHARS_MAX].encode("utf-8", "replace")).digest()
