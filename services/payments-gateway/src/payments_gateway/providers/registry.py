"""The only place that lists providers: one line each."""

from payments_gateway.domain.provider import Provider
from payments_gateway.providers.cloudpayments import CloudPayments
from payments_gateway.providers.mock import Mock

PROVIDERS: dict[str, Provider] = {
    "cloudpayments": CloudPayments(),
    "mock": Mock(),
}
