"""Methods that send money out."""

from __future__ import annotations

import json
import re
from typing import Any

from sandbox.providers.cloudpayments.api.call import Answer, Call
from sandbox.providers.cloudpayments.api.models import payment_answer
from sandbox.providers.cloudpayments.api.payments import culture_of, data_of
from sandbox.providers.cloudpayments.cards import read_cryptogram
from sandbox.providers.cloudpayments.engine import RefusedError
from sandbox.providers.cloudpayments.payouts import PayoutOrder
from sandbox.providers.cloudpayments.store import Transaction

_PHONE, _MEMBER = re.compile(r"\+?7[0-9]{10}"), re.compile(r"[0-9]{1,20}")


def _order_of(call: Call) -> PayoutOrder:
    """The parameters common to payouts, which are made in roubles only."""
    if call.required("Currency").upper() != "RUB":
        raise RefusedError("Currency is not supported")
    return PayoutOrder(
        amount=call.amount(), invoice_id=call.text("InvoiceId"), account_id=call.text("AccountId"),
        description=call.text("Description"), data=data_of(call.text("JsonData")), request_id=call.request_id,
    )  # fmt: skip


def _answer(call: Call, tx: Transaction) -> Answer:
    return payment_answer(tx, call.shop, call.base_url, culture_of(call))


async def token_topup(call: Call) -> Answer:
    """``payments/token/topup``: to a saved card."""
    call.required("AccountId")
    token = call.required("Token")
    return _answer(call, call.world.payouts.to_token(call.shop, _order_of(call), token))


async def cards_topup(call: Call) -> Answer:
    """``payments/cards/topup``: to a card by its cryptogram."""
    call.required("AccountId")
    card = read_cryptogram(call.required("CardCryptogramPacket"))
    return _answer(call, call.world.payouts.to_card(call.shop, _order_of(call), card))


async def alt_topup(call: Call) -> Answer:
    """``payments/alt/topup``: by phone number through the Faster Payments System."""
    receiver = _receiver(call)
    member_id = call.required("MemberId")
    if not _MEMBER.fullmatch(member_id):
        raise RefusedError("MemberId is wrong")
    return _answer(call, call.world.payouts.to_phone(call.shop, _order_of(call), member_id, receiver))


def _receiver(call: Call) -> dict[str, Any]:
    given = call.parameters.get("receiver")
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError as error:
            raise RefusedError("Receiver cannot be read") from error
    if not isinstance(given, dict):
        raise RefusedError("Receiver is required")
    phone = given.get("Phone")
    if not isinstance(phone, str) or not _PHONE.fullmatch(phone):
        raise RefusedError("Receiver.Phone is wrong")
    return {"Phone": phone}
