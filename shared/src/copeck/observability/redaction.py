"""What must never reach a log: card numbers, secrets, tokens (I-14)."""

import re
from collections.abc import Mapping
from typing import Any

MASK = "[redacted]"
_DEPTH_MAX = 8
_ITEMS_MAX = 200
_TEXT_MAX = 20_000

# 13 to 19 digits, with single spaces or dashes between them, as people and forms write card numbers; not the digits of
# a fraction, of a UUID or of a hash.
_PAN = re.compile(r"(?<![0-9A-Fa-f\-])(?<![0-9]\.)[0-9](?:[ \-]?[0-9]){12,18}(?![0-9A-Fa-f\-])")
_JWT = re.compile(r"\beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}(?:\.[A-Za-z0-9_\-]*)?")
_SCHEME = re.compile(r"\b(Basic|Bearer|Digest)\s+[A-Za-z0-9+/=._~\-]{8,}", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"(\b[a-z][a-z0-9+.\-]{1,20}://[^\s:/@]{0,64}):[^\s/@]{1,256}@", re.IGNORECASE)
_ASSIGNED = re.compile(
    r"""(?P<name>["']?\b(?:password|passwd|secret|api_?secret|token|access_token|refresh_token|api_?key|client_secret
    |cvv|cvc|cryptogram|authorization|cookie)["']?\s*[=:]\s*)(?P<value>"[^"]*"|'[^']*'|[^\s,;&}\])]+)""",
    re.IGNORECASE | re.VERBOSE,
)
_SECRET_NAMES = frozenset(
    {
        "apikey", "apisecret", "authorization", "cardcryptogrampacket", "cardnumber", "clientsecret", "contenthmac",
        "cookie", "cryptogram", "csrftoken", "cvc", "cvv", "hmac", "idtoken", "pan", "passphrase", "passwd",
        "password", "privatekey", "proxyauthorization", "pwd", "refreshtoken", "accesstoken", "secret", "sessionid",
        "setcookie", "signature", "token", "xcontenthmac",
    }
)  # fmt: skip
_SECRET_ENDINGS = ("password", "secret", "token", "privatekey", "apikey", "cryptogram")


def luhn(digits: str) -> bool:
    """Tell whether digits carry a card number's check digit."""
    total = 0
    for index, character in enumerate(reversed(digits)):
        value = int(character)
        if index % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0


def is_secret_name(name: str) -> bool:
    """Tell whether a field's name says that its value is a secret."""
    plain = name.lower().replace("_", "").replace("-", "").replace(" ", "")
    return plain in _SECRET_NAMES or plain.endswith(_SECRET_ENDINGS)


def redact_text(text: str) -> str:
    """Return text without card numbers, tokens and passwords."""
    if len(text) > _TEXT_MAX:
        text = text[:_TEXT_MAX] + "…"
    text = _URL_PASSWORD.sub(rf"\1:{MASK}@", text)
    text = _JWT.sub(MASK, text)
    text = _SCHEME.sub(rf"\1 {MASK}", text)
    text = _ASSIGNED.sub(rf"\g<name>{MASK}", text)
    return _PAN.sub(_mask_card, text)


def _mask_card(found: re.Match[str]) -> str:
    digits = re.sub(r"[ \-]", "", found.group())
    return MASK if luhn(digits) and len(set(digits)) > 1 else found.group()


def redact(value: Any, depth: int = 0) -> Any:
    """Return a copy of a value, of dicts and lists within it too, without what must not be seen."""
    if isinstance(value, str):
        return redact_text(value)
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        digits = str(abs(value))
        return MASK if 13 <= len(digits) <= 19 and _mask_card_number(digits) else value
    if depth >= _DEPTH_MAX:
        return "…"
    if isinstance(value, Mapping):
        return {
            str(name): MASK if is_secret_name(str(name)) and item not in (None, "") else redact(item, depth + 1)
            for name, item in list(value.items())[:_ITEMS_MAX]
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(item, depth + 1) for item in list(value)[:_ITEMS_MAX]]
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(bytes(value))} bytes>"
    return redact_text(str(value))


def _mask_card_number(digits: str) -> bool:
    # A bare integer is mistaken for a card only when it starts like one: amounts and row ids must stay readable.
    return digits[0] in "23456" and luhn(digits)
