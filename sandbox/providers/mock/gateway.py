"""The provider's API: pay, look a payment up, ask for the balance."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
import re
import secrets
import time
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from sandbox.providers.mock.chaos import Chaos, Operation, Switch
from sandbox.providers.mock.settings import Settings, Shop
from sandbox.providers.mock.store import DECLINED, MADE, Store, Transfer
from sandbox.providers.money import AmountError, format_amount, parse_amount

BODY_BYTES_MAX, TEXT_MAX = 65_536, 200
_CURRENCY = re.compile(r"[A-Z]{3}")
_SILENCE_STEP_S = 0.1


class BadRequestError(ValueError):
    """The request cannot be read; the text says why."""


@dataclass(slots=True)
class World:
    """The parts that requests work with; one per process, kept in ``app.state``."""

    settings: Settings
    shops: dict[str, Shop]
    store: Store
    chaos: Chaos

    def keep_chaos(self) -> None:
        """Write the switches down; at each use too, as an armed fault must not go off again after a restart."""
        self.store.keep_set("chaos", self.chaos.model_dump_json())


def world_of(request: Request) -> World:
    """The parts of the running process."""
    world: World = request.app.state.world
    return world


def answer(status: int, body: object) -> Response:
    """An answer in JSON."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return Response(content, status_code=status, media_type="application/json")


def failed(status: int, error: str) -> Response:
    """A refusal, as the gateway words it."""
    return answer(status, {"status": "failed", "error": error})


# Methods


async def pay(request: Request) -> Response:
    """``POST /mock-gateway/pay``: take a deposit, or send a withdrawal out."""
    world = world_of(request)
    refusal = _refusal(request, world)
    if refusal is not None:
        return refusal
    body = await request.body()
    if len(body) > BODY_BYTES_MAX:
        return failed(413, "the body is too large")
    try:
        transfer = _read(body, request.headers.get("idempotency-key"))
    except (BadRequestError, AmountError) as error:
        return failed(400, str(error))
    faults = Faults(world, Operation(transfer.type), transfer)
    fault = await faults.before(request)
    if fault is not None:
        return fault
    status, content = _carry_out(world, transfer, faults)
    if faults.strikes(Switch.DUPLICATE):
        # The request arrives once more. It has an effect of its own only when it carries no key.
        status, content = _carry_out(world, transfer, faults)
    return await faults.after(request, answer(status, content))


async def find(request: Request) -> Response:
    """``GET /mock-gateway/payments/{payment_id}``: how a payment ended, if it did."""
    world = world_of(request)
    payment_id = str(request.path_params["payment_id"])
    refusal = _refusal(request, world)
    if refusal is not None:
        return refusal
    faults = Faults(world, Operation.FIND, Transfer(payment_id, "find", 0, ""))
    fault = await faults.before(request)
    if fault is not None:
        return fault
    found = world.store.outcome(payment_id)
    if found is None:
        return await faults.after(request, answer(404, {"error": "not_found"}))
    event, kind, transaction_id, minor, currency = found
    shown = {
        "payment_id": payment_id, "type": kind, "status": "success" if event == MADE else "failed",
        "transaction_id": transaction_id, "amount": format_amount(minor), "currency": currency,
    }  # fmt: skip
    return await faults.after(request, answer(200, shown))


async def balance(request: Request) -> Response:
    """``GET /mock-gateway/balance?currency=RUB``: what withdrawals can be paid from."""
    world = world_of(request)
    refusal = _refusal(request, world)
    if refusal is not None:
        return refusal
    currency = request.query_params.get("currency", "RUB").upper()
    if not _CURRENCY.fullmatch(currency):
        return failed(400, "currency must have three letters")
    faults = Faults(world, Operation.BALANCE, Transfer(f"balance/{currency}", "balance", 0, currency))
    fault = await faults.before(request)
    if fault is not None:
        return fault
    shown = {"balance": format_amount(world.store.balance(currency)), "currency": currency}
    return await faults.after(request, answer(200, shown))


# What a payment does


def _carry_out(world: World, transfer: Transfer, faults: Faults) -> tuple[int, bytes]:
    """Move the money, or answer as the key was answered before. All of it is one commit."""
    store = world.store
    with store.unit():
        kept = None if transfer.key is None else store.answer(transfer.key)
        if kept is not None:
            fingerprint, status, body = kept
            if fingerprint != transfer.fingerprint():
                return 409, orjson.dumps({"status": "failed", "error": "idempotency_key_reused"})
            store.log("call.repeated", transfer, status=status)
            return status, body
        status, shown = _move(world, transfer, faults)
        body = orjson.dumps(shown)
        store.keep_answer(transfer, status, body)
        return status, body


