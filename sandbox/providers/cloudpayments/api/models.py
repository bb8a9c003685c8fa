"""Transactions and subscriptions as the API shows them."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any

import orjson

from sandbox.providers.cloudpayments.engine import THREE_DS
from sandbox.providers.cloudpayments.reasons import reason
from sandbox.providers.cloudpayments.settings import Shop
from sandbox.providers.cloudpayments.store import Transaction
from sandbox.providers.money import format_amount

STATUS_CODES = {
    "AwaitingAuthentication": 1, "Authorized": 2, "Completed": 3, "Cancelled": 4, "Declined": 5, "Pending": 6,
    "Created": 0, "Failed": 5,
}  # fmt: skip
CARD_TYPE_CODES = {"Visa": 0, "MasterCard": 1, "Maestro": 2, "MIR": 3}
KIND_CODES = {"Payment": 0, "Refund": 1, "CardPayout": 2}


def money(minor: int) -> orjson.Fragment:
    """An amount as a JSON number with two decimals, made without a float."""
    return orjson.Fragment(format_amount(minor))


def _dates(name: str, ms: int | None) -> dict[str, Any]:
    if ms is None:
        return {name: None, f"{name}Iso": None}
    iso = datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return {name: f"/Date({ms})/", f"{name}Iso": iso}


def payment_model(tx: Transaction, shop: Shop, culture: str = "ru-RU") -> dict[str, Any]:
    """One transaction."""
    model = _model(tx, shop, culture)
    if tx.kind == "CardPayout":
        model["TransactionIsInProcess"] = tx.status == "Created"
        model["Receiver"] = tx.receiver
    return model


def _model(tx: Transaction, shop: Shop, culture: str) -> dict[str, Any]:
    why = reason(tx.reason_code) if tx.reason_code else None
    approved = tx.status in ("Completed", "Authorized")
    message = (
        ("Payment successful" if culture.lower().startswith("en") else "Оплата успешно проведена") if approved else ""
    )
    return {
        "TransactionId": tx.id,
        "Amount": money(tx.amount),
        "Currency": tx.currency,
        "CurrencyCode": 0,
        "PaymentAmount": money(tx.amount),
        "PaymentCurrency": tx.currency,
        "PaymentCurrencyCode": 0,
        "InvoiceId": tx.invoice_id,
        "AccountId": tx.account_id,
        "SubscriptionId": tx.subscription_id,
        "Email": tx.email,
        "Description": tx.description,
        "JsonData": tx.data,
        **_dates("CreatedDate", tx.created_ms),
        **_dates("AuthDate", tx.auth_ms),
        **_dates("ConfirmDate", tx.confirmed_ms),
        "PayoutDate": None,
        "AuthCode": tx.auth_code,
        "TestMode": shop.test_mode,
        "Rrn": tx.rrn,
        "OriginalTransactionId": tx.parent_id,
        "IpAddress": tx.ip,
        "IpCountry": "RU",
        "CardFirstSix": tx.card.get("first_six"),
        "CardLastFour": tx.card.get("last_four"),
        "CardExpDate": tx.card.get("expires"),
        "CardType": tx.card.get("type"),
        "CardTypeCode": CARD_TYPE_CODES.get(str(tx.card.get("type")), 0),
        "Issuer": "Sandbox Bank",
        "IssuerBankCountry": "RU",
        "Status": tx.status,
        "StatusCode": STATUS_CODES[tx.status],
        "Reason": why.name if why else "Approved",
        "ReasonCode": why.code if why else 0,
        "CardHolderMessage": why.message(culture) if why else message,
        "Type": KIND_CODES[tx.kind],
        "Refunded": tx.refunded > 0,
        "Name": tx.name,
        "Token": tx.token,
        "GatewayName": "Sandbox",
        "TotalFee": money(0),
    }


def payment_answer(tx: Transaction, shop: Shop, base_url: str, culture: str = "ru-RU") -> dict[str, Any]:
    """The envelope of an operation: accepted, declined, or 3-D Secure wanted."""
    if tx.stage == THREE_DS:
        model = {"TransactionId": tx.id, "PaReq": f"pareq-{tx.id}-{secrets.token_hex(4)}",
                 "AcsUrl": f"{base_url}/acs", "ThreeDsCallbackId": secrets.token_hex(16),
                 "GoReq": None, "IFrameIsAllowed": True}  # fmt: skip
        return {"Model": model, "Success": False, "Message": None}
    if tx.kind == "Refund" and tx.status == "Completed":
        return {"Model": {"TransactionId": tx.id}, "Success": True, "Message": None}
    # A payout under way is accepted: what became of it is told by its status, later.
    success = tx.status in ("Completed", "Authorized", "Created")
    return {"Model": payment_model(tx, shop, culture), "Success": success, "Message": None}


def subscription_model(document: dict[str, Any]) -> dict[str, Any]:
    """One subscription."""
    names = (
        "Id AccountId Description Email Currency RequireConfirmation Interval Period MaxPeriods Status"
        " SuccessfulTransactionsNumber FailedTransactionsNumber"
    )
    model: dict[str, Any] = {name: document.get(name) for name in names.split()}
    model["Amount"] = money(int(document["Amount"]))
    model["CurrencyCode"] = 0
    model["IntervalCode"] = {"Week": 0, "Month": 1, "Day": 2}.get(str(document.get("Interval")), 1)
    model["StatusCode"] = {"Active": 0, "PastDue": 1, "Cancelled": 2, "Rejected": 3, "Expired": 4}.get(
        str(document["Status"]), 0
    )
    for name in ("StartDate", "LastTransactionDate", "NextTransactionDate"):
        model |= _dates(name, document.get(name))
    return model
