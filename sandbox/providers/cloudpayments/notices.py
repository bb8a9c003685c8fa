"""What each notification says: names, order and spelling of its fields, and the bytes that are signed."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import orjson

from sandbox.providers.cloudpayments.reasons import reason
from sandbox.providers.cloudpayments.settings import NoticeType, Shop
from sandbox.providers.cloudpayments.store import Transaction
from sandbox.providers.money import format_amount

Fields = dict[str, Any]
FORM, JSON = "application/x-www-form-urlencoded", "application/json; charset=utf-8"
CODEC = {"UTF8": "utf-8", "Windows1251": "cp1251"}
_MONEY = frozenset({"Amount", "PaymentAmount", "TotalFee"})


def moment(ms: int | None) -> str | None:
    """``yyyy-MM-dd HH:mm:ss`` in UTC."""
    return None if ms is None else datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _card(tx: Transaction) -> Fields:
    card = tx.card
    return {
        "CardId": f"{card.get('first_six', '')}{card.get('last_four', '')}",
        "CardFirstSix": card.get("first_six", ""),
        "CardLastFour": card.get("last_four", ""),
        "CardType": card.get("type", ""),
        "CardExpDate": card.get("expires", ""),
    }


def payment_fields(kind: NoticeType, tx: Transaction, shop: Shop, *, amount: int | None = None) -> Fields:
    """Fields of Check, Pay, Fail and Confirm; ``amount`` replaces the transaction's own."""
    value = format_amount(tx.amount if amount is None else amount)
    fields: Fields = {
        "TransactionId": tx.id,
        "Amount": value,
        "Currency": tx.currency,
        "PaymentAmount": value,
        "PaymentCurrency": tx.currency,
        "DateTime": moment(tx.created_ms),
        **_card(tx),
        "TestMode": 1 if shop.test_mode else 0,
        "OperationType": tx.kind,
        "InvoiceId": tx.invoice_id,
        "AccountId": tx.account_id,
        "SubscriptionId": tx.subscription_id,
        "Name": tx.name,
        "Email": tx.email,
        "IpAddress": tx.ip,
        "IpCountry": "RU",
        "IpCity": "Москва",
        "Issuer": "Sandbox Bank",
        "IssuerBankCountry": "RU",
        "Description": tx.description,
        "CardProduct": "F",
        "PaymentMethod": None,
        "Data": tx.data,
        "Rrn": tx.rrn,
    }
    if kind is NoticeType.FAIL:
        why = reason(tx.reason_code)
        return fields | {"Reason": why.name, "ReasonCode": why.code, "Token": tx.token, "RetryAfter": None}
    fields["Status"] = tx.status if kind is not NoticeType.CHECK else _status_ahead(tx)
    if kind is not NoticeType.CHECK:
        fields |= {
            "GatewayName": "Sandbox",
            "AuthCode": tx.auth_code,
            "Token": tx.token,
            "TotalFee": "0.00",
            "FallBackScenarioDeclinedTransactionId": None,
        }
    return fields


def _status_ahead(tx: Transaction) -> str:
    """Check names the status that the payment will have if the shop agrees."""
    return "Authorized" if tx.scheme == "Dual" else "Completed"


def refund_fields(tx: Transaction) -> Fields:
    """Fields of Refund; ``tx`` is the refund, its parent the payment."""
    return {
        "TransactionId": tx.id,
        "PaymentTransactionId": tx.parent_id,
        "Amount": format_amount(tx.amount),
        "DateTime": moment(tx.created_ms),
        "OperationType": tx.kind,
        "InvoiceId": tx.invoice_id,
        "AccountId": tx.account_id,
        "Email": tx.email,
        "Data": tx.data,
        "Rrn": tx.rrn,
    }


def cancel_fields(tx: Transaction, at_ms: int) -> Fields:
    """Fields of Cancel: a hold was given up."""
    return {
        "TransactionId": tx.id,
        "Amount": format_amount(tx.amount),
        "DateTime": moment(at_ms),
        "InvoiceId": tx.invoice_id,
        "AccountId": tx.account_id,
        "Email": tx.email,
        "Data": tx.data,
        "Rrn": tx.rrn,
    }


def recurrent_fields(subscription: dict[str, Any]) -> Fields:
    """Fields of Recurrent: a subscription kept by the provider changed its status."""
    names = (
        "Id AccountId Description Email Amount Currency RequireConfirmation StartDate Interval Period Status"
        " SuccessfulTransactionsNumber FailedTransactionsNumber MaxPeriods LastTransactionDate NextTransactionDate"
    )
    fields = {name: subscription.get(name) for name in names.split()}
    for name in ("StartDate", "LastTransactionDate", "NextTransactionDate"):
        fields[name] = moment(subscription.get(name))
    return fields | {"Amount": format_amount(int(subscription["Amount"]))}


def receipt_fields(tx: Transaction, receipt: dict[str, Any], at_ms: int) -> Fields:
    """Fields of Receipt: the cash register has printed the receipt of a payment or of a refund."""
    number = tx.id % 1_000_000
    return {
        "Id": secrets.token_hex(12),
        "DocumentNumber": number,
        "SessionNumber": 1,
        "Number": number,
        "FiscalSign": str(2_000_000_000 + number),
        "DeviceNumber": "00000000000000000001",
        "RegNumber": "0000000000000001",
        "FiscalNumber": "9999000000000001",
        "Inn": "7700000000",
        "Type": "IncomeReturn" if tx.kind == "Refund" else "Income",
        "Ofd": "Sandbox OFD",
        "Url": f"https://receipts.invalid/{tx.id}",
        "QrCodeUrl": f"https://receipts.invalid/{tx.id}/qr",
        "TransactionId": tx.id,
        "Amount": format_amount(tx.amount),
        "DateTime": moment(at_ms),
        "InvoiceId": tx.invoice_id,
        "AccountId": tx.account_id,
        "Receipt": orjson.dumps(receipt).decode(),
        "CalculationPlace": "sandbox",
        "SettlePlace": "sandbox",
    }


def encode(fields: Fields, *, as_json: bool, encoding: str = "UTF8") -> tuple[bytes, str]:
    """The bytes to send and their content type. Empty fields are sent empty, as the provider sends them."""
    if as_json:
        shaped = {
            name: orjson.Fragment(str(value)) if name in _MONEY and value is not None else value
            for name, value in fields.items()
        }
        return orjson.dumps(shaped), JSON
    codec = CODEC.get(encoding, "utf-8")
    pairs = [(name, "" if value is None else str(value)) for name, value in fields.items()]
    content_type = FORM if codec == "utf-8" else f"{FORM}; charset=windows-1251"
    return urlencode(pairs, encoding=codec, errors="replace").encode("ascii"), content_type
