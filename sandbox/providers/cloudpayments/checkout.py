"""The payer's side: the widget script, its form, the bank's 3-D Secure page, and a checkout without a browser."""

from __future__ import annotations

import json
import secrets
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, select_autoescape

from sandbox.providers.cloudpayments.api.call import World, silence, world_of
from sandbox.providers.cloudpayments.cards import CardError, read_card
from sandbox.providers.cloudpayments.chaos import Switch
from sandbox.providers.cloudpayments.engine import LATE, THREE_DS, Order, RefusedError
from sandbox.providers.cloudpayments.reasons import reason
from sandbox.providers.cloudpayments.settings import Shop
from sandbox.providers.cloudpayments.store import Transaction
from sandbox.providers.cloudpayments.texts import CARD_ERRORS, TEXTS
from sandbox.providers.money import AmountError, format_amount, parse_amount

HERE = Path(__file__).parent
SCRIPT = (HERE / "static" / "cloudpayments.js").read_bytes()
BODY_BYTES_MAX = 256 * 1024
router = APIRouter()
pages = Environment(loader=FileSystemLoader(HERE / "pages"), autoescape=select_autoescape(), auto_reload=False)
_CORS = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "Content-Type"}


class BadIntentError(ValueError):
    """The widget was started with parameters that it does not take."""


def _json_answer(value: object, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status_code=status, media_type="application/json", headers=_CORS)


async def read_object(request: Request) -> dict[str, Any]:
    """The JSON object of the body; amounts in it are decimals, never floats."""
    body = await request.body()
    if len(body) > BODY_BYTES_MAX:
        raise BadIntentError("body is too large")
    try:
        value = json.loads(body, parse_float=Decimal)
    except ValueError as error:
        raise BadIntentError("body is not JSON") from error
    if not isinstance(value, dict):
        raise BadIntentError("body must be an object")
    return value


def _text(value: object) -> str | None:
    return None if value is None or value == "" else str(value)


