"""Who did what to a payout, an approval, a switch, a commission or a correction: rows that are only ever added."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from payments_gateway.tables import audit


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One action of a person. `detail` holds what is worth knowing of it, never a recipient's details."""

    id: int
    subject_kind: str
    subject_id: str
    action: str
    actor: str
    detail: dict[str, Any]
    at: datetime


async def note(
    tx: AsyncConnection,
    subject_kind: str,
    subject_id: str,
    action: str,
    actor: str,
    detail: Mapping[str, Any],
    at: datetime,
) -> None:
    """Write an action down, in the transaction of the action itself. `actor` is `user:<uuid>` or `service:<name>`."""
    await tx.execute(
        sa.insert(audit).values(
            subject_kind=subject_kind,
            subject_id=subject_id,
            action=action,
            actor=actor,
            detail=dict(detail),
            at=at,
        )
    )


async def newest_of(
    tx: AsyncConnection, subject_kind: str, subject_ids: Sequence[str], action: str
) -> dict[str, AuditEntry]:
    """Return the last action of a kind that was done to each of some subjects."""
    query = (
        sa.select(audit)
        .where(audit.c.subject_kind == subject_kind, audit.c.subject_id.in_(subject_ids), audit.c.action == action)
        .order_by(audit.c.id)
    )
    rows = await tx.execute(query) if subject_ids else ()
    return {row.subject_id: AuditEntry(**row._asdict()) for row in rows}


async def of_subject(tx: AsyncConnection, subject_kind: str, subject_id: str, limit: int = 100) -> list[AuditEntry]:
    """Return what was done to a subject, the oldest first."""
    query = (
        sa.select(audit)
        .where(audit.c.subject_kind == subject_kind, audit.c.subject_id == subject_id)
        .order_by(audit.c.id)
        .limit(limit)
    )
    return [AuditEntry(**row._asdict()) for row in await tx.execute(query)]
