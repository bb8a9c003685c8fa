"""Callbacks as they arrived, and forged ones apart from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from payments_gateway.tables import callbacks, forged_callbacks


@dataclass(frozen=True, slots=True)
class StoredCallback:
    """One authentic callback with what was made of it."""

    id: UUID
    received_at: datetime
    provider: str
    shop: str
    kind: str
    method: str
    headers: Mapping[str, str]
    body: bytes
    sealed: bytes | None
    verdict: str
    answer: int | None
    reason: str | None = None
    invoice_id: UUID | None = None
    payment_id: UUID | None = None
    transaction_id: str | None = None
    report_id: UUID | None = None


async def add(tx: AsyncConnection, received: Sequence[StoredCallback]) -> None:
    """Keep callbacks."""
    await tx.execute(
        sa.insert(callbacks), [{name: getattr(item, name) for name in item.__slots__} for item in received]
    )


async def add_forged(
    tx: AsyncConnection,
    *,
    callback_id: UUID,
    received_at: datetime,
    provider: str,
    shop: str,
    kind: str,
    method: str,
    peer: str,
    headers: Mapping[str, str],
    body: bytes,
    skipped: int,
) -> None:
    """Keep a forged callback; `skipped` counts those before it that the limit let go."""
    await tx.execute(
        sa.insert(forged_callbacks).values(
            id=callback_id,
            received_at=received_at,
            provider=provider,
            shop=shop,
            kind=kind,
            method=method,
            peer=peer,
            headers=dict(headers),
            body=body,
            skipped=skipped,
        )
    )


async def trim_forged(tx: AsyncConnection, keep: int) -> int:
    """Delete all but the newest forged callbacks."""
    newest = sa.select(forged_callbacks.c.id).order_by(forged_callbacks.c.id.desc()).offset(keep)
    return (await tx.execute(sa.delete(forged_callbacks).where(forged_callbacks.c.id.in_(newest)))).rowcount
