"""Notification addresses and subscriptions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from sandbox.providers.cloudpayments.api.call import Answer, Call
from sandbox.providers.cloudpayments.api.models import subscription_model
from sandbox.providers.cloudpayments.delivery import Address
from sandbox.providers.cloudpayments.engine import RefusedError
from sandbox.providers.cloudpayments.settings import NoticeType
from sandbox.providers.cloudpayments.store import now_ms

_FORMATS = {"cloudpayments": "CloudPayments", "qiwi": "QIWI", "rt": "RT"}
_ENCODINGS = {"utf8": "UTF8", "windows1251": "Windows1251"}
_INTERVALS = ("Day", "Week", "Month")


def _kind(call: Call) -> NoticeType:
    try:
        return NoticeType(str(call.parameters["{type}"]).lower())
    except ValueError as error:
        raise RefusedError("notification type is unknown") from error


async def notification_get(call: Call) -> Answer:
    """``site/notifications/{type}/get``."""
    address = call.world.delivery.address(call.shop, _kind(call))
    model = {"IsEnabled": address.enabled, "Address": address.url, "HttpMethod": address.method,
             "Encoding": address.encoding, "Format": address.format}  # fmt: skip
    return {"Model": model, "Success": True, "Message": None}


async def notification_update(call: Call) -> Answer:
    """``site/notifications/{type}/update``. HttpMethod is GET unless it is given."""
    kind = _kind(call)
    enabled = str(call.text("IsEnabled") or "true").lower() in ("true", "1")
    url = call.text("Address") or ""
    if enabled and urlsplit(url).scheme not in ("http", "https"):
        raise RefusedError("Address must be an HTTP address")
    method = (call.text("HttpMethod") or "GET").upper()
    encoding = _ENCODINGS.get((call.text("Encoding") or "UTF8").lower().replace("-", ""))
    shape = _FORMATS.get((call.text("Format") or "CloudPayments").lower())
    if method not in ("GET", "POST") or encoding is None or shape is None:
        raise RefusedError("HttpMethod, Encoding or Format is unknown")
    as_json = call.world.delivery.address(call.shop, kind).as_json and method == "POST"
    address = Address.model_validate(
        {"enabled": enabled, "url": url, "method": method, "encoding": encoding, "format": shape, "as_json": as_json}
    )
    with call.world.store.unit():
        call.world.delivery.set_address(call.shop, kind, address)
        call.world.store.log("notification.address", call.shop.public_id, type=kind.value, enabled=enabled)
    return {"Success": True, "Message": None}


def _terms(call: Call, *, partial: bool) -> dict[str, Any]:
    """The terms of a subscription among the parameters."""
    terms: dict[str, Any] = {}
    for name in ("Description", "Email", "CustomerReceipt", "Currency", "MaxPeriods"):
        if call.text(name) is not None:
            terms[name] = call.text(name)
    if not partial or call.text("Amount") is not None:
        terms["Amount"] = call.amount()
    if not partial or call.text("Interval") is not None:
        interval = call.required("Interval")
        if interval not in _INTERVALS:
            raise RefusedError("Interval must be Day, Week or Month")
        terms["Interval"] = interval
    if not partial or call.text("Period") is not None:
        terms["Period"] = call.integer("Period")
        if not 0 < terms["Period"] <= 366:
            raise RefusedError("Period is out of range")
    if not partial or call.text("StartDate") is not None:
        terms["StartDate"] = _start(call.required("StartDate"))
    if call.text("RequireConfirmation") is not None:
        terms["RequireConfirmation"] = str(call.text("RequireConfirmation")).lower() in ("true", "1")
    return terms


def _start(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise RefusedError("StartDate cannot be read") from error
    value = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    if value <= now_ms():
        raise RefusedError("StartDate must be in the future")
    return value


async def subscription_create(call: Call) -> Answer:
    """``subscriptions/create``."""
    token, account_id = call.required("Token"), call.required("AccountId")
    rows = call.world.store.rows(
        "SELECT 1 FROM tokens WHERE token = ? AND public_id = ? AND account_id = ?",
        (token, call.shop.public_id, account_id),
    )
    if not rows:
        raise RefusedError("Token not found")
    start = {"RequireConfirmation": False, "Description": "", "Currency": "RUB", "MaxPeriods": None, "Email": None}
    fields = start | _terms(call, partial=False) | {"Token": token, "AccountId": account_id}
    with call.world.store.unit():
        document = call.world.subscriptions.create(call.shop, fields)
    return {"Model": subscription_model(document), "Success": True, "Message": None}


def _subscription(call: Call) -> dict[str, Any]:
    document = call.world.subscriptions.get(call.shop, call.required("Id"))
    if document is None:
        raise RefusedError("Subscription not found")
    return document


async def subscription_get(call: Call) -> Answer:
    """``subscriptions/get``."""
    return {"Model": subscription_model(_subscription(call)), "Success": True, "Message": None}


async def subscription_find(call: Call) -> Answer:
    """``subscriptions/find``: all of a payer."""
    found = call.world.subscriptions.find(call.shop, call.required("AccountId"))
    return {"Model": [subscription_model(document) for document in found], "Success": True, "Message": None}


async def subscription_update(call: Call) -> Answer:
    """``subscriptions/update``: other terms, without a notification."""
    document = _subscription(call)
    with call.world.store.unit():
        changed = call.world.subscriptions.update(call.shop, document, _terms(call, partial=True))
    return {"Model": subscription_model(changed), "Success": True, "Message": None}


async def subscription_cancel(call: Call) -> Answer:
    """``subscriptions/cancel``."""
    document = _subscription(call)
    with call.world.store.unit():
        call.world.subscriptions.cancel(call.shop, document)
    return {"Success": True, "Message": None}
