"""What the State Storage says of payouts, read before money is sent: the updater alone decides (I-01)."""

from collections.abc import Iterable
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.ext.asyncio import AsyncConnection

from payments_gateway.domain.sending import PayoutState
from payments_gateway.tables import payout_requests

_STATES = sa.text("SELECT id, status, attempt FROM state_api.payouts_v1 WHERE id = ANY(:ids)").bindparams(
    sa.bindparam("ids", type_=ARRAY(PG_UUID(as_uuid=True)))
)


async def states(tx: AsyncConnection, payout_ids: Iterable[UUID]) -> dict[UUID, PayoutState]:
    """Return where payouts stand, by one look at the primary key for each."""
    ids = list(payout_ids)
    if not ids:
        return {}
    return {row.id: PayoutState(row.status, row.attempt) for row in await tx.execute(_STATES, {"ids": ids})}


async def sealed_recipients(tx: AsyncConnection, payout_ids: Iterable[UUID]) -> dict[UUID, tuple[bytes, str]]:
    """Return where money is to go, still sealed, and what it is for."""
    ids = list(payout_ids)
    if not ids:
        return {}
    query = sa.select(
        payout_requests.c.payout_id, payout_requests.c.recipient_sealed, payout_requests.c.description
    ).where(payout_requests.c.payout_id.in_(ids))
    return {row.payout_id: (bytes(row.recipient_sealed), row.description) for row in await tx.execute(query)}
