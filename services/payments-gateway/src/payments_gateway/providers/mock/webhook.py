"""The mock gateway sends no callbacks: whatever claims to be one is forged."""

from payments_gateway.domain.provider import Notification, NotificationKind, RawCallback, UnreadableCallback


def verify(secret: str, callback: RawCallback) -> bool:
    """Refuse everything."""
    return False


def read(kind: NotificationKind, callback: RawCallback) -> Notification:
    """Refuse everything."""
    raise UnreadableCallback("this provider sends no callbacks")
