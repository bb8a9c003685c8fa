"""Incidents: what should not have happened and did, for a person to look at and close."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from copeck.web.pagination import Cursor, Page
from copeck.web.problems import problem_responses
from device_bridge.api import finding
from device_bridge.api.dependencies import READS, WRITES, Ctx, Manager, Reader, after
from device_bridge.api.models import DeviceId
from device_bridge.api.order_models import CloseRequest, IncidentKind, IncidentModel
from device_bridge.domain.model import Incident
from device_bridge.handlers import incidents as handlers
from device_bridge.handlers.context import in_transaction
from device_bridge.store import incidents

router = APIRouter(tags=["incidents"])


def shown(one: Incident) -> IncidentModel:
    """Show an incident."""
    return IncidentModel.model_validate(one)


@router.get("/incidents", summary="List incidents", dependencies=READS)
async def list_incidents(
    caller: Reader,
    context: Ctx,
    cursor: Cursor,
    merchant_id: UUID | None = None,
    device_id: Annotated[DeviceId | None, Query()] = None,
    kind: IncidentKind | None = None,
    open_only: Annotated[bool, Query(description="True: those that nobody has closed.")] = False,
) -> Page[IncidentModel]:
    """Show incidents, the newest first: managers all, merchants those at their machines."""
    async with context.database.reading() as tx:
        found = await incidents.list_(
            tx,
            merchant_id=caller.narrowed(merchant_id),
            device_id=device_id,
            kind=kind,
            open_only=open_only,
            after=after(cursor, UUID),
            limit=cursor.limit + 1,
        )
    return cursor.page(found, lambda one: (str(one.id),), shown)


@router.get("/incidents/{incident_id}", summary="Show an incident", dependencies=READS)
async def get_incident(incident_id: UUID, caller: Reader, context: Ctx) -> IncidentModel:
    """Show an incident with its details."""
    async with context.database.reading() as tx:
        return shown(await finding.incident(tx, caller, incident_id))


@router.post(
    "/incidents/{incident_id}/close",
    summary="Close an incident",
    responses=problem_responses(404, 409),
    dependencies=WRITES,
)
async def close_incident(incident_id: UUID, body: CloseRequest, manager: Manager, context: Ctx) -> IncidentModel:
    """Say what was found out, and take the incident off the list of open ones."""
    closed: Incident = await in_transaction(
        context, manager.actor, lambda work: handlers.close_incident(work, incident_id, body.note)
    )
    return shown(closed)
