"""The secret by which a buyer without an account is known to have made an order. Pure.

It is made from the order's id, so that nothing has to be stored and nothing can leak from a table.
"""

import hmac
from base64 import urlsafe_b64encode
from hashlib import sha256
from uuid import UUID

_BYTES = 18


def order_token(key: str, order_id: UUID) -> str:
    """Return the token of an order: 24 characters that a URL and a cookie can hold."""
    digest = hmac.new(key.encode(), b"copeck coffee order\n" + order_id.bytes, sha256).digest()
    return urlsafe_b64encode(digest[:_BYTES]).decode()


def is_token_of(key: str, order_id: UUID, token: str | None) -> bool:
    """Tell whether a token is this order's, in a time that does not depend on it."""
    return token is not None and hmac.compare_digest(order_token(key, order_id).encode(), token.encode())
