"""What every method shares: Basic auth, form or JSON parameters, X-Request-ID, the limit of parallel requests."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

import orjson
from fastapi import Request, Response

from sandbox.providers.cloudpayments.api.models import payment_answer
from sandbox.providers.cloudpayments.cards import CardError
from sandbox.providers.cloudpayments.chaos import Switch
from sandbox.providers.cloudpayments.delivery import Delivery
from sandbox.providers.cloudpayments.engine import Engine, RefusedError
from sandbox.providers.cloudpayments.payouts import Payouts
from sandbox.providers.cloudpayments.settings import Settings, Shop
from sandbox.providers.cloudpayments.store import Store, now_ms
from sandbox.providers.cloudpayments.subscriptions import Subscriptions
from sandbox.providers.money import AmountError, parse_amount

FIELDS_MAX = 150_000
TRIES_REMEMBERED_MAX = 100_000
_SILENCE_STEP_MS = 100
Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as bytes: kept and repeated as it was first sent, amounts to the digit."""

    body: bytes
    success: bool


@dataclass(slots=True)
class World:
    """The parts that requests work with; one per process, kept in ``app.state``."""

    settings: Settings
    shops: dict[str, Shop]
    store: Store
    delivery: Delivery
    engine: Engine
    payouts: Payouts
    subscriptions: Subscriptions


def world_of(request: Request) -> World:
    """The parts of the running process."""
    world: World = request.app.state.world
    return world


@dataclass(slots=True)
class Call:
    """One authenticated request. Parameter names are matched without regard to case."""

    world: World
    shop: Shop
    parameters: dict[str, Any]
    request_id: str | None
    base_url: str

    def text(self, name: str) -> str | None:
        """An optional parameter as text; empty counts as absent."""
        value = self.parameters.get(name.lower())
        if value is None or value == "":
            return None
        if isinstance(value, dict | list):
            return orjson.dumps(value, default=str).decode()
        return str(value)

    def required(self, name: str) -> str:
        """A parameter that must be there."""
        value = self.text(name)
        if value is None:
            raise RefusedError(f"{name} is required")
        return value

    def integer(self, name: str) -> int:
        """A required whole number; fractions are rounded silently, as the provider does."""
        try:
            return round(Decimal(self.required(name)))
        except ArithmeticError as error:
            raise RefusedError(f"{name} must be a number") from error

    def amount(self, name: str = "Amount") -> int:
        """A required amount, in kopecks."""
        self.required(name)
        return parse_amount(self.parameters[name.lower()])


Handler = Callable[[Call], Awaitable[Answer]]


