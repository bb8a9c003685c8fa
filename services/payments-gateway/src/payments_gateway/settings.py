"""What the gateway is told: its shops, and the limits of what it does."""

from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from copeck.kernel.settings import Settings
from payments_gateway.domain.provider import Shop

CLOUDPAYMENTS_API_URL = "https://api.cloudpayments.ru"
CLOUDPAYMENTS_WIDGET_URL = "https://widget.cloudpayments.ru/bundles/cloudpayments.js"
MOCK_GATEWAY_URL = "http://127.0.0.1:8091"


class ShopSettings(BaseModel):
    """One contract with one provider, as it stands in COPECK_SHOPS. `products` limits what it may sell; empty: all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: str = Field(pattern="^[a-z0-9_]{1,32}$")
    shop: str = Field(pattern="^[a-z0-9_-]{1,64}$")
    public_id: str = Field(min_length=1, max_length=128)
    api_secret: SecretStr = Field(min_length=1)
    products: tuple[str, ...] = ()
    api_url: str = ""
    widget_url: str = ""


class GatewaySettings(Settings):
    """Settings of the service, read from `COPECK_…`."""

    service: ClassVar[str] = "gateway"

    shops: tuple[ShopSettings, ...] = ()
    cloudpayments_api_url: str = CLOUDPAYMENTS_API_URL
    cloudpayments_widget_url: str = CLOUDPAYMENTS_WIDGET_URL
    mock_gateway_url: str = MOCK_GATEWAY_URL
    merchant_shops_secret: SecretStr = SecretStr("")
    """What the credentials of merchants' own shops are sealed under; without it there are no such shops."""
    callback_body_bytes_max: int = 64 * 1024
    callbacks_kept_days: int = Field(default=400, ge=7)
    attempt_asked_after_s: int = Field(default=60, ge=1)
    operation_retry_base_s: float = Field(default=2.0, gt=0)
    operation_retry_cap_s: float = Field(default=600.0, gt=0)
    operation_timeout_s: float = Field(default=20.0, gt=0, le=20)
    operation_attempts_max: int = Field(default=12, ge=1)
    breaker_failures: int = Field(default=5, ge=1)
    breaker_open_s: float = Field(default=30.0, gt=0)
    catch_up_after_s: float = Field(default=10.0, gt=0)
    operation_settles_after_s: int = Field(default=360, ge=0)
    attempt_abandoned_after_s: int = Field(default=3600, ge=1)
    reconcile_window_s: int = Field(default=900, ge=60)
    reconcile_lag_s: int = Field(default=60, ge=0)
    worker_concurrency: int = Field(default=2, ge=1, le=30)
    transaction_fee_basis_points: int = Field(default=200, ge=0, le=10_000)
    deposit_expires_s: int = Field(default=3600, ge=60, le=30 * 86_400)
    payout_approval_above: dict[str, int] = Field(default={"RUB": 10_000_000})
    compatibility_wait_s: float = Field(default=10.0, ge=0, le=30)

    @model_validator(mode="after")
    def _no_sandbox_shops(self) -> Self:
        """Refuse to start in production with a shop that moves no real money: wallets would be credited for nothing."""
        if self.environment == "production" and any(item.provider == "mock" for item in self.shops):
            raise ValueError("a shop of the mock gateway is for the sandbox only: take it out of COPECK_SHOPS")
        return self

    def provider_urls(self, provider: str) -> tuple[str, str]:
        """Return where a provider's API is, and its widget."""
        api_urls = {"cloudpayments": self.cloudpayments_api_url, "mock": self.mock_gateway_url}
        return api_urls.get(provider, ""), self.cloudpayments_widget_url

    def shop_list(self) -> list[tuple[Shop, tuple[str, ...]]]:
        """Return the shops with the addresses of their provider filled in, and the products that each may sell."""
        return [
            (
                Shop(
                    provider=item.provider,
                    shop=item.shop,
                    public_id=item.public_id,
                    api_secret=item.api_secret.get_secret_value(),
                    api_url=item.api_url or self.provider_urls(item.provider)[0],
                    widget_url=item.widget_url or self.provider_urls(item.provider)[1],
                ),
                item.products,
            )
            for item in self.shops
        ]
