"""Machines: what they are, whether they sell, their keys and their accounts at the broker."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response

from copeck.web.etag import IfMatch, etag_for
from copeck.web.pagination import Cursor, Page
from copeck.web.problems import Problem, not_found, problem_responses
from device_bridge.api import finding, show
from device_bridge.api.dependencies import (
    PREFIX,
    READS,
    WRITES,
    Caller,
    Ctx,
    DeviceIdPath,
    Keeper,
    Reader,
    after,
    word,
)
from device_bridge.api.device_models import (
    DeviceChange,
    DeviceCreate,
    DeviceCreatedModel,
    DeviceModel,
    LinkKeyModel,
    StopRequest,
)
from device_bridge.api.models import Search
from device_bridge.domain.model import Device
from device_bridge.handlers import catalogue, removals, stops
from device_bridge.handlers.context import Context, Work, in_transaction
from device_bridge.store import devices

router = APIRouter(tags=["devices"])


def merchant_of(caller: Caller, wanted: UUID | None) -> UUID:
    """Return whose machine a new one is: a merchant's own, or as a manager says."""
    if caller.is_manager:
        if wanted is None:
            raise Problem(422, "invalid-value", "A value is not valid", "Say whose machine it is", "merchant_id")
        return wanted
    if wanted not in (None, caller.user_id):
        raise not_found("There is no such merchant")
    return caller.user_id


async def _answer(context: Context, changed: Device, response: Response) -> DeviceModel:
    async with context.database.reading() as tx:
        state = await devices.state_of(tx, changed.id)
    response.headers["ETag"] = etag_for(changed.version)
    return show.device(context, changed, state, context.clock.now())


@router.post(
    "/devices", status_code=201, summary="Add a machine", responses=problem_responses(404, 409), dependencies=WRITES
)
async def create_device(body: DeviceCreate, caller: Keeper, context: Ctx, response: Response) -> DeviceCreatedModel:
    """Add a machine. Its key is in this answer and in no other one: give it to the machine."""
    made: Device = await in_transaction(
        context,
        caller.actor,
        lambda work: catalogue.create_device(
            work,
            device_id=body.id,
            merchant_id=merchant_of(caller, body.merchant_id),
            name=body.name,
            model=body.model,
            location=body.location,
            time_zone=body.time_zone,
            driver=dict(body.driver),
            payment_scenario=body.payment_scenario,
            texts={state: texts.model_dump() for state, texts in body.texts.items()},
            price_rule=body.price_rule,
            by_manager=caller.is_manager,
        ),
    )
    response.headers["Location"] = f"{PREFIX}/devices/{made.id}"
    shown = await _answer(context, made, response)
    return DeviceCreatedModel(**shown.model_dump(), link_key=context.device_key(made).hex())


@router.get("/devices", summary="List machines", dependencies=READS)
async def list_devices(
    caller: Reader,
    context: Ctx,
    cursor: Cursor,
    search: Annotated[Search, Query(description="A part of the id, the name or the location.")] = None,
    merchant_id: UUID | None = None,
    model: Annotated[str | None, Query(max_length=40, pattern=r"^[a-z0-9_.-]*$")] = None,
    selling: Annotated[bool | None, Query(description="False: those that were stopped.")] = None,
) -> Page[DeviceModel]:
    """Show machines by their ids: managers all, merchants their own."""
    async with context.database.reading() as tx:
        found = await devices.list_(
            tx,
            merchant_id=caller.narrowed(merchant_id),
            text=search,
            model=model,
            selling=selling,
            after=after(cursor, word),
            limit=cursor.limit + 1,
        )
    now = context.clock.now()
    return cursor.page(found, lambda one: (one[0].id,), lambda one: show.device(context, one[0], one[1], now))


@router.get("/devices/{device_id}", summary="Show a machine", dependencies=READS)
async def get_device(device_id: DeviceIdPath, caller: Reader, context: Ctx, response: Response) -> DeviceModel:
    """Show a machine, how it is, and the `ETag` to change it with."""
    async with context.database.reading() as tx:
        found = await finding.device(tx, caller, device_id)
    response.headers["ETag"] = etag_for(found.device.version)
    return show.device(context, found.device, found.state, context.clock.now())


@router.patch("/devices/{device_id}", summary="Change a machine", dependencies=WRITES)
async def change_device(
    device_id: DeviceIdPath, body: DeviceChange, if_match: IfMatch, caller: Keeper, context: Ctx, response: Response
) -> DeviceModel:
    """Change a machine. Whose it is does not change: its orders are its merchant's."""
    changes: dict[str, Any] = body.model_dump(exclude_none=True)

    async def work(work: Work) -> Device:
        await finding.own_device(work.tx, caller, device_id)
        return await catalogue.change_device(work, device_id, if_match, changes, by_manager=caller.is_manager)

    changed: Device = await in_transaction(context, caller.actor, work)
    return await _answer(context, changed, response)


@router.delete(
    "/devices/{device_id}",
    status_code=204,
    summary="Delete a machine",
    responses=problem_responses(409),
    dependencies=WRITES,
)
async def delete_device(device_id: DeviceIdPath, if_match: IfMatch, caller: Keeper, context: Ctx) -> None:
    """Delete a machine that never sold anything. One that did is stopped instead: its orders stay.

    Its account at the broker goes right after it. Where the broker is away that is done later, and nobody is given the
    code before: whoever takes it again is not spoken for by the old machine.
    """

    async def work(work: Work) -> None:
        await finding.own_device(work.tx, caller, device_id)
        await removals.remove_device(work, device_id, if_match)

    await in_transaction(context, caller.actor, work)
    await removals.revoke_account(context, device_id)


@router.post("/devices/{device_id}/stop", summary="Stop a machine", dependencies=WRITES)
async def stop_device(
    device_id: DeviceIdPath, body: StopRequest, caller: Keeper, context: Ctx, response: Response
) -> DeviceModel:
    """Sell nothing more at this machine, at once. Orders that are not paid yet are annulled; paid ones are made."""

    async def work(work: Work) -> Device:
        await finding.own_device(work.tx, caller, device_id)
        return await stops.stop_device(work, device_id, body.reason)

    changed: Device = await in_transaction(context, caller.actor, work)
    return await _answer(context, changed, response)


@router.post("/devices/{device_id}/start", summary="Start a machine again", dependencies=WRITES)
async def start_device(device_id: DeviceIdPath, caller: Keeper, context: Ctx, response: Response) -> DeviceModel:
    """Let a machine sell again, also one that had stopped by itself: its failures are forgotten."""

    async def work(work: Work) -> Device:
        await finding.own_device(work.tx, caller, device_id)
        return await stops.start_device(work, device_id)

    changed: Device = await in_transaction(context, caller.actor, work)
    return await _answer(context, changed, response)


@router.post("/devices/{device_id}/link-key", summary="Give a machine a new key", dependencies=WRITES)
async def rotate_link_key(
    device_id: DeviceIdPath, if_match: IfMatch, caller: Keeper, context: Ctx, response: Response
) -> LinkKeyModel:
    """Replace the key of a machine's links and commands. What the old one signed is refused from now on."""

    async def work(work: Work) -> Device:
        await finding.own_device(work.tx, caller, device_id)
        return await catalogue.rotate_device_key(work, device_id, if_match)

    changed: Device = await in_transaction(context, caller.actor, work)
    response.headers["ETag"] = etag_for(changed.version)
    response.headers["Cache-Control"] = "no-store"
    return LinkKeyModel(device_id=device_id, link_key=context.device_key(changed).hex(), version=changed.version)
