"""Incidents: a manager has looked, and says what came of it."""

from dataclasses import replace
from uuid import UUID

from copeck.kernel.errors import InvalidValueError, NotFoundError
from device_bridge.domain.errors import NotAllowedNow
from device_bridge.domain.model import Incident
from device_bridge.handlers.context import Work
from device_bridge.store import incidents


async def close_incident(work: Work, incident_id: UUID, note: str) -> Incident:
    """Close an incident with a note; once closed it stays as it was closed."""
    incident = await incidents.find(work.tx, incident_id, lock=True)
    if incident is None:
        raise NotFoundError("There is no such incident.")
    if not note.strip():
        raise InvalidValueError("Say what came of it.", "note")
    if incident.closed_at is not None:
        raise NotAllowedNow(f"The incident was closed by {incident.closed_by}.")
    closed = replace(incident, closed_at=work.now, closed_by=work.actor.name, note=note.strip())
    await incidents.update(work.tx, closed)
    await work.note("incident.close", "incident", incident_id, reason=closed.note, after={"kind": incident.kind})
    return closed
