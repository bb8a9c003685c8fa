"""Settings with which the gateway does not start."""

from typing import Any

import pytest
from pydantic import ValidationError

from payments_gateway.settings import GatewaySettings

CLOUD: dict[str, Any] = {"provider": "cloudpayments", "shop": "main", "public_id": "pk_1", "api_secret": "secret"}
MOCK: dict[str, Any] = {"provider": "mock", "shop": "main", "public_id": "pk_2", "api_secret": "secret"}


def test_a_shop_of_the_mock_gateway_keeps_production_from_starting() -> None:
    with pytest.raises(ValidationError, match="mock gateway is for the sandbox only"):
        GatewaySettings.model_validate({"environment": "production", "shops": [CLOUD, MOCK]})


@pytest.mark.parametrize(
    ("environment", "shops"), [("production", [CLOUD]), ("production", []), ("sandbox", [CLOUD, MOCK])]
)
def test_others_start(environment: str, shops: list[dict[str, Any]]) -> None:
    settings = GatewaySettings.model_validate({"environment": environment, "shops": shops})
    assert [shop.provider for shop, _ in settings.shop_list()] == [one["provider"] for one in shops]
