"""Stop switches: `deposits`, `payouts`, and one a provider."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response

from copeck.web.auth import Principal, require_roles
from copeck.web.etag import IfMatch, etag_for
from copeck.web.problems import problem_responses
from payments_gateway.api.pay import ContextDep
from payments_gateway.api.payment_models import SwitchChange, SwitchModel
from payments_gateway.domain.switches import Switch
from payments_gateway.handlers import switches as handlers

router = APIRouter(tags=["switches"])

Reader = Annotated[Principal, Depends(require_roles("manager", "operator"))]
Manager = Annotated[Principal, Depends(require_roles("manager"))]
Name = Annotated[
    str,
    Path(
        pattern="^(payouts|deposits|provider:[a-z0-9_]{1,32})$",
        examples=["payouts"],
        description="`deposits`, `payouts` or `provider:<code>`.",
    ),
]


@router.get("/switches", summary="List stop switches")
async def list_switches(_: Reader, context: ContextDep) -> list[SwitchModel]:
    """Show every switch and who turned it last."""
    return [_model(switch) for switch in await handlers.listed(context)]


@router.get("/switches/{name}", summary="Show a stop switch", responses=problem_responses(404))
async def get_switch(name: Name, _: Reader, context: ContextDep, response: Response) -> SwitchModel:
    """Show a switch, with the `ETag` to turn it with."""
    switch = await handlers.find(context, name)
    response.headers["ETag"] = etag_for(switch.version)
    return _model(switch)


@router.put("/switches/{name}", summary="Turn a stop switch", responses=problem_responses(404, 412, 428))
async def turn_switch(
    name: Name, body: SwitchChange, principal: Manager, context: ContextDep, if_match: IfMatch, response: Response
) -> SwitchModel:
    """Stop something at once, or let it run again. What it stops answers 503 `stopped` with the reason given here."""
    switch = await handlers.turn(
        context,
        name,
        stopped=body.stopped,
        reason=body.reason,
        if_match=if_match,
        actor=f"user:{principal.user_id}",
    )
    response.headers["ETag"] = etag_for(switch.version)
    return _model(switch)


def _model(switch: Switch) -> SwitchModel:
    return SwitchModel(
        name=switch.name,
        stopped=switch.stopped,
        reason=switch.reason,
        version=switch.version,
        changed_by=switch.changed_by or None,
        changed_at=switch.changed_at,
    )
