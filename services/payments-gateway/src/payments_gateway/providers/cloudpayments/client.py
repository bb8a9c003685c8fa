"""Calls to the CloudPayments API: Basic auth, JSON, a time-out on everything, `X-Request-ID` on every mutation.

How an answer is judged: refused connection, 401, 403: not sent or not executed. 429, 5xx, a time-out, a cut
connection, an unreadable answer: unknown (I-08). `Success: true`: done. `Success: false`: rejected, nothing moved.
"""

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx2

from copeck.kernel.money import Money
from payments_gateway.domain.provider import Answer, Exchange, Findings, Shop, Transaction, Verdict
from payments_gateway.exact_json import exact_json
from payments_gateway.providers.cloudpayments import mapping

DEFAULT_API_URL = "https://api.cloudpayments.ru"
TIMEOUT = httpx2.Timeout(20.0, connect=5.0)
ANSWER_BYTES_MAX = 4 * 1024 * 1024
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
    }
)
_TEXT_CHARS_MAX = 500
_ROWS_KEPT_MAX = 5


class CloudPaymentsClient:
    """The API of any shop; a transport may be put in by tests."""

    def __init__(self, transport: httpx2.AsyncBaseTransport | None = None, timeout: httpx2.Timeout = TIMEOUT) -> None:
        self._transport = transport
        self._timeout = timeout

    async def refund(
        self, shop: Shop, *, key: str, transaction_id: str, amount: Money, refund_id: UUID | None
    ) -> Answer:
        """`payments/refund`; our refund's id travels along, so that it can be found again."""
        body: dict[str, Any] = {"TransactionId": _number(transaction_id), "Amount": Decimal(amount.value)}
        if refund_id:
            body["JsonData"] = json.dumps({"refund_id": str(refund_id)})
        return await self._mutate(shop, "payments/refund", body, key)

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
        """`v2/payments/list`: every operation made between two moments."""
        body = {
            "CreatedDateGte": _moment(since),
            "CreatedDateLte": _moment(until),
            "PageNumber": page,
            "TimeZone": "UTC",
        }
        return await self._ask(shop, "v2/payments/list", body)

    async def _mutate(self, shop: Shop, path: str, body: Mapping[str, Any], key: str) -> Answer:
        exchange, document = await self._call(shop, path, body, key)
        verdict = _verdict(exchange, document)
        if document is None:
            return Answer(verdict, exchange, reason=exchange.error)
        model = document.get("Model")
        model = model if isinstance(model, Mapping) else {}
        reason = model.get("CardHolderMessage") or model.get("Reason") or document.get("Message")
        found = model.get("TransactionId")
        code = model.get("ReasonCode")
        return Answer(
            verdict,
            exchange,
            transaction_id=str(found) if found else None,
            reason=str(reason)[:_TEXT_CHARS_MAX] if reason and verdict is Verdict.REJECTED else None,
            reason_code=code if isinstance(code, int) and code else None,
        )

    async def _ask(self, shop: Shop, path: str, body: Mapping[str, Any]) -> Findings:
        exchange, document = await self._call(shop, path, body, None)
        if document is None or exchange.status_code != 200:
            return Findings(False, (), exchange)
        model = document.get("Model")
        rows = model if isinstance(model, list) else [model] if isinstance(model, Mapping) else []
        read = (mapping.transaction(row) for row in rows if isinstance(row, Mapping))
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
            async with httpx2.AsyncClient(
                base_url=(shop.api_url or DEFAULT_API_URL).rstrip("/"),
                auth=(shop.public_id, shop.api_secret),
                timeout=self._timeout,
                transport=self._transport,
                follow_redirects=False,
                trust_env=False,
            ) as client:
                answer = await client.post(f"/{path}", content=exact_json(body), headers=headers)
            status_code = answer.status_code
            document = _document(answer)
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


_NOT_SENT_ERRORS = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol"})
_NOT_EXECUTED = frozenset({401, 403, 404})


def _verdict(exchange: Exchange, document: Mapping[str, Any] | None) -> Verdict:
    if exchange.error is not None:
        return Verdict.NOT_SENT if exchange.error in _NOT_SENT_ERRORS else Verdict.UNKNOWN
    if exchange.status_code in _NOT_EXECUTED:
        return Verdict.NOT_SENT
    if exchange.status_code != 200 or document is None:
        return Verdict.UNKNOWN
    success = document.get("Success")
    if success is True:
        return Verdict.SUCCEEDED
    return Verdict.REJECTED if success is False else Verdict.UNKNOWN


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


def _document(answer: httpx2.Response) -> dict[str, Any] | None:
    if len(answer.content) > ANSWER_BYTES_MAX:
        return None
    try:
        document = json.loads(answer.content, parse_float=Decimal)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _number(transaction_id: str) -> int | str:
    return int(transaction_id) if transaction_id.isascii() and transaction_id.isdigit() else transaction_id


def _moment(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
