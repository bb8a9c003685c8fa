"""Machines' accounts at the broker: made, renewed and revoked here; a password is shown once and kept nowhere."""

from fastapi import APIRouter, Response

from copeck.kernel.errors import NotFoundError
from copeck.web.problems import problem_responses, unavailable
from device_bridge.api import finding
from device_bridge.api.dependencies import PREFIX, WRITES, Caller, Ctx, DeviceIdPath, Keeper
from device_bridge.api.device_models import BrokerPasswordModel
from device_bridge.domain.model import Device
from device_bridge.drivers.accounts import rights_of, username_of
from device_bridge.handlers import removals
from device_bridge.handlers.context import Context, Work, in_transaction
from device_bridge.store import devices

router = APIRouter(tags=["broker accounts"])

PATH = "/devices/{device_id}/broker-account"
_RESPONSES = problem_responses(404, 503)


async def _asked(context: Context, caller: Caller, device_id: str, action: str) -> Device:
    """Note that somebody asks for it, and return for which machine; 503 where no broker of ours is known."""
    if context.accounts is None:
        raise unavailable("There is no broker of machines here", retry_after_s=30)

    async def work(work: Work) -> Device:
        found = await finding.own_device(work.tx, caller, device_id)
        await work.note(f"broker_account.{action}", "device", device_id)
        return found.device

    asked: Device = await in_transaction(context, caller.actor, work)
    return asked


async def _given(context: Context, asked: Device, password: str, response: Response) -> BrokerPasswordModel:
    """Show a new password, to whom the machine is still: it may have been deleted meanwhile, and its code taken again.

    The next owner's account is not revoked then. But where the broker did what it was asked only after they had made
    theirs, its password was replaced by one that nobody is shown: they have to ask for another.
    """
    device_id = asked.id
    async with context.database.reading() as tx:
        known = await devices.find(tx, device_id)
    if known is None:
        await removals.revoke_made(context, asked)
    if known is None or (known.merchant_id, known.created_at) != (asked.merchant_id, asked.created_at):
        raise NotFoundError("The machine was deleted meanwhile.")
    response.headers["Cache-Control"] = "no-store"
    response.headers["Location"] = f"{PREFIX}/devices/{device_id}"
    rights = rights_of(device_id)
    return BrokerPasswordModel(
        device_id=device_id,
        username=username_of(device_id),
        client_id=username_of(device_id),
        password=password,
        publishes=sorted(one["topic"] for one in rights if one["acltype"] == "publishClientSend"),
        subscribes=sorted(one["topic"] for one in rights if one["acltype"] == "subscribeLiteral"),
    )


@router.post(
    PATH, status_code=201, summary="Give a machine an account at the broker", responses=_RESPONSES, dependencies=WRITES
)
async def create_account(
    device_id: DeviceIdPath, caller: Keeper, context: Ctx, response: Response
) -> BrokerPasswordModel:
    """Make the machine's account, with rights to its own topics alone. The password is in this answer only.

    When there is one already, it gets a new password: a password that went astray is of no use any more.
    """
    asked = await _asked(context, caller, device_id, "create")
    return await _given(context, asked, await context.accounts.create(device_id), response)


@router.post(
    PATH + "/rotate", summary="Give a machine's account a new password", responses=_RESPONSES, dependencies=WRITES
)
async def rotate_account(
    device_id: DeviceIdPath, caller: Keeper, context: Ctx, response: Response
) -> BrokerPasswordModel:
    """Replace the password; the machine is thrown off the broker until it knows the new one."""
    asked = await _asked(context, caller, device_id, "rotate")
    return await _given(context, asked, await context.accounts.rotate(device_id), response)


@router.delete(PATH, status_code=204, summary="Revoke a machine's account", responses=_RESPONSES, dependencies=WRITES)
async def revoke_account(device_id: DeviceIdPath, caller: Keeper, context: Ctx) -> None:
    """Throw a machine off the broker and let it in no more. Doing it again changes nothing."""
    await _asked(context, caller, device_id, "revoke")
    await context.accounts.revoke(device_id)
