"""The mock gateway: deposits and withdrawals over one plain call, for sandboxes and tests; it has no page."""

from collections.abc import Mapping
from typing import Any

from payments_gateway.domain.provider import (
    CheckAnswer,
    Notification,
    NotificationKind,
    NoWidgetError,
    RawCallback,
    Shop,
    WidgetOrder,
)
from payments_gateway.providers.mock import webhook
from payments_gateway.providers.mock.client import MockClient


class Mock:
    """The provider as the gateway sees it."""

    code = "mock"
    has_widget = False

    def __init__(self, client: MockClient | None = None) -> None:
        self.client = self.payouts = self.charges = client or MockClient()

    async def close(self) -> None:
        """Close the connections of this event loop."""
        await self.client.close()

    def verify(self, shop: Shop, callback: RawCallback) -> bool:
        """Refuse: it sends nothing."""
        return webhook.verify(shop.api_secret, callback)

    def read(self, kind: NotificationKind, callback: RawCallback) -> Notification:
        """Refuse: it sends nothing."""
        return webhook.read(kind, callback)

    def seal(self, shop: Shop, body: bytes) -> tuple[bytes, bytes | None]:
        """Keep a body as it is: no callback of this provider is authentic, and forged ones are kept apart."""
        return body, None

    def answer(self, check: CheckAnswer) -> Mapping[str, Any]:
        """Return the word of the answer."""
        return {"status": check.value}

    def widget(self, shop: Shop, order: WidgetOrder) -> Mapping[str, Any]:
        """Refuse: there is no page."""
        raise NoWidgetError(f"the provider {self.code} has no page to pay on", "provider")

    def widget_origins(self, shop: Shop) -> tuple[str, ...]:
        """Return nothing: there is no page."""
        return ()

    def refunds_slowly(self, method: str) -> bool:
        """Refunds are transfers that are made at once."""
        return False
