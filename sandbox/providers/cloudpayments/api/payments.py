"""Methods that move money, and those that ask about it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import orjson

from sandbox.providers.cloudpayments.api.call import Answer, Call
from sandbox.providers.cloudpayments.api.models import payment_answer, payment_model
from sandbox.providers.cloudpayments.cards import read_cryptogram
from sandbox.providers.cloudpayments.engine import Order, RefusedError
from sandbox.providers.cloudpayments.store import Transaction

PAGE_ROWS, PERIOD_DAYS_MAX = 100, 366
_CURRENCIES = frozenset({"RUB", "USD", "EUR", "KZT", "BYN", "UAH", "UZS", "AZN", "GBP", "KGS", "AMD", "CNY"})
# Zones by the short names that payments/list takes, besides IANA names.
_ZONES = {"MSK": "Europe/Moscow", "UTC": "UTC", "HST": "Pacific/Honolulu", "PST": "America/Los_Angeles"}


async def test(call: Call) -> Answer:
    """``test``: the keys are right and the service is alive."""
    return {"Success": True, "Message": str(call.request_id or "bd6353c3-0ed6-4a65-946f-083664bf8dbd")}


def order_of(call: Call, scheme: str) -> Order:
    """The parameters common to charges."""
    currency = (call.text("Currency") or "RUB").upper()
    if currency not in _CURRENCIES:
        raise RefusedError("Currency is not supported")
    return Order(
        amount=call.amount(), currency=currency, scheme=scheme, invoice_id=call.text("InvoiceId"),
        account_id=call.text("AccountId"), email=call.text("Email"), name=call.text("Name"),
        description=call.text("Description"), ip=call.text("IpAddress"), data=data_of(call.text("JsonData")),
        request_id=call.request_id,
    )  # fmt: skip


def data_of(text: str | None) -> str | None:
    """The shop's own data, as the text that it came in."""
    if text is not None:
        try:
            json.loads(text)
        except ValueError as error:
            raise RefusedError("JsonData is not JSON") from error
    return text


def culture_of(call: Call) -> str:
    """The language of messages."""
    return call.text("CultureName") or "ru-RU"


def _answer(call: Call, tx: Transaction) -> Answer:
    return payment_answer(tx, call.shop, call.base_url, culture_of(call))


async def _by_cryptogram(call: Call, scheme: str) -> Answer:
    call.required("IpAddress")
    card = read_cryptogram(call.required("CardCryptogramPacket"))
    return _answer(call, await call.world.engine.pay_by_card(call.shop, order_of(call, scheme), card))


async def cards_charge(call: Call) -> Answer:
    """``payments/cards/charge``: one stage."""
    return await _by_cryptogram(call, "Single")


async def cards_auth(call: Call) -> Answer:
    """``payments/cards/auth``: hold now, confirm later."""
    return await _by_cryptogram(call, "Dual")


async def post3ds(call: Call) -> Answer:
    """``payments/cards/post3ds``: what the bank's page said."""
    passed = call.required("PaRes").startswith("pares-ok-")
    return _answer(call, call.world.engine.finish_three_ds(call.shop, call.integer("TransactionId"), passed=passed))


async def _by_token(call: Call, scheme: str) -> Answer:
    call.required("AccountId")
    initiator = call.required("TrInitiatorCode")
    if initiator not in ("0", "1"):
        raise RefusedError("TrInitiatorCode must be 0 or 1")
    if initiator == "0" and call.text("PaymentScheduled") not in ("0", "1"):
        raise RefusedError("PaymentScheduled is required when TrInitiatorCode is 0")
    order = order_of(call, scheme)
    return _answer(call, await call.world.engine.pay_by_token(call.shop, order, call.required("Token")))


async def tokens_charge(call: Call) -> Answer:
    """``payments/tokens/charge``: a saved card, one stage."""
    return await _by_token(call, "Single")


async def tokens_auth(call: Call) -> Answer:
    """``payments/tokens/auth``: a saved card, hold."""
    return await _by_token(call, "Dual")


async def confirm(call: Call) -> Answer:
    """``payments/confirm``."""
    call.world.engine.confirm(call.shop, call.integer("TransactionId"), call.amount())
    return {"Success": True, "Message": None}