class Gate:
    """Counts requests under way per terminal, and makes twins of one request wait for the first."""

    def __init__(self) -> None:
        self._running: dict[str, int] = {}
        self._first: dict[tuple[str, str], asyncio.Future[Reply]] = {}
        self._tries: dict[str, int] = {}

    async def serve(self, request: Request, operation: str, handler: Handler) -> Response:
        """Run one API method from the raw request to the raw answer."""
        world = world_of(request)
        shop = _authenticate(request, world)
        if shop is None:
            return Response(status_code=401, headers={"WWW-Authenticate": 'Basic realm="CloudPayments"'})
        body = await request.body()
        running = self._running.get(shop.public_id, 0)
        if running >= shop.concurrency_limit:
            return Response(status_code=429)
        self._running[shop.public_id] = running + 1
        try:
            return await self._limited(request, world, shop, operation, handler, body)
        finally:
            self._running[shop.public_id] -= 1

    async def _limited(
        self, request: Request, world: World, shop: Shop, operation: str, handler: Handler, body: bytes
    ) -> Response:
        try:
            parameters = _parameters(request, body)
        except ValueError:
            return Response(status_code=400)
        request_id = request.headers.get("x-request-id") or None
        call = Call(world, shop, parameters, request_id, base_url(request))
        subject = self._try_of(request_id) if request_id else f"{operation}/{hash(body)}/{now_ms()}"
        strikes, chaos = world.delivery.chaos.strikes, world.delivery.chaos
        about: dict[str, Any] = {"invoice_id": call.text("InvoiceId"), "public_id": shop.public_id}
        if strikes(Switch.TOO_MANY, operation, subject, **about):
            return Response(status_code=429)
        if strikes(Switch.ERROR_BEFORE, operation, subject, **about):
            return Response("Internal Server Error", status_code=500)
        reply = await self._once(call, handler)
        if reply.success and strikes(Switch.ERROR_AFTER_SUCCESS, operation, subject, **about):
            return Response("Internal Server Error", status_code=500)
        if reply.success and strikes(Switch.TIMEOUT_AFTER_SUCCESS, operation, subject, **about):
            return await silence(request, chaos.options.timeout_ms)
        return Response(reply.body, media_type="application/json")

    def _try_of(self, request_id: str) -> str:
        """Name a request for chaos: one that is repeated meets a fate of its own each time."""
        count = self._tries[request_id] = self._tries.pop(request_id, 0) + 1
        if len(self._tries) > TRIES_REMEMBERED_MAX:
            del self._tries[next(iter(self._tries))]
        return request_id if count == 1 else f"{request_id}/{count}"

    async def _once(self, call: Call, handler: Handler) -> Reply:
        """Run the handler unless this X-Request-ID has been answered within the hour."""
        if call.request_id is None:
            return await _run(call, handler)
        key = (call.shop.public_id, call.request_id)
        if key in self._first:
            return await asyncio.shield(self._first[key])
        remembered = _remembered(call, key)
        if remembered is not None:
            return remembered
        first: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._first[key] = first
        try:
            reply = await _run(call, handler)
            with call.world.store.unit():
                call.world.store.write(
                    "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)",
                    (*key, reply.body, int(reply.success), now_ms()),
                )
            first.set_result(reply)
            return reply
        finally:
            del self._first[key]
            if not first.done():
                first.cancel()


def _remembered(call: Call, key: tuple[str, str]) -> Reply | None:
    """The answer kept for this id; after a crash, that of the operation which the id had started."""
    since = now_ms() - int(call.world.settings.request_id_ttl_s * 1000)
    rows = call.world.store.rows(
        "SELECT body, success FROM answers WHERE public_id = ? AND request_id = ? AND at_ms >= ?", (*key, since)
    )
    if rows:
        return Reply(bytes(rows[0][0]), bool(rows[0][1]))
    tx = call.world.store.by_request(*key, since)
    return None if tx is None else _reply(payment_answer(tx, call.shop, call.base_url))


async def _run(call: Call, handler: Handler) -> Reply:
    try:
        return _reply(await handler(call))
    except (RefusedError, AmountError, CardError) as refusal:
        return _reply({"Success": False, "Message": str(refusal)})


def _reply(answer: Answer) -> Reply:
    return Reply(orjson.dumps(answer), bool(answer["Success"]))


def _authenticate(request: Request, world: World) -> Shop | None:
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    shop = world.shops.get(user)
    expected = shop.api_secret.get_secret_value() if shop else ""
    same = hmac.compare_digest(expected.encode(), password.encode())
    return shop if shop and same else None


def _parameters(request: Request, body: bytes) -> dict[str, Any]:
    """Parameters by lower-case name. Numbers of JSON are read as decimals, never as floats."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
        decoded = json.loads(body or b"{}", parse_float=Decimal)
        if not isinstance(decoded, dict):
            raise ValueError("body must be an object")
        return {str(name).lower(): value for name, value in decoded.items()}
    pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=FIELDS_MAX)
    pairs += list(request.query_params.multi_items())
    parameters: dict[str, Any] = {}
    for name, value in pairs:
        plain = name.lower().removesuffix("[]")
        if name.endswith("[]"):
            parameters.setdefault(plain, []).append(value)
        else:
            parameters[plain] = value
    return parameters


async def silence(request: Request, timeout_ms: int) -> Response:
    """Answer nothing for so long, or until the client gives up."""
    until = now_ms() + timeout_ms
    while (rest_ms := until - now_ms()) > 0 and not await request.is_disconnected():  # noqa: ASYNC110
        await asyncio.sleep(min(rest_ms, _SILENCE_STEP_MS) / 1000)
    return Response(status_code=504)


def base_url(request: Request) -> str:
    """Where a browser reaches this process."""
    return (world_of(request).settings.public_url or str(request.base_url)).rstrip("/")
