"""What was asked of payouts beside the terms that the updater keeps; the recipient's details are sealed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.storage.bulk import BulkInsert
from payments_gateway.tables import payout_requests


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutRequestRow:
    """One payout as it was asked for. `origin`: withdrawal, payout, batch or compatibility."""

    payout_id: UUID
    origin: str
    account: str
    user_id: UUID
    requested_by: str
    amount_minor: int
    commission_minor: int = 0
    currency: str
    provider: str
    shop: str
    recipient_kind: str
    recipient_masked: str
    recipient_sealed: bytes
    recipient_user_id: UUID | None = None
    description: str = ""
    draft: bool = False
    needs_approval: bool = False
    batch_id: UUID | None = None
    batch_line: int | None = None
    version: int = 1
    refused_code: str | None = None
    refused_reason: str | None = None
    requested_at: datetime
    deleted_at: datetime | None = None
    deleted_by: str | None = None


_ADD = BulkInsert(payout_requests, PayoutRequestRow.__slots__)


async def add(tx: AsyncConnection, rows: Sequence[PayoutRequestRow]) -> None:
    """Keep new requests, all in one statement."""
    await _ADD(tx, [{name: getattr(row, name) for name in PayoutRequestRow.__slots__} for row in rows])


async def get(tx: AsyncConnection, payout_id: UUID, *, lock: bool = False) -> PayoutRequestRow | None:
    """Return one request, locked until the end of the transaction if it is to be changed."""
    query = sa.select(payout_requests).where(payout_requests.c.payout_id == payout_id)
    row = (await tx.execute(query.with_for_update(key_share=True) if lock else query)).first()
    return None if row is None else PayoutRequestRow(**row._asdict())


async def write(tx: AsyncConnection, payout_id: UUID, **values: Any) -> None:
    """Change a request that the caller has locked; its version grows."""
    changed = sa.update(payout_requests).where(payout_requests.c.payout_id == payout_id)
    await tx.execute(changed.values(version=payout_requests.c.version + 1, **values))
