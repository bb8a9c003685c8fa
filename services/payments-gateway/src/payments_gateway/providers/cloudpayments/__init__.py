"""CloudPayments: client, mapping and webhook behind the gateway's provider port."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from payments_gateway.domain.provider import (
    CheckAnswer,
    Notification,
    NotificationKind,
    RawCallback,
    Shop,
    WidgetOrder,
)
from payments_gateway.providers.cloudpayments import mapping, webhook
from payments_gateway.providers.cloudpayments.client import CloudPaymentsClient


class CloudPayments:
    """The provider as the gateway sees it; holds no shop, so several live side by side."""

    code = "cloudpayments"
    has_widget = True
    charges = None

    def __init__(self, client: CloudPaymentsClient | None = None) -> None:
        self.client = self.payouts = client or CloudPaymentsClient()

    async def close(self) -> None:
        """Close the connections of this event loop."""
        await self.client.close()

    def verify(self, shop: Shop, callback: RawCallback) -> bool:
        """Check both signatures over the raw bytes."""
        return webhook.verify(shop.api_secret, callback)

    def read(self, kind: NotificationKind, callback: RawCallback) -> Notification:
        """Parse an authentic callback."""
        return mapping.notification(kind, webhook.fields(callback))

    def seal(self, shop: Shop, body: bytes) -> tuple[bytes, bytes | None]:
        """Seal the token of a saved card; the signed bytes can be rebuilt by who holds the secret."""
        return webhook.seal(shop.api_secret, body)

    def answer(self, check: CheckAnswer) -> Mapping[str, Any]:
        """Return `{"code": n}`."""
        return {"code": mapping.CHECK_CODES[check]}

    def widget(self, shop: Shop, order: WidgetOrder) -> Mapping[str, Any]:
        """Return the parameters of `widget.start`."""
        return mapping.widget_parameters(shop.public_id, order)

    def widget_origins(self, shop: Shop) -> tuple[str, ...]:
        """Return the script's origin; the real widget also speaks to other hosts of its domain."""
        parts = urlsplit(shop.widget_url)
        origin = f"{parts.scheme}://{parts.netloc}"
        return (origin, "https://*.cloudpayments.ru") if parts.netloc.endswith(".cloudpayments.ru") else (origin,)

    def refunds_slowly(self, method: str) -> bool:
        """Fast payments (SBP) are refunded asynchronously; the Refund notification is final."""
        return any(name in method.split() for name in mapping.SLOW_REFUND_METHODS)
