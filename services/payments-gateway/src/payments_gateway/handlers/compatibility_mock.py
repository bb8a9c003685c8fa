"""`mock-gateway/pay` of the service that was replaced: passed on to the mock gateway, in a sandbox, within bounds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from copeck.kernel.errors import DomainError
from copeck.kernel.ids import new_id
from payments_gateway.exact_json import exact_json
from payments_gateway.handlers.compatibility import check_sandbox, mock_shop
from payments_gateway.handlers.context import Context
from payments_gateway.providers.http import Connections, document_of

_PATH = "/mock-gateway/pay"
_TIMEOUT = httpx2.Timeout(5.0, connect=2.0)
_connections = Connections(timeout=_TIMEOUT)


class MockGatewayDownError(DomainError):
    """The mock gateway does not answer, or answers what nobody can read: it can be told to."""

    type = "mock-gateway-down"
    title = "The mock gateway gave no answer"
    status = 503
    retry_after_s = 1


@dataclass(frozen=True, slots=True)
class Passed:
    """What the mock gateway answered."""

    status: int
    body: Mapping[str, Any]


async def pass_on(context: Context, body: Mapping[str, Any], key: str | None) -> Passed:
    """Send a payment to the mock gateway under the contract of this installation; it is in no book of ours.

    `payment_id` is a new one where the caller names none.
    """
    check_sandbox(context, "The mock gateway is called")
    shop = mock_shop(context)
    if shop is None:
        raise MockGatewayDownError("this installation has no shop at the mock gateway")
    content = exact_json({"payment_id": str(new_id()), **body})
    headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
    try:
        answer = await _connections.of(shop, shop.api_url).post(_PATH, content=content, headers=headers)
    except httpx2.HTTPError as error:
        raise MockGatewayDownError(f"{type(error).__name__} after at most {_TIMEOUT.read:.0f} s") from error
    document = document_of(answer)
    if document is None or answer.status_code >= 500:
        raise MockGatewayDownError(f"it answered {answer.status_code}")
    return Passed(answer.status_code, document)
