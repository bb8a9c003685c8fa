"""Addresses that only a sandbox has: the log, the switches, the balance."""

from __future__ import annotations

from typing import Annotated

import orjson
from fastapi import APIRouter, Body, HTTPException, Query, Request, Response

from sandbox.providers.mock.chaos import Armed, Chaos
from sandbox.providers.mock.gateway import World, answer, world_of
from sandbox.providers.mock.store import MADE
from sandbox.providers.money import BALANCE_MINOR_MAX, AmountError, format_amount, parse_amount

router = APIRouter(prefix="/sandbox")
LOG_ROWS_MAX = 10_000


# The log


@router.get("/log")
async def log(
    request: Request,
    after: int = 0,
    limit: int = Query(1000, ge=1, le=LOG_ROWS_MAX),
    event: str | None = None,
    payment_id: str | None = None,
) -> Response:
    """Facts in the order in which they happened; ``next`` is the value of ``after`` for the next page."""
    names = ("seq", "at_ms", "event", "payment_id", "key", "type", "amount_minor", "currency", "transaction_id")
    wanted = [("event = ?", event), ("payment_id = ?", payment_id)]
    given = [(condition, value) for condition, value in wanted if value is not None]
    where = " AND ".join(["seq > ?", *(condition for condition, _value in given)])
    rows = world_of(request).store.rows(
        f"SELECT {', '.join(names)}, details FROM log WHERE {where} ORDER BY seq LIMIT ?",  # noqa: S608 - text is ours
        (after, *(value for _condition, value in given), limit),
    )
    items = [dict(zip(names, row, strict=False)) | orjson.loads(row[-1]) for row in rows]
    for item in items:
        item["amount"] = None if item["amount_minor"] is None else format_amount(item["amount_minor"])
    return answer(200, {"items": items, "next": items[-1]["seq"] if items else after, "more": len(items) == limit})


@router.get("/totals")
async def totals(request: Request, type: str | None = None) -> Response:
    """How many transfers were really made per reference and what they amount to, folded from the log."""
    rows = world_of(request).store.rows(
        "SELECT payment_id, type, currency, count(*), sum(amount_minor) FROM log"
        " WHERE event = ? AND (? IS NULL OR type = ?) GROUP BY payment_id, type, currency ORDER BY min(seq)",
        (MADE, type, type),
    )
    names = ("payment_id", "type", "currency", "transfers", "amount_minor")
    items = [dict(zip(names, row, strict=True)) | {"amount": format_amount(row[-1])} for row in rows]
    sums = {"deposit": 0, "withdraw": 0}
    for item in items:
        sums[item["type"]] += item["amount_minor"]
    return answer(200, {
        "items": items,
        "deposited_minor": sums["deposit"],
        "withdrawn_minor": sums["withdraw"],
        "repeated": [item["payment_id"] for item in items if item["transfers"] > 1],
    })  # fmt: skip


# The balance


def _balances(world: World) -> Response:
    return answer(200, {currency: format_amount(minor) for currency, minor in world.store.balances().items()})


@router.get("/balance")
async def get_balance(request: Request) -> Response:
    """What there is of every currency."""
    return _balances(world_of(request))


@router.put("/balance")
async def put_balance(request: Request, wanted: Annotated[dict[str, str], Body()]) -> Response:
    """Set balances of the currencies named, as ``{"RUB": "0.00"}``."""
    world = world_of(request)
    try:
        minor = {
            currency: parse_amount(value, least_minor=0, most_minor=BALANCE_MINOR_MAX)
            for currency, value in wanted.items()
        }
    except AmountError as error:
        raise HTTPException(422, str(error)) from error
    with world.store.unit():
        for currency, value in minor.items():
            world.store.set_balance(currency.upper(), value)
        world.store.log("balance.set", balances=minor)
    return _balances(world)


# Chaos


def _keep(world: World, chaos: Chaos) -> Response:
    shown = chaos.model_dump(mode="json")
    with world.store.unit():
        world.chaos = chaos
        world.keep_chaos()
        world.store.log("chaos.set", chaos=shown)
    return answer(200, shown)


@router.get("/chaos")
async def get_chaos(request: Request) -> Response:
    """What is switched on."""
    return answer(200, world_of(request).chaos.model_dump(mode="json"))


@router.put("/chaos")
async def put_chaos(request: Request, chaos: Chaos) -> Response:
    """Replace everything that is switched on."""
    return _keep(world_of(request), chaos)


@router.post("/chaos/once")
async def arm(request: Request, armed: Armed) -> Response:
    """Arm one more fault, and leave the rest as it is."""
    world = world_of(request)
    return _keep(world, world.chaos.model_copy(update={"once": [*world.chaos.once, armed]}))


@router.delete("/chaos")
async def calm(request: Request) -> Response:
    """Switch everything off."""
    return _keep(world_of(request), Chaos())


@router.post("/reset")
async def reset(request: Request) -> Response:
    """Forget transfers, answers, faults and the log, and open with the first balance."""
    world = world_of(request)
    world.store.reset()
    world.chaos = Chaos()
    return answer(200, {"reset": True})
