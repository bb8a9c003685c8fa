"""Calls to the CloudPayments API: Basic auth, JSON, a time-out on everything, `X-Request-ID` on every mutation.

How an answer is judged: refused connection, 401, 403: not sent or not executed. 429, 5xx, a time-out, a cut
connection, an unreadable answer: unknown (I-08). `Success: true`: done. `Success: false`: rejected, nothing moved.
Payouts are judged as the port says: any other 4xx has failed, 429 was not executed.
"""

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx2

from copeck.kernel.money import Money
from payments_gateway.domain.provider import (
    Answer,
    AttemptStatus,
    Exchange,
    Findings,
    PayoutOrder,
    Shop,
    Transaction,
    Verdict,
)
from payments_gateway.domain.recipients import RecipientKind
from payments_gateway.exact_json import exact_json
from payments_gateway.providers.cloudpayments import mapping
from payments_gateway.providers.http import TIMEOUT, Connections, document_of, verdict_without_body

DEFAULT_API_URL = "https://api.cloudpayments.ru"
PAGE_ROWS = 100

_SECRET_FIELDS = frozenset(
    {
        "Token",
        "CardCryptogramPacket",
        "PaReq",
        "PaRes",
        "CardNumber",
        "CardFirstSix",
        "Password",
        "EscrowAccumulationId",
        "Receiver",
        "Phone",
    }
)
_TEXT_CHARS_MAX = 500
_ROWS_KEPT_MAX = 5


class CloudPaymentsClient:
    """The API of any shop; a transport may be put in by tests."""

    def __init__(self, transport: httpx2.AsyncBaseTransport | None = None, timeout: httpx2.Timeout = TIMEOUT) -> None:
        self._connections = Connections(transport, timeout)

    async def close(self) -> None:
        """Close the connections of this event loop."""
        await self._connections.close()

    @property
    def keys_remembered(self) -> timedelta:
        """The result of a key is kept for an hour."""
        return timedelta(hours=1)

    def pays(self, kind: RecipientKind) -> bool:
        """Saved cards and the fast payment system; bank accounts it does not reach."""
        return kind in (RecipientKind.CARD_TOKEN, RecipientKind.SBP)

    async def pay_out(self, shop: Shop, *, key: str, order: PayoutOrder) -> Answer:
        """`payments/token/topup` or `payments/alt/topup`; the order's reference travels as the invoice's id."""
        body: dict[str, Any] = {
            "Amount": Decimal(order.amount.value),
            "Currency": order.amount.currency,
            "InvoiceId": order.reference,
        }
        if order.recipient.kind is RecipientKind.CARD_TOKEN:
            path = "payments/token/topup"
            body |= {"Token": order.recipient.token, "AccountId": str(order.payout_id)}
        else:
            path = "payments/alt/topup"
            body |= {"MemberId": order.recipient.bank_id, "Receiver": {"Phone": order.recipient.phone}}
        return await self._mutate(shop, path, body, key, strict=True)

    async def find_payout(self, shop: Shop, *, reference: str) -> Findings:
        """`v2/payments/find`, which also sees payouts; the reference is theirs alone."""
        return await self._ask(shop, "v2/payments/find", {"InvoiceId": reference}, payouts=True)

    async def balance(self, shop: Shop, *, currency: str) -> Money | None:
        """There is no such call."""
        return None

    async def refund(
        self, shop: Shop, *, key: str, transaction_id: str, amount: Money, refund_id: UUID | None
    ) -> Answer:
        """`payments/refund`; our refund's id travels along, so that it can be found again."""
        body: dict[str, Any] = {"TransactionId": _number(transaction_id), "Amount": Decimal(amount.value)}
        if refund_id:
            body["JsonData"] = json.dumps({"refund_id": str(refund_id)})
        return await self._mutate(shop, "payments/refund", body, key)

    async def find_refund(self, shop: Shop, *, refund_id: UUID) -> Findings | None:
        """There is no such call."""
        return None

    async def void(self, shop: Shop, *, key: str, transaction_id: str) -> Answer:
        """`payments/void`."""
        return await self._mutate(shop, "payments/void", {"TransactionId": _number(transaction_id)}, key)

    async def confirm(self, shop: Shop, *, key: str, transaction_id: str, amount: Money) -> Answer:
        """`payments/confirm`."""
        body = {"TransactionId": _number(transaction_id), "Amount": Decimal(amount.value)}
        return await self._mutate(shop, "payments/confirm", body, key)

    async def get(self, shop: Shop, *, transaction_id: str) -> Findings:
        """`payments/get`."""
        return await self._ask(shop, "payments/get", {"TransactionId": _number(transaction_id)})

    async def find(self, shop: Shop, *, invoice_id: UUID) -> Findings:
        """`v2/payments/find`: the last operation of an invoice, a refund too."""
        return await self._ask(shop, "v2/payments/find", {"InvoiceId": str(invoice_id)})

    async def list_between(self, shop: Shop, *, since: datetime, until: datetime, page: int) -> Findings:
        """`v2/payments/list`: every operation made between two moments, payouts too."""
        body = {
            "CreatedDateGte": _moment(since),
            "CreatedDateLte": _moment(until),
            "PageNumber": page,
            "TimeZone": "UTC",
        }
        return await self._ask(shop, "v2/payments/list", body, payouts=True)

    async def _mutate(
        self, shop: Shop, path: str, body: Mapping[str, Any], key: str, *, strict: bool = False
    ) -> Answer:
        exchange, document = await self._call(shop, path, body, key)
        verdict = _verdict(exchange, document, strict=strict)
        if document is None:
            refused = f"HTTP {exchange.status_code}" if verdict is Verdict.REJECTED else None
            return Answer(verdict, exchange, reason=exchange.error or refused)
        model = document.get("Model")
        model = model if isinstance(model, Mapping) else {}
        reason = model.get("CardHolderMessage") or model.get("Reason") or document.get("Message")
        found = model.get("TransactionId")
        code = model.get("ReasonCode")
        if strict and verdict in (Verdict.SUCCEEDED, Verdict.REJECTED) and _is_under_way(model):
            verdict = Verdict.PENDING
        return Answer(
            verdict,
            exchange,
            transaction_id=str(found) if found else None,
            reason=str(reason)[:_TEXT_CHARS_MAX] if reason and verdict is Verdict.REJECTED else None,
            reason_code=code if isinstance(code, int) and code else None,
        )

    async def _ask(self, shop: Shop, path: str, body: Mapping[str, Any], *, payouts: bool = False) -> Findings:
        exchange, document = await self._call(shop, path, body, None)
        if document is None or exchange.status_code != 200:
            return Findings(False, (), exchange)
        model = document.get("Model")
        rows = model if isinstance(model, list) else [model] if isinstance(model, Mapping) else []
        reader = mapping.any_transaction if payouts else mapping.transaction
        read = (reader(row) for row in rows if isinstance(row, Mapping))
        found: tuple[Transaction, ...] = tuple(row for row in read if row is not None)
        # A declined payment is found with Success false; "Not found" has no Model, and is an answer all the same.
        known = bool(document.get("Success")) or bool(found) or document.get("Message") == "Not found"
        return Findings(known, found, exchange, more=len(rows) >= PAGE_ROWS)

    async def _call(
        self, shop: Shop, path: str, body: Mapping[str, Any], key: str | None
    ) -> tuple[Exchange, dict[str, Any] | None]:
        headers = {"Content-Type": "application/json"}
        if key:
            headers["X-Request-ID"] = key
        started = time.monotonic()
        status_code: int | None = None
        document: dict[str, Any] | None = None
        error: str | None = None
        try:
            client = self._connections.of(shop, shop.api_url or DEFAULT_API_URL)
            answer = await client.post(f"/{path}", content=exact_json(body), headers=headers)
            status_code = answer.status_code
            document = document_of(answer)
        except httpx2.HTTPError as failure:
            error = type(failure).__name__
        exchange = Exchange(
            method="POST",
            path=f"/{path}",
            request=redacted(body),
            status_code=status_code,
            response=redacted(document) if document is not None else None,
            error=error,
            duration_ms=int((time.monotonic() - started) * 1000),
        )
        return exchange, document


