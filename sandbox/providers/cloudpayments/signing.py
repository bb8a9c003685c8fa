"""The two signatures of a notification.

``Content-HMAC`` covers the bytes as they are sent (URL-encoded); ``X-Content-HMAC`` covers the same text after URL
decoding. For GET the message is the query string. For a JSON body nothing is encoded, so the two are equal.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from urllib.parse import unquote_to_bytes


def sign(secret: str, message: bytes) -> str:
    """Base64 of HMAC-SHA256."""
    return base64.b64encode(hmac.new(secret.encode(), message, hashlib.sha256).digest()).decode("ascii")


def signature_headers(secret: str, message: bytes, *, url_encoded: bool) -> dict[str, str]:
    """Both headers for a message as sent."""
    decoded = unquote_to_bytes(message.replace(b"+", b" ")) if url_encoded else message
    return {"Content-HMAC": sign(secret, message), "X-Content-HMAC": sign(secret, decoded)}
