"""Drinks of a machine: sizes, prices, availability and fiscal attributes."""

from typing import Any

from fastapi import APIRouter, Response

from copeck.kernel.errors import InvalidValueError
from copeck.web.etag import IfMatch, etag_for
from copeck.web.money import MoneyModel
from copeck.web.pagination import Page
from copeck.web.problems import Problem, problem_responses
from device_bridge.api import finding, show
from device_bridge.api.dependencies import (
    PREFIX,
    READS,
    WRITES,
    Caller,
    Ctx,
    DeviceIdPath,
    DrinkIdPath,
    Keeper,
    Reader,
)
from device_bridge.api.device_models import (
    DrinkChange,
    DrinkCreate,
    DrinkModel,
    DrinkStartRequest,
    DrinkStopRequest,
)
from device_bridge.api.models import Size
from device_bridge.domain.model import Drink
from device_bridge.handlers import catalogue, stops
from device_bridge.handlers.context import Context, Work, in_transaction
from device_bridge.store import drinks
from device_bridge.store.devices import Shown

router = APIRouter(tags=["drinks"], prefix="/devices/{device_id}/drinks")


def _minor(price: MoneyModel, currency: str) -> int:
    if price.currency != currency:
        raise InvalidValueError(f"the merchant sells in {currency}", "price.currency")
    return price.money().minor


def _answer(found: tuple[Drink, Shown], response: Response) -> DrinkModel:
    drink, machine = found
    response.headers["ETag"] = etag_for(drink.version)
    return show.drink(drink, machine.device, machine.merchant.currency)


async def _all(context: Context, caller: Caller, device_id: str) -> list[DrinkModel]:
    async with context.database.reading() as tx:
        machine = await finding.device(tx, caller, device_id)
        found = await drinks.of_device(tx, device_id)
    return [show.drink(one, machine.device, machine.merchant.currency) for one in found]


@router.get("", summary="List a machine's drinks", dependencies=READS)
async def list_drinks(device_id: DeviceIdPath, caller: Reader, context: Ctx) -> Page[DrinkModel]:
    """Show every drink of a machine in every size, with its prices and what it costs now."""
    return Page(items=await _all(context, caller, device_id))


@router.post("", status_code=201, summary="Add a drink", responses=problem_responses(404, 409), dependencies=WRITES)
async def create_drink(
    device_id: DeviceIdPath, body: DrinkCreate, caller: Keeper, context: Ctx, response: Response
) -> DrinkModel:
    """Add a drink in one size. It is sold when a price is known by the machine's rule, and never for nothing."""

    async def work(work: Work) -> tuple[Drink, Shown]:
        machine = await finding.own_device(work.tx, caller, device_id)
        currency = machine.merchant.currency
        if await drinks.find(work.tx, device_id, body.drink_id, body.size) is not None:
            raise Problem(409, "drink-exists", "The drink is there already", "Change it, with its ETag", "drink_id")
        values = {
            "name": body.name,
            "price_minor": _minor(body.price, currency) if body.price else None,
            "available": body.available,
            **body.fiscal.model_dump(),
        }
        made = await catalogue.put_drink(work, device_id, body.drink_id, body.size, if_match=None, values=values)
        return made, machine

    made: tuple[Drink, Shown] = await in_transaction(context, caller.actor, work)
    response.headers["Location"] = f"{PREFIX}/devices/{device_id}/drinks/{body.drink_id}/{body.size}"
    return _answer(made, response)


@router.get("/{drink_id}/{size}", summary="Show a drink", dependencies=READS)
async def get_drink(
    device_id: DeviceIdPath, drink_id: DrinkIdPath, size: Size, caller: Reader, context: Ctx, response: Response
) -> DrinkModel:
    """Show a drink in one size with the `ETag` to change it with."""
    async with context.database.reading() as tx:
        machine = await finding.device(tx, caller, device_id)
        found = await finding.drink(tx, device_id, drink_id, size)
    return _answer((found, machine), response)


@router.patch("/{drink_id}/{size}", summary="Change a drink", dependencies=WRITES)
async def change_drink(
    device_id: DeviceIdPath,
    drink_id: DrinkIdPath,
    size: Size,
    body: DrinkChange,
    if_match: IfMatch,
    caller: Keeper,
    context: Ctx,
    response: Response,
) -> DrinkModel:
    """Change a drink's name, price, availability or fiscal attributes. Orders that are made keep their price."""

    async def work(work: Work) -> tuple[Drink, Shown]:
        machine = await finding.own_device(work.tx, caller, device_id)
        currency = machine.merchant.currency
        await finding.drink(work.tx, device_id, drink_id, size)
        values: dict[str, Any] = body.model_dump(include={"name", "available"}, exclude_none=True)
        if body.price is not None:
            values["price_minor"] = _minor(body.price, currency)
        if body.without_price:
            values["price_minor"] = None
        if body.fiscal is not None:
            values |= body.fiscal.model_dump(exclude_unset=True)
        changed = await catalogue.put_drink(work, device_id, drink_id, size, if_match=if_match, values=values)
        return changed, machine

    return _answer(await in_transaction(context, caller.actor, work), response)


@router.delete("/{drink_id}/{size}", status_code=204, summary="Take a drink away", dependencies=WRITES)
async def delete_drink(
    device_id: DeviceIdPath, drink_id: DrinkIdPath, size: Size, caller: Keeper, context: Ctx
) -> None:
    """Take a drink in one size out of the catalogue. Orders of it stay as they are."""

    async def work(work: Work) -> None:
        await finding.own_device(work.tx, caller, device_id)
        await finding.drink(work.tx, device_id, drink_id, size)
        await catalogue.remove_drink(work, device_id, drink_id, size)

    await in_transaction(context, caller.actor, work)


@router.post("/{drink_id}/stop", summary="Stop a drink", dependencies=WRITES)
async def stop_drink(
    device_id: DeviceIdPath, drink_id: DrinkIdPath, body: DrinkStopRequest, caller: Keeper, context: Ctx
) -> Page[DrinkModel]:
    """Sell no more of a drink at this machine, at once; orders of it that are not paid yet are annulled."""

    async def work(work: Work) -> None:
        await finding.own_device(work.tx, caller, device_id)
        await stops.stop_drink(work, device_id, drink_id, body.size, body.reason)

    await in_transaction(context, caller.actor, work)
    return Page(items=[one for one in await _all(context, caller, device_id) if one.drink_id == drink_id])


@router.post("/{drink_id}/start", summary="Sell a drink again", dependencies=WRITES)
async def start_drink(
    device_id: DeviceIdPath,
    drink_id: DrinkIdPath,
    caller: Keeper,
    context: Ctx,
    body: DrinkStartRequest | None = None,
) -> Page[DrinkModel]:
    """Sell a drink again that was stopped."""

    async def work(work: Work) -> None:
        await finding.own_device(work.tx, caller, device_id)
        await stops.start_drink(work, device_id, drink_id, body.size if body else None)

    await in_transaction(context, caller.actor, work)
    return Page(items=[one for one in await _all(context, caller, device_id) if one.drink_id == drink_id])
