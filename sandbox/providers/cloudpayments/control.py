"""Addresses that only a sandbox has: the log, the switches, and hands on things that time would do."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import APIRouter, HTTPException, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from sandbox.providers.cloudpayments.api.call import World, world_of
from sandbox.providers.cloudpayments.api.models import payment_model, subscription_model
from sandbox.providers.cloudpayments.cards import TEST_CARDS, CardError, make_cryptogram, read_card
from sandbox.providers.cloudpayments.chaos import Armed, Chaos
from sandbox.providers.cloudpayments.engine import HOLD_MS, Order, RefusedError
from sandbox.providers.cloudpayments.settings import NoticeType, Shop
from sandbox.providers.money import BALANCE_MINOR_MAX, AmountError, format_amount, parse_amount

router = APIRouter(prefix="/sandbox")
LOG_ROWS_MAX = 10_000
LOG = (
    "SELECT seq, at_ms, event, public_id, transaction_id, invoice_id, amount_minor, currency, details FROM log"
    " WHERE seq > ? AND (? IS NULL OR event = ?) ORDER BY seq LIMIT ?"
)
LOG_OF_INVOICE = LOG.replace("WHERE", "WHERE invoice_id = ? AND")


def _answer(value: object) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")


def _shop(world: World, public_id: str) -> Shop:
    shop = world.shops.get(public_id)
    if shop is None:
        raise HTTPException(404, "unknown public_id")
    return shop


# The log


@router.get("/log")
async def log(
    request: Request,
    after: int = 0,
    limit: int = Query(1000, ge=1, le=LOG_ROWS_MAX),
    event: str | None = None,
    invoice_id: str | None = None,
) -> Response:
    """Facts in the order in which they happened; ``next`` is the value of ``after`` for the next page."""
    store = world_of(request).store
    if invoice_id is not None:
        rows = store.rows(LOG_OF_INVOICE, (invoice_id, after, event, event, limit))
    else:
        rows = store.rows(LOG, (after, event, event, limit))
    names = ("seq", "at_ms", "event", "public_id", "transaction_id", "invoice_id", "amount_minor", "currency")
    items = [dict(zip(names, row, strict=False)) | orjson.loads(row[8]) for row in rows]
    return _answer({"items": items, "next": items[-1]["seq"] if items else after, "more": len(items) == limit})


@router.get("/totals")
async def totals(request: Request, public_id: str | None = None) -> Response:
    """What was charged and refunded per order, folded from the log."""
    rows = world_of(request).store.rows(
        "SELECT public_id, invoice_id, currency,"
        " sum(CASE WHEN event IN ('payment.charged', 'payment.confirmed') THEN amount_minor ELSE 0 END),"
        " sum(CASE WHEN event = 'payment.refunded' THEN amount_minor ELSE 0 END),"
        " sum(event IN ('payment.charged', 'payment.confirmed')), sum(event = 'payment.refunded'),"
        " sum(event = 'payment.authorized'), sum(event = 'payment.voided')"
        " FROM log WHERE transaction_id IS NOT NULL AND event LIKE 'payment.%' AND (? IS NULL OR public_id = ?)"
        " GROUP BY public_id, invoice_id, currency ORDER BY public_id, invoice_id",
        (public_id, public_id),
    )
    names = (
        "public_id", "invoice_id", "currency", "charged_minor", "refunded_minor", "charges", "refunds",
        "holds", "voids",
    )  # fmt: skip
    items = [dict(zip(names, row, strict=True)) for row in rows]
    return _answer({
        "items": items,
        "charged_minor": sum(item["charged_minor"] for item in items),
        "refunded_minor": sum(item["refunded_minor"] for item in items),
    })  # fmt: skip


@router.get("/payouts")
async def payouts(request: Request, public_id: str | None = None) -> Response:
    """How many transfers were really made per order, and what they amount to, folded from the log."""
    rows = world_of(request).store.rows(
        "SELECT public_id, invoice_id, sum(event = 'payout.accepted'), sum(event = 'payout.completed'),"
        " sum(event = 'payout.declined'), sum(CASE WHEN event = 'payout.completed' THEN amount_minor ELSE 0 END)"
        " FROM log WHERE event LIKE 'payout.%' AND (? IS NULL OR public_id = ?)"
        " GROUP BY public_id, invoice_id ORDER BY min(seq)",
        (public_id, public_id),
    )
    names = ("public_id", "invoice_id", "accepted", "transfers", "declined", "amount_minor")
    items = [dict(zip(names, row, strict=True)) for row in rows]
    return _answer({
        "items": items,
        "paid_out_minor": sum(item["amount_minor"] for item in items),
        "repeated": [item["invoice_id"] for item in items if item["accepted"] > 1],
    })  # fmt: skip


def _balance(world: World, public_id: str) -> Response:
    return _answer({"public_id": public_id, "RUB": format_amount(world.payouts.balance(public_id))})


@router.get("/balance")
async def get_balance(request: Request, public_id: str | None = None) -> Response:
    """What a terminal can pay out; the first one when none is named."""
    world = world_of(request)
    return _balance(world, _shop(world, public_id or next(iter(world.shops))).public_id)


class BalanceInput(BaseModel):
    """A balance in roubles."""

    model_config = ConfigDict(extra="forbid")

    RUB: str


@router.put("/balance")
async def put_balance(request: Request, wanted: BalanceInput, public_id: str | None = None) -> Response:
    """Set what a terminal can pay out, or all of them when none is named: ``{"RUB": "0.00"}`` runs it dry."""
    world = world_of(request)
    chosen = [_shop(world, public_id).public_id] if public_id else list(world.shops)
    try:
        minor = parse_amount(wanted.RUB, least_minor=0, most_minor=BALANCE_MINOR_MAX)
    except AmountError as error:
        raise HTTPException(422, str(error)) from error
    with world.store.unit():
        for name in chosen:
            world.payouts.set_balance(name, minor)
            world.store.log("balance.set", name, amount=minor, currency="RUB")
    return _balance(world, chosen[0])


class TokenInput(BaseModel):
    """A saved card without a payment."""

    model_config = ConfigDict(extra="forbid")

    account_id: str = Field(min_length=1, max_length=200)
    public_id: str | None = None
    number: str = Field(default="4000000000003055", max_length=30)


@router.post("/tokens")
async def tokens(request: Request, wanted: TokenInput) -> Response:
    """A token as a first payment would give one; of the first terminal when none is named."""
    world = world_of(request)
    shop = _shop(world, wanted.public_id or next(iter(world.shops)))
    try:
        card = read_card(wanted.number, "12/49", "123")
    except CardError as error:
        raise HTTPException(422, str(error)) from error
    with world.store.unit():
        token = world.store.add_token(shop.public_id, wanted.account_id, card.as_json())
    return _answer({"token": token, "account_id": wanted.account_id, "public_id": shop.public_id})


@router.get("/transactions/{tx_id}")
async def transaction(request: Request, tx_id: int) -> Response:
    """One transaction as the API would show it, whatever its terminal."""
    world = world_of(request)
    tx = world.store.transaction(tx_id)
    if tx is None or tx.public_id not in world.shops:
        raise HTTPException(404, "unknown transaction")
    return _answer(payment_model(tx, world.shops[tx.public_id]))


@router.get("/cards")
async def cards() -> Response:
    """Test cards and what each does."""
    return _answer([{"number": card.number, "note": card.note} for card in TEST_CARDS])


# Notifications


@router.get("/notifications")
async def notifications(
    request: Request, state: str | None = None, limit: int = Query(1000, ge=1, le=LOG_ROWS_MAX)
) -> Response:
    """The queue: pending, delivered, dropped, gave_up, forged."""
    world = world_of(request)
    rows = world.store.rows(
        "SELECT id, public_id, type, transaction_id, invoice_id, forged, copy_of, attempts, state, due_ms"
        " FROM notifications WHERE (? IS NULL OR state = ?) ORDER BY id DESC LIMIT ?",
        (state, state, limit),
    )
    names = (
        "id", "public_id", "type", "transaction_id", "invoice_id", "forged", "copy_of", "attempts", "state", "due_ms",
    )  # fmt: skip
    items = [dict(zip(names, row, strict=True)) for row in rows]
    return _answer({"items": items, "pending": world.delivery.pending(), "held": world.delivery.held})


@router.post("/notifications/{action}")
async def notifications_action(request: Request, action: str) -> Response:
    """``hold`` keeps everything back, ``release`` lets it go, ``hurry`` makes waiting retries due now."""
    world = world_of(request)
    if action not in ("hold", "release", "hurry"):
        raise HTTPException(404, "hold, release or hurry")
    with world.store.unit():
        if action == "hurry":
            world.delivery.hurry()
        else:
            world.delivery.set_held(action == "hold")
    return _answer({"pending": world.delivery.pending(), "held": world.delivery.held})


class Forgery(BaseModel):
    """A notification that the provider never sent."""

    model_config = ConfigDict(extra="forbid")

    public_id: str
    type: NoticeType = NoticeType.PAY
    fields: dict[str, str | int | None]


@router.post("/forge")
async def forge(request: Request, forgery: Forgery) -> Response:
    """Send a notification whose signature is wrong, once; the answer to it is in the log."""
    world = world_of(request)
    shop = _shop(world, forgery.public_id)
    invoice_id = forgery.fields.get("InvoiceId")
    with world.store.unit():
        number = world.delivery.queue_forged(
            shop, forgery.type, dict(forgery.fields), None if invoice_id is None else str(invoice_id)
        )
    return _answer({"notification": number})


# Chaos


def _keep_chaos(world: World, chaos: Chaos) -> Response:
    shown = chaos.model_dump(mode="json")
    with world.store.unit():
        world.delivery.set_chaos(chaos)
        world.store.log("chaos.set", "", seed=chaos.seed, probabilities=shown["probabilities"], once=shown["once"])
    return _answer(shown)


@router.get("/chaos")
async def get_chaos(request: Request) -> Response:
    """What is switched on."""
    return _answer(world_of(request).delivery.chaos.model_dump(mode="json"))


@router.put("/chaos")
async def put_chaos(request: Request, chaos: Chaos) -> Response:
    """Replace everything that is switched on."""
    return _keep_chaos(world_of(request), chaos)


@router.post("/chaos/once")
async def arm(request: Request, armed: Armed) -> Response:
    """Arm one more fault, and leave the rest as it is."""
    world = world_of(request)
    chaos = world.delivery.chaos.model_copy(update={"once": [*world.delivery.chaos.once, armed]})
    return _keep_chaos(world, chaos)


@router.delete("/chaos")
async def calm(request: Request) -> Response:
    """Switch everything off."""
    return _keep_chaos(world_of(request), Chaos())


@router.post("/reset")
async def reset(request: Request) -> Response:
    """Forget payments, notifications, addresses, faults and the log. Transaction ids go on from where they were."""
    world = world_of(request)
    world.store.reset()
    world.delivery.forget()
    await world.delivery.settle()
    return _answer({"reset": True})


# Things that time or other people would do


class CardInput(BaseModel):
    """A card as typed."""

    model_config = ConfigDict(extra="forbid")

    number: str = Field(max_length=30)
    expires: str = Field(default="12/49", max_length=10)
    cvc: str = Field(default="123", max_length=4)


@router.post("/cryptogram")
async def cryptogram(card: CardInput) -> Response:
    """A packet for ``payments/cards/charge``."""
    return _answer({"CardCryptogramPacket": make_cryptogram(card.number, card.expires, card.cvc)})


class ReceiptInput(BaseModel):
    """Which transaction a receipt is of."""

    model_config = ConfigDict(extra="forbid")

    public_id: str
    transaction_id: int
    receipt: dict[str, Any] = Field(default_factory=dict)


@router.post("/receipts")
async def receipts(request: Request, wanted: ReceiptInput) -> Response:
    """Print a receipt: a Receipt notification follows."""
    world = world_of(request)
    try:
        tx = world.engine.print_receipt(_shop(world, wanted.public_id), wanted.transaction_id, wanted.receipt)
    except RefusedError as error:
        raise HTTPException(404, str(error)) from error
    return _answer({"transaction_id": tx.id})


class HoldsInput(BaseModel):
    """How old a hold must be."""

    model_config = ConfigDict(extra="forbid")

    older_than_ms: int = Field(default=HOLD_MS, ge=0)


@router.post("/holds/release")
async def holds(request: Request, wanted: HoldsInput) -> Response:
    """Void the holds that were not confirmed in time."""
    return _answer({"voided": world_of(request).engine.release_holds(older_than_ms=wanted.older_than_ms)})


class ChargeInput(BaseModel):
    """The terminal of a subscription to charge."""

    model_config = ConfigDict(extra="forbid")

    public_id: str


@router.post("/subscriptions/{subscription_id}/charge")
async def charge_subscription(request: Request, subscription_id: str, wanted: ChargeInput) -> Response:
    """Charge a subscription now, as the calendar would: Pay or Fail, then Recurrent when its status changes."""
    world = world_of(request)
    shop = _shop(world, wanted.public_id)
    document = world.subscriptions.get(shop, subscription_id)
    if document is None:
        raise HTTPException(404, "unknown subscription")
    if document["Status"] not in ("Active", "PastDue"):
        raise HTTPException(409, f"the subscription is {document['Status']}")
    order = Order(
        amount=document["Amount"], currency=document["Currency"], account_id=document["AccountId"],
        scheme="Dual" if document["RequireConfirmation"] else "Single", email=document.get("Email"),
        description=document["Description"], subscription_id=subscription_id,
    )  # fmt: skip
    try:
        tx = await world.engine.pay_by_token(shop, order, document["Token"])
    except (RefusedError, CardError) as error:
        raise HTTPException(409, str(error)) from error
    with world.store.unit():
        document = world.subscriptions.charged(shop, document, success=tx.status != "Declined")
    return _answer({"transaction_id": tx.id, "status": tx.status, "subscription": subscription_model(document)})
