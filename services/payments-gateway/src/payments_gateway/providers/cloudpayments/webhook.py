"""Authenticity and reading of CloudPayments' notifications.

Two headers sign every notification with HMAC-SHA256 under the shop's API secret: `Content-HMAC` over the body as it
was sent, `X-Content-HMAC` over the URL-decoded body. A GET notification signs its query string. Both are required:
a body that satisfies one only was changed on its way.
"""

import base64
import hashlib
import hmac
import json
import re
from decimal import Decimal
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

from cryptography.fernet import Fernet

from payments_gateway.domain import sealing
from payments_gateway.domain.provider import RawCallback, UnreadableCallback

FIELDS_MAX = 200
SEALED = b"[sealed]"
_TOKEN = re.compile(rb'(?P<before>(?:^|&)Token=|"Token"\s*:\s*")(?P<token>[^&"\n]+)')
_PURPOSE = "copeck callback seal v1"
_WHOLE, _TOKENS = b"body:", b"tokens:"


def signature(secret: str, message: bytes) -> str:
    """Return base64 of HMAC-SHA256, as CloudPayments writes it."""
    return base64.b64encode(hmac.new(secret.encode(), message, hashlib.sha256).digest()).decode()


def decoded(body: bytes) -> bytes:
    """URL-decode bytes: '+' is a space, %XX is a byte."""
    return unquote_to_bytes(body.replace(b"+", b" "))


def verify(secret: str, callback: RawCallback) -> bool:
    """Compare both signatures in constant time; a missing header or an empty secret is a refusal."""
    raw = callback.headers.get("content-hmac", "")
    plain = callback.headers.get("x-content-hmac", "")
    if not secret or not raw or not plain:
        return False
    plain_message = callback.body if _is_json(callback) else decoded(callback.body)
    raw_fits = hmac.compare_digest(signature(secret, callback.body).encode(), raw.encode("utf-8", "replace"))
    plain_fits = hmac.compare_digest(signature(secret, plain_message).encode(), plain.encode("utf-8", "replace"))
    return raw_fits and plain_fits


def fields(callback: RawCallback) -> dict[str, Any]:
    """Parse a form or a JSON body into a flat dictionary; amounts stay exact."""
    return _json_fields(callback.body) if _is_json(callback) else _form_fields(callback)


def seal(secret: str, body: bytes) -> tuple[bytes, bytes | None]:
    """Replace a saved card's token by a mark, and encrypt it under a key derived from the shop's secret (I-14).

    The original bytes can be rebuilt, and the signature proved again, by whoever holds the secret.
    """
    tokens: list[bytes] = []

    def take(match: re.Match[bytes]) -> bytes:
        tokens.append(match["token"])
        return match["before"] + SEALED

    clean = _TOKEN.sub(take, body)
    if not tokens:
        return body, None
    # A body that holds the mark itself could not be rebuilt from its tokens: it is sealed whole.
    kept = _WHOLE + body if SEALED in body else _TOKENS + b"\n".join(tokens)
    return clean, _fernet(secret).encrypt(kept)


def unseal(secret: str, body: bytes, sealed: bytes | None) -> bytes:
    """Rebuild the bytes that were received."""
    if sealed is None:
        return body
    kept = _fernet(secret).decrypt(sealed)
    if kept.startswith(_WHOLE):
        return kept.removeprefix(_WHOLE)
    for token in kept.removeprefix(_TOKENS).split(b"\n"):
        body = body.replace(SEALED, token, 1)
    return body


@lru_cache(maxsize=64)
def _fernet(secret: str) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(sealing.key_of(secret, _PURPOSE)))


def _is_json(callback: RawCallback) -> bool:
    return callback.method != "GET" and callback.content_type.partition(";")[0].strip().lower() == "application/json"


def _form_fields(callback: RawCallback) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in _pairs(callback):
        if name in found:
            raise UnreadableCallback(f"the field {name[:40]!r} appears twice")
        found[name] = value
    return found


def _pairs(callback: RawCallback) -> list[tuple[str, str]]:
    """Decode a form as UTF-8, else as Windows-1251: a cabinet offers both, and a GET names neither."""
    failure: Exception | None = None
    for encoding in _encodings(callback.content_type):
        try:
            text = callback.body.decode(encoding)
            return parse_qsl(
                text, keep_blank_values=True, encoding=encoding, errors="strict", max_num_fields=FIELDS_MAX
            )
        except (UnicodeError, ValueError) as error:
            failure = error
    raise UnreadableCallback(f"the form cannot be decoded: {type(failure).__name__}")


def _json_fields(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body, parse_float=Decimal, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise UnreadableCallback(f"the body is not JSON: {type(error).__name__}") from error
    if not isinstance(document, dict) or len(document) > FIELDS_MAX:
        raise UnreadableCallback("the body is not a JSON object of a sensible size")
    return document


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field appears twice")
    return found


def _encodings(content_type: str) -> tuple[str, ...]:
    match = re.search(r"charset=\"?([\w-]+)", content_type, re.IGNORECASE)
    named = match[1].lower() if match else ""
    return ("cp1251",) if named in {"windows-1251", "cp1251"} else ("utf-8", "cp1251")
