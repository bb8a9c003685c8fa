"""Orders that are made and paid without a browser: straight at the services, so that the load costs little."""

import asyncio
import time
import uuid
from dataclasses import dataclass
from typing import Any

import httpx2

from tests.bench.latency import callback, signed
from tests.coffee.machines import MENU, amount
from tests.e2e.coffee_scenario import PREFIX

_TIMEOUT_S = 30.0
_READY_TIMEOUT_S = 30.0
_PAUSE_S = 0.1
_CALLBACK = "/payments/api/v1/paid/cloudpayments/main/pay"
_FIRST_TRANSACTION = 6 * 10**11


@dataclass
class Ordered:
    """An order that can be paid."""

    order_id: str
    invoice_id: str
    price_minor: int


class Till:
    """Makes orders, and plays the provider that says that they were paid."""

    def __init__(self, state: dict[str, Any]) -> None:
        urls = state["urls"]
        self._devices = httpx2.AsyncClient(base_url=urls["device-bridge"], timeout=_TIMEOUT_S, trust_env=False)
        self._gateway = httpx2.AsyncClient(base_url=urls["payments-gateway"], timeout=_TIMEOUT_S, trust_env=False)
        self._secret = str(state["shop"]["api_secret"])
        self._transaction = _FIRST_TRANSACTION

    async def close(self) -> None:
        """Close the connections."""
        await self._devices.aclose()
        await self._gateway.aclose()

    async def order(self, device: str) -> Ordered:
        """Order the first drink of a machine, and open its pay page; RuntimeError when that is refused."""
        drink, size, _, minor = MENU[0]
        answer = await self._devices.post(
            f"{PREFIX}/public/devices/{device}/orders",
            json={"drink": drink, "size": size, "language": "en"},
            headers={"Idempotency-Key": str(uuid.uuid4())},
        )
        if answer.status_code != 201:
            raise RuntimeError(f"{device} takes no order: {answer.status_code} {answer.text[:300]}")
        made = answer.json()
        ordered = Ordered(made["order_id"], made["invoice_id"], minor)
        deadline = time.monotonic() + _READY_TIMEOUT_S
        while True:
            key = {"Idempotency-Key": str(uuid.uuid4())}
            path = f"/payments/api/v1/pay/{ordered.invoice_id}"
            answer = await self._gateway.post(path, json={"language": "en"}, headers=key)
            if answer.status_code in (200, 201):
                return ordered
            # 404: the gateway has not heard of the invoice yet.
            if answer.status_code != 404 or time.monotonic() > deadline:
                raise RuntimeError(f"{path} cannot be paid: {answer.status_code} {answer.text[:300]}")
            await asyncio.sleep(_PAUSE_S)

    async def pay(self, ordered: Ordered) -> tuple[float, float]:
        """Say that an order was paid; return when the callback was sent and when it was answered, by `monotonic`."""
        self._transaction += 1
        body = callback(ordered.invoice_id, self._transaction, "", amount(ordered.price_minor))
        headers = signed(self._secret, body)
        began = time.monotonic()
        answer = await self._gateway.post(_CALLBACK, content=body, headers=headers)
        answered = time.monotonic()
        if answer.status_code != 200 or answer.json() != {"code": 0}:
            raise RuntimeError(f"a callback was answered {answer.status_code}: {answer.text[:200]}")
        return began, answered