def _verdict(exchange: Exchange, document: Mapping[str, Any] | None, *, strict: bool) -> Verdict:
    verdict = verdict_without_body(exchange, document, strict=strict)
    if verdict is not None:
        return verdict
    success = (document or {}).get("Success")
    if success is True:
        return Verdict.SUCCEEDED
    return Verdict.REJECTED if success is False else Verdict.UNKNOWN


def _is_under_way(model: Mapping[str, Any]) -> bool:
    said = model.get("Status")
    return said is not None and mapping.status(said, model.get("StatusCode")) is AttemptStatus.PENDING


def redacted(value: Any, depth: int = 0) -> Any:
    """Copy a document for the table of requests: no secrets, no floats, bounded (I-14)."""
    if depth > 4:
        return "[deep]"
    if isinstance(value, Mapping):
        return {
            str(name)[:64]: "[redacted]" if name in _SECRET_FIELDS and item else redacted(item, depth + 1)
            for name, item in list(value.items())[:100]
        }
    if isinstance(value, list):
        return [redacted(item, depth + 1) for item in value[:_ROWS_KEPT_MAX]]
    if isinstance(value, Decimal):
        return str(value)[:_TEXT_CHARS_MAX]
    if isinstance(value, str):
        return value[:_TEXT_CHARS_MAX]
    return value


def _number(transaction_id: str) -> int | str:
    return int(transaction_id) if transaction_id.isascii() and transaction_id.isdigit() else transaction_id


def _moment(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
