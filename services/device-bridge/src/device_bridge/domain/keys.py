"""Keys of machines: derived from one secret of the service, so that the database holds none of them. Pure."""

import hashlib
import hmac


def device_key(secret: str, device_id: str, key_number: int) -> bytes:
    """Return the 32 bytes that sign a machine's commands and links; another number is another key."""
    return hmac.new(secret.encode(), f"key of a machine\n{device_id}\n{key_number}".encode(), hashlib.sha256).digest()