def _move(world: World, transfer: Transfer, faults: Faults) -> tuple[int, dict[str, str]]:
    store, status, error = world.store, 200, ""
    out = transfer.type == Operation.WITHDRAW
    if faults.strikes(Switch.DECLINE):
        status, error = 422, world.chaos.options.decline_error
    elif out and store.balance(transfer.currency) < transfer.amount:
        status, error = 402, "insufficient_balance"
    if error:
        store.log(DECLINED, transfer, error=error, status=status, recipient=transfer.recipient)
        return status, {"status": "failed", "error": error}
    transaction_id = f"mock_{secrets.token_hex(12)}"
    store.add(transfer.currency, -transfer.amount if out else transfer.amount)
    store.log(MADE, transfer, transaction_id, recipient=transfer.recipient)
    return status, {"status": "success", "transaction_id": transaction_id, "payment_id": transfer.payment_id}


class Faults:
    """What goes wrong with one call."""

    def __init__(self, world: World, operation: Operation, transfer: Transfer) -> None:
        self._world, self._operation, self._transfer = world, operation, transfer
        self._subject = ""
        if not world.chaos.calm:
            subject = f"{operation}/{transfer.key or transfer.payment_id}"
            self._subject = f"{subject}/{world.store.next_try(subject)}"

    def strikes(self, switch: Switch) -> bool:
        """Decide one fault, and keep what is left of the armed ones."""
        chaos = self._world.chaos
        if chaos.calm or not chaos.strikes(switch, self._operation, self._subject, self._transfer.payment_id):
            return False
        self._world.keep_chaos()
        self._world.store.log("fault", self._transfer, switch=switch, operation=self._operation)
        return True

    async def before(self, request: Request) -> Response | None:
        """The answer to a call that is not carried out."""
        if self.strikes(Switch.TOO_MANY):
            return Response(status_code=429, headers={"Retry-After": "1"})
        if self.strikes(Switch.ERROR_BEFORE):
            return Response("error", status_code=self._world.chaos.error_status(self._subject))
        if self.strikes(Switch.TIMEOUT_BEFORE):
            return await silence(request, self._world.chaos.options.timeout_ms)
        return None

    async def after(self, request: Request, reply: Response) -> Response:
        """What becomes of the answer to a call that was carried out."""
        if reply.status_code != 200:
            return reply
        if self.strikes(Switch.ERROR_AFTER_SUCCESS):
            return Response("error", status_code=self._world.chaos.error_status(self._subject))
        if self.strikes(Switch.TIMEOUT_AFTER_SUCCESS):
            return await silence(request, self._world.chaos.options.timeout_ms)
        return reply


async def silence(request: Request, timeout_ms: int) -> Response:
    """Answer nothing for so long, or until the client gives up."""
    until_s = time.monotonic() + timeout_ms / 1000
    while (rest_s := until_s - time.monotonic()) > 0 and not await request.is_disconnected():  # noqa: ASYNC110
        await asyncio.sleep(min(rest_s, _SILENCE_STEP_S))
    return Response(status_code=504)


# Reading requests


def _refusal(request: Request, world: World) -> Response | None:
    if _is_known(request.headers.get("authorization", ""), world.shops):
        return None
    headers = {"WWW-Authenticate": 'Basic realm="mock-gateway"'}
    return Response(b'{"status":"failed","error":"unauthorized"}', 401, headers, "application/json")


def _is_known(header: str, shops: dict[str, Shop]) -> bool:
    scheme, _, value = header.partition(" ")
    if scheme.lower() != "basic":
        return False
    try:
        user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return False
    shop = shops.get(user)
    expected = shop.api_secret.get_secret_value() if shop else ""
    same = hmac.compare_digest(expected.encode(), password.encode())
    return shop is not None and same


def _read(body: bytes, key: str | None) -> Transfer:
    """The payment of a body. Numbers of JSON are read as decimals, never as floats."""
    try:
        decoded = json.loads(body, parse_float=Decimal)
    except ValueError as error:
        raise BadRequestError("the body is not JSON") from error
    if not isinstance(decoded, dict):
        raise BadRequestError("the body is not an object")
    kind = decoded.get("type")
    if kind not in ("deposit", "withdraw"):
        raise BadRequestError("type must be deposit or withdraw")
    currency = decoded.get("currency", "RUB")
    if not isinstance(currency, str) or not _CURRENCY.fullmatch(currency.upper()):
        raise BadRequestError("currency must have three letters")
    recipient = decoded.get("recipient")
    if recipient is not None and not isinstance(recipient, str):
        raise BadRequestError("recipient must be text")
    if key is not None and not 0 < len(key) <= TEXT_MAX:
        raise BadRequestError(f"the Idempotency-Key must have 1 to {TEXT_MAX} characters")
    return Transfer(
        payment_id=_reference(decoded.get("payment_id")), type=kind, amount=parse_amount(decoded.get("amount")),
        currency=currency.upper(), key=key, recipient=recipient[:TEXT_MAX] if recipient else None,
    )  # fmt: skip


def _reference(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise BadRequestError("payment_id must be text or a whole number")
    text = str(value)
    if not 0 < len(text) <= TEXT_MAX or "/" in text:
        raise BadRequestError(f"payment_id must have 1 to {TEXT_MAX} characters and no slash")
    return text