def _dumps(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return _text(value)
    return orjson.dumps(value, default=str).decode()


def order_of(intent: dict[str, Any], ip: str | None) -> Order:
    """The order of ``widget.start`` parameters; the older spellings of ``widget.pay`` are understood too."""
    user = intent.get("userInfo") if isinstance(intent.get("userInfo"), dict) else {}
    data = intent.get("metadata", intent.get("data"))
    block = data if isinstance(data, dict) else {}
    block = block.get("CloudPayments") or block.get("cloudPayments") or {}
    recurrent = intent.get("recurrent") or (block.get("recurrent") if isinstance(block, dict) else None)
    if isinstance(recurrent, dict) and recurrent.get("amount") is not None:
        recurrent = {**recurrent, "amount": None, "amount_minor": parse_amount(recurrent["amount"])}
    scheme = str(intent.get("paymentSchema") or "Single").capitalize()
    if scheme not in ("Single", "Dual"):
        raise BadIntentError("paymentSchema must be Single or Dual")
    name = " ".join(str(user[part]) for part in ("firstName", "lastName") if user and user.get(part))
    receipt = intent.get("receipt")
    return Order(
        amount=parse_amount(intent.get("amount")), currency=str(intent.get("currency") or "RUB").upper(),
        scheme=scheme, invoice_id=_text(intent.get("externalId", intent.get("invoiceId"))),
        account_id=_text((user or {}).get("accountId", intent.get("accountId"))),
        email=_text((user or {}).get("email", intent.get("receiptEmail", intent.get("email")))),
        name=name or None, description=_text(intent.get("description")), ip=ip, data=_dumps(data),
        recurrent=recurrent if isinstance(recurrent, dict) else None,
        receipt=receipt if isinstance(receipt, dict) else None,
    )  # fmt: skip


def _shop(world: World, intent: dict[str, Any]) -> Shop:
    public_id = intent.get("publicTerminalId") or intent.get("publicId") or intent.get("public_id")
    shop = world.shops.get(str(public_id))
    if shop is None:
        raise BadIntentError("publicTerminalId is unknown")
    return shop


# The script and what it calls


@router.get("/bundles/cloudpayments.js")
async def script() -> Response:
    """The widget."""
    return Response(SCRIPT, media_type="text/javascript; charset=utf-8", headers={"Cache-Control": "no-cache"})


@router.options("/widget/intents")
async def intents_preflight() -> Response:
    """Any page may start the widget."""
    return Response(status_code=204, headers=_CORS | {"Access-Control-Allow-Methods": "POST"})


@router.post("/widget/intents")
async def create_intent(request: Request) -> Response:
    """Called by the script: keep the parameters, answer with the address of the form."""
    world = world_of(request)
    try:
        intent = await read_object(request)
        _shop(world, intent)
        order_of(intent, None)
    except (BadIntentError, AmountError) as error:
        return _json_answer({"message": str(error)}, 400)
    intent_id = secrets.token_urlsafe(16)
    document = json.dumps({"intent": intent, "transaction_id": None}, default=str).encode()
    with world.store.unit():
        world.store.write("INSERT INTO intents VALUES (?, ?)", (intent_id, document))
    return _json_answer({"id": intent_id, "path": f"/widget/form/{intent_id}"})


def _intent(world: World, intent_id: str) -> tuple[dict[str, Any], Transaction | None]:
    rows = world.store.rows("SELECT document FROM intents WHERE id = ?", (intent_id,))
    if not rows:
        raise BadIntentError("the payment form is not open any more")
    kept = orjson.loads(rows[0][0])
    tx_id = kept["transaction_id"]
    return dict(kept["intent"]), world.store.transaction(tx_id) if tx_id else None


def _lang(intent: dict[str, Any]) -> str:
    culture = str(intent.get("culture") or intent.get("language") or "ru-RU")
    return "en" if culture.lower().startswith("en") else "ru"


def _page(name: str, lang: str, status: int = 200, **values: object) -> HTMLResponse:
    return HTMLResponse(pages.get_template(name).render(lang=lang, t=TEXTS[lang], **values), status_code=status)


def _form(
    intent_id: str, intent: dict[str, Any], errors: dict[str, str] | None = None, status: int = 200
) -> HTMLResponse:
    order, lang = order_of(intent, None), _lang(intent)
    behaviour = str(intent.get("emailBehavior") or ("Required" if intent.get("requireEmail") else "Optional"))
    return _page(
        "form.html", lang, status, intent_id=intent_id, amount=format_amount(order.amount), currency=order.currency,
        description=order.description, email=order.email, email_behaviour=behaviour, errors=errors or {},
    )  # fmt: skip


def _result(intent_id: str, intent: dict[str, Any], tx: Transaction) -> HTMLResponse:
    """What the payer sees at the end, and what the script is told."""
    lang = _lang(intent)
    success = tx.status in ("Completed", "Authorized")
    data: dict[str, object] = {"transactionId": tx.id}
    if tx.reason_code:
        data["reasonCode"] = tx.reason_code
    outcome = {"type": "payment", "status": "success" if success else "fail", "data": data}
    return _page(
        "result.html", lang, intent_id=intent_id, success=success, pending=tx.stage == LATE,
        amount=format_amount(tx.amount), currency=tx.currency, tx=tx, outcome=outcome,
        reason=reason(tx.reason_code).message(lang) if tx.reason_code else "",
        retry=not success and tx.stage != LATE and intent.get("retryPayment") is not False,
        redirect=intent.get("successRedirectUrl" if success else "failRedirectUrl"),
    )  # fmt: skip


@router.get("/widget/form/{intent_id}")
async def show_form(request: Request, intent_id: str) -> Response:
    """The form of a started widget; a paid one shows its result instead."""
    try:
        intent, tx = _intent(world_of(request), intent_id)
    except BadIntentError as error:
        return _page("error.html", "ru", 404, message=str(error))
    if tx is not None and tx.status in ("Completed", "Authorized", "Pending"):
        return _result(intent_id, intent, tx)
    return _form(intent_id, intent)


@router.post("/widget/form/{intent_id}")
async def submit_form(request: Request, intent_id: str) -> Response:
    """The payer pressed Pay."""
    world = world_of(request)
    try:
        intent, tx = _intent(world, intent_id)
        shop = _shop(world, intent)
    except BadIntentError as error:
        return _page("error.html", "ru", 404, message=str(error))
    if tx is not None and tx.status in ("Completed", "Authorized", "Pending"):
        return _result(intent_id, intent, tx)
    form = await request.form()
    if form.get("email"):
        intent["userInfo"] = {**(intent.get("userInfo") or {}), "email": str(form["email"])}
    try:
        card = read_card(str(form.get("number", "")), str(form.get("expires", "")), str(form.get("cvc", "")))
    except CardError as error:
        return _form(intent_id, intent, {error.field: CARD_ERRORS[_lang(intent)][error.field]}, 422)
    ip = request.client.host if request.client else None
    tx = await world.engine.pay_by_card(shop, order_of(intent, ip), card)
    document = json.dumps({"intent": intent, "transaction_id": tx.id}, default=str).encode()
    with world.store.unit():
        world.store.write("INSERT OR REPLACE INTO intents VALUES (?, ?)", (intent_id, document))
    if tx.stage == THREE_DS:
        return RedirectResponse(f"/acs/{tx.id}?intent={intent_id}", status_code=303)
    return _result(intent_id, intent, tx)


# The bank's page


@router.get("/acs/{tx_id}")
async def acs_of_widget(request: Request, tx_id: int, intent: str) -> Response:
    """3-D Secure inside of the widget."""
    try:
        parameters, _tx = _intent(world_of(request), intent)
    except BadIntentError as error:
        return _page("error.html", "ru", 404, message=str(error))
    order = order_of(parameters, None)
    return _page(
        "acs.html", _lang(parameters), md=str(tx_id), term_url=f"/widget/3ds/{intent}",
        amount=format_amount(order.amount), currency=order.currency,
    )  # fmt: skip


@router.post("/acs")
async def acs_of_shop(request: Request) -> Response:
    """3-D Secure of a payment by cryptogram: the shop's page posts here MD, PaReq and TermUrl."""
    form = await request.form()
    md, term_url = str(form.get("MD") or ""), str(form.get("TermUrl") or "")
    if not md.isdigit() or not term_url.startswith(("http://", "https://")):
        return _page("error.html", "ru", 400, message="MD, TermUrl")
    return _page("acs.html", "ru", md=md, term_url=term_url, amount=None, currency=None)


@router.post("/widget/3ds/{intent_id}")
async def back_from_acs(request: Request, intent_id: str) -> Response:
    """The bank's page sends the payer back."""
    world, form = world_of(request), await request.form()
    try:
        intent, _tx = _intent(world, intent_id)
        passed = str(form.get("PaRes", "")).startswith("pares-ok-")
        tx = world.engine.finish_three_ds(_shop(world, intent), int(str(form.get("MD", "0"))), passed=passed)
    except (BadIntentError, RefusedError, ValueError) as error:
        return _page("error.html", "ru", 404, message=str(error))
    return _result(intent_id, intent, tx)


# Without a browser


@router.post("/checkout")
async def checkout(request: Request) -> Response:
    """What the form does, in one request: pay an order by a card, 3-D Secure included."""
    world = world_of(request)
    try:
        body = await read_object(request)
        shop, order = _shop(world, body), order_of(body, request.client.host if request.client else None)
        three_ds = str(body.get("three_ds", "confirm"))
        if three_ds not in ("confirm", "refuse", "abandon"):
            raise BadIntentError("three_ds must be confirm, refuse or abandon")
        card = body.get("card") if isinstance(body.get("card"), dict) else {"number": body.get("card")}
        number = str((card or {}).get("number") or "4000000000003055")
        chosen = read_card(number, str((card or {}).get("expires") or "12/49"), str((card or {}).get("cvc") or "123"))
    except (BadIntentError, AmountError, CardError) as error:
        return _json_answer({"message": str(error)}, 400)
    if body.get("decline_with"):
        order = replace(order, force_decline=int(body["decline_with"]))
    tx = await world.engine.pay_by_card(shop, order, chosen)
    if tx.stage == THREE_DS and three_ds != "abandon":
        tx = world.engine.finish_three_ds(shop, tx.id, passed=three_ds == "confirm")
    chaos = world.delivery.chaos
    about: dict[str, Any] = {"invoice_id": tx.invoice_id, "public_id": tx.public_id}
    approved = tx.status in ("Completed", "Authorized")
    if approved and chaos.strikes(Switch.ERROR_AFTER_SUCCESS, "checkout", str(tx.id), **about):
        return Response("Internal Server Error", status_code=500)
    if approved and chaos.strikes(Switch.TIMEOUT_AFTER_SUCCESS, "checkout", str(tx.id), **about):
        return await silence(request, chaos.options.timeout_ms)
    return _json_answer(_outcome(tx, body))


def _outcome(tx: Transaction, body: dict[str, Any]) -> dict[str, Any]:
    why = reason(tx.reason_code) if tx.reason_code else None
    return {
        "transactionId": tx.id,
        "status": tx.status,
        "success": tx.status in ("Completed", "Authorized"),
        "amount_minor": tx.amount,
        "reasonCode": tx.reason_code,
        "reason": why.name if why else None,
        "message": why.message(_lang(body)) if why else None,
        "token": tx.token,
    }
