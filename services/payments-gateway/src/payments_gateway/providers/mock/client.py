"""Calls to the mock gateway: Basic auth, JSON, `Idempotency-Key` on every payment, and each is found by its reference.

It knows deposits and withdrawals only. A refund is a withdrawal under a reference of its own; holds do not exist.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID

import httpx2

from copeck.kernel.money import Money
from payments_gateway.domain.provider import (
    Answer,
    Exchange,
    Findings,
    PayoutOrder,
    Shop,
    SilentProviderError,
    Transaction,
    Verdict,
)
from payments_gateway.domain.recipients import RecipientKind
from payments_gateway.exact_json import exact_json
from payments_gateway.providers.http import TIMEOUT, Connections, document_of, verdict_without_body
from payments_gateway.providers.mock import mapping

_PAY, _PAYMENTS, _BALANCE = "/mock-gateway/pay", "/mock-gateway/payments/", "/mock-gateway/balance"
_REFUSED = frozenset({400, 402, 409, 413, 422})
_FOREVER = timedelta(days=36_500)


class MockClient:
    """The API of any shop; a transport may be put in by tests."""

    keys_remembered = _FOREVER

    def __init__(self, transport: httpx2.AsyncBaseTransport | None = None, timeout: httpx2.Timeout = TIMEOUT) -> None:
        self._connections = Connections(transport, timeout)

    async def close(self) -> None:
        """Close the connections of this event loop."""
        await self._connections.close()

    def pays(self, kind: RecipientKind) -> bool:
        """It reaches everybody: only a masked text travels."""
        return True

    async def pay_out(self, shop: Shop, *, key: str, order: PayoutOrder) -> Answer:
        """A withdrawal under the order's reference."""
        return await self._pay(shop, key, order.reference, "withdraw", order.amount, order.recipient.masked)

    async def find_payout(self, shop: Shop, *, reference: str) -> Findings:
        """Ask about a withdrawal."""
        return await self._find(shop, reference)

    async def balance(self, shop: Shop, *, currency: str) -> Money | None:
        """What withdrawals can be made from; older gateways have no such call."""
        exchange, document = await self._call(shop, "GET", f"{_BALANCE}?currency={quote(currency)}", None, "")
        if exchange.status_code == 404:
            return None
        said = document if exchange.status_code == 200 and document else {}
        balance = mapping.balance(said.get("balance"), currency) if said.get("currency") == currency else None
        if balance is None:
            raise SilentProviderError("The provider did not say what it can pay out")
        return balance

    async def charge(self, shop: Shop, *, key: str, invoice_id: UUID, payment_id: UUID, amount: Money) -> Answer:
        """A deposit under the payment's id."""
        return await self._pay(shop, key, str(payment_id), "deposit", amount)

    async def find_charge(self, shop: Shop, *, payment_id: UUID) -> Findings:
        """Ask about a deposit."""
        return await self._find(shop, str(payment_id))

    async def refund(
        self, shop: Shop, *, key: str, transaction_id: str, amount: Money, refund_id: UUID | None
    ) -> Answer:
        """A withdrawal that gives a deposit back."""
        reference = _refund_reference(refund_id) if refund_id else f"refund-of-{transaction_id}"
        return await self._pay(shop, key, reference, "withdraw", amount, strict=False)

    async def find_refund(self, shop: Shop, *, refund_id: UUID) -> Findings | None:
        """Ask about a refund."""
        found = await self._find(shop, _refund_reference(refund_id))
        ours = tuple(replace(item, refund_id=refund_id, is_refund=True) for item in found.transactions)
        return replace(found, transactions=ours)

    async def void(self, shop: Shop, *, key: str, transaction_id: str) -> Answer:
        """Refuse: there are no holds."""
        return _no_such_call("void")

    async def confirm(self, shop: Shop, *, key: str, transaction_id: str, amount: Money) -> Answer:
        """Refuse: there are no holds."""
        return _no_such_call("confirm")

    async def get(self, shop: Shop, *, transaction_id: str) -> Findings:
        """Nothing is found by its transaction; what was charged is asked about by `find_charge`."""
        return Findings(known=False, transactions=(), exchange=_unspoken("get"))

    async def find(self, shop: Shop, *, invoice_id: UUID) -> Findings:
        """Nothing is found by its invoice; what was charged is asked about by `find_charge`."""
        return Findings(known=False, transactions=(), exchange=_unspoken("find"))

    async def list_between(self, shop: Shop, *, since: datetime, until: datetime, page: int) -> Findings:
        """There is no list: nobody but us can make a payment here, and each is asked about by its reference."""
        return Findings(known=True, transactions=(), exchange=_unspoken("list"))

    async def _pay(
        self,
        shop: Shop,
        key: str,
        reference: str,
        kind: str,
        amount: Money,
        recipient: str = "",
        *,
        strict: bool = True,
    ) -> Answer:
        body: dict[str, Any] = {
            "payment_id": reference,
            "type": kind,
            "amount": amount.value,
            "currency": amount.currency,
        }
        if recipient:
            body["recipient"] = recipient
        exchange, document = await self._call(shop, "POST", _PAY, body, key)
        said = document or {}
        verdict = verdict_without_body(exchange, document, strict=strict)
        if exchange.status_code in _REFUSED and said.get("status") == "failed":
            verdict = Verdict.REJECTED
        if verdict is None:
            verdict = mapping.VERDICTS.get(said.get("status"), Verdict.UNKNOWN)
        word = mapping.text(said.get("error")) if verdict is Verdict.REJECTED else None
        refused = f"HTTP {exchange.status_code}" if verdict is Verdict.REJECTED else None
        return Answer(
            verdict,
            exchange,
            transaction_id=mapping.text(said.get("transaction_id")),
            reason=word or refused or exchange.error,
            code=word or "",
        )

    async def _find(self, shop: Shop, reference: str) -> Findings:
        exchange, document = await self._call(shop, "GET", _PAYMENTS + quote(reference, safe=""), None, "")
        said = document or {}
        if exchange.status_code == 404 and said.get("error") == "not_found":
            return Findings(known=True, transactions=(), exchange=exchange)
        found: Transaction | None = mapping.transaction(said) if exchange.status_code == 200 else None
        if found is None or found.invoice_ref != reference:
            return Findings(known=False, transactions=(), exchange=exchange)
        return Findings(known=True, transactions=(found,), exchange=exchange)

    async def _call(
        self, shop: Shop, method: str, path: str, body: Mapping[str, Any] | None, key: str
    ) -> tuple[Exchange, dict[str, Any] | None]:
        started = time.monotonic()
        status_code: int | None = None
        document: dict[str, Any] | None = None
        error: str | None = None
        headers = {"Idempotency-Key": key} if key else {}
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = exact_json(body)
        try:
            answer = await self._connections.of(shop, shop.api_url).request(
                method, path, content=content, headers=headers
            )
            status_code, document = answer.status_code, document_of(answer)
        except httpx2.HTTPError as failure:
            error = type(failure).__name__
        duration_ms = int((time.monotonic() - started) * 1000)
        # The name of a call, without the ids in it: it is a label of metrics too.
        named = _PAYMENTS + "{id}" if path.startswith(_PAYMENTS) else path.partition("?")[0]
        shown = {name: mapping.text(value) for name, value in list((document or {}).items())[:20]}
        exchange = Exchange(
            method, named, dict(body or {}), status_code, shown if document else None, error, duration_ms
        )
        return exchange, document


def _refund_reference(refund_id: UUID) -> str:
    return f"refund-{refund_id}"


def _unspoken(call: str) -> Exchange:
    return Exchange("-", f"/{call}", {}, None, None, None, 0)


def _no_such_call(call: str) -> Answer:
    return Answer(Verdict.REJECTED, _unspoken(call), reason="the provider has no such call", code="no_such_call")