async def void(call: Call) -> Answer:
    """``payments/void``."""
    call.world.engine.void(call.shop, call.integer("TransactionId"))
    return {"Success": True, "Message": None}


async def refund(call: Call) -> Answer:
    """``payments/refund``."""
    data = data_of(call.text("JsonData"))
    tx = call.world.engine.refund(call.shop, call.integer("TransactionId"), call.amount(), data, call.request_id)
    return _answer(call, tx)


# Questions


async def get(call: Call) -> Answer:
    """``payments/get``: one transaction by its id."""
    tx = call.world.store.transaction(call.integer("TransactionId"), call.shop.public_id)
    return _found(call, tx)


async def find(call: Call) -> Answer:
    """``payments/find``: the last payment of an order."""
    found = call.world.store.by_invoice(call.shop.public_id, call.required("InvoiceId"))
    payments = [tx for tx in found if tx.kind == "Payment"]
    return _found(call, payments[-1] if payments else None)


async def find_v2(call: Call) -> Answer:
    """``v2/payments/find``: the last operation of an order, be it a payment, a refund or a payout."""
    found = call.world.store.by_invoice(call.shop.public_id, call.required("InvoiceId"))
    return _found(call, found[-1] if found else None)


def _found(call: Call, tx: Transaction | None) -> Answer:
    if tx is None:
        return {"Success": False, "Message": "Not found"}
    return {"Model": payment_model(tx, call.shop, culture_of(call)), "Success": True, "Message": None}


def _zone(call: Call) -> ZoneInfo:
    name = call.text("TimeZone") or "UTC"
    try:
        return ZoneInfo(_ZONES.get(name.upper(), name))
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise RefusedError("TimeZone is unknown") from error


def _moment(text: str, zone: ZoneInfo) -> datetime:
    try:
        value = datetime.fromisoformat(text)
    except ValueError as error:
        raise RefusedError("date cannot be read") from error
    return value if value.tzinfo else value.replace(tzinfo=zone)


async def list_day(call: Call) -> Answer:
    """``payments/list``: what was created on one day."""
    start = _moment(call.required("Date"), _zone(call)).replace(hour=0, minute=0, second=0, microsecond=0)
    return _listed(call, start, start + timedelta(days=1), limit=100_000, offset=0, statuses=[])


async def list_v2(call: Call) -> Answer:
    """``v2/payments/list``: a period, by pages of a hundred."""
    zone = _zone(call)
    start = _moment(call.required("CreatedDateGte"), zone)
    last = call.text("CreatedDateLte")
    end = _moment(last, zone) + timedelta(milliseconds=1) if last else datetime.now(UTC)
    if end - start > timedelta(days=PERIOD_DAYS_MAX):
        raise RefusedError("period is longer than a year")
    page = call.integer("PageNumber")
    if page < 1:
        raise RefusedError("PageNumber starts with 1")
    wanted = call.parameters.get("statuses") or []
    statuses = wanted if isinstance(wanted, list) else str(wanted).split(",")
    return _listed(call, start, end, limit=PAGE_ROWS, offset=(page - 1) * PAGE_ROWS, statuses=statuses)


def _listed(call: Call, start: datetime, end: datetime, *, limit: int, offset: int, statuses: list[Any]) -> Answer:
    bounds = (int(start.timestamp() * 1000), int(end.timestamp() * 1000))
    names = [str(name) for name in statuses]
    chosen = call.world.store.created_between(call.shop.public_id, *bounds, statuses=names, limit=limit, offset=offset)
    return {"Model": [payment_model(tx, call.shop) for tx in chosen], "Success": True, "Message": None}


async def tokens_list(call: Call) -> Answer:
    """``payments/tokens/list``: saved cards of the terminal."""
    rows = call.world.store.rows(
        "SELECT token, account_id, card FROM tokens WHERE public_id = ? ORDER BY token", (call.shop.public_id,)
    )
    model = []
    for token, account_id, packed in rows:
        card = orjson.loads(packed)
        mask = f"{card['first_six']}****{card['last_four']}"
        month, year = card["expires"].split("/")
        model.append({"Token": token, "AccountId": account_id, "CardMask": mask,
                      "ExpirationDateMonth": int(month), "ExpirationDateYear": 2000 + int(year)})  # fmt: skip
    return {"Model": model, "Success": True, "Message": None}
