"""Who did what: rows that are only ever added."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from device_bridge.tables import audit


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One action of a person."""

    at: datetime
    actor: str
    client: str
    action: str
    subject_kind: str
    subject_id: str
    reason: str = ""
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    correlation_id: str | None = None
    id: int = 0


async def add(tx: AsyncConnection, entry: AuditEntry) -> None:
    """Write an action down, in the transaction of the action itself."""
    await tx.execute(
        sa.insert(audit).values(
            at=entry.at,
            actor=entry.actor,
            client=entry.client,
            action=entry.action,
            subject_kind=entry.subject_kind,
            subject_id=entry.subject_id,
            reason=entry.reason,
            before=entry.before,
            after=entry.after,
            correlation_id=entry.correlation_id,
        )
    )


async def entries(
    tx: AsyncConnection,
    *,
    subject_kind: str | None,
    subject_id: str | None,
    actor: str | None,
    after: tuple[Any, ...] | None,
    limit: int,
) -> list[AuditEntry]:
    """Return actions, the newest first."""
    query = sa.select(audit).order_by(audit.c.id.desc()).limit(limit)
    if subject_kind:
        query = query.where(audit.c.subject_kind == subject_kind)
    if subject_id:
        query = query.where(audit.c.subject_id == subject_id)
    if actor:
        query = query.where(audit.c.actor == actor)
    if after is not None:
        query = query.where(audit.c.id < after[0])
    rows = await tx.execute(query)
    return [AuditEntry(**{name: getattr(row, name) for name in AuditEntry.__slots__}) for row in rows]
