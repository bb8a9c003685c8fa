"""What the State Storage says is owed and no operation is there for: read by indexes, in bounded pieces."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from payments_gateway.domain.models import OperationKind, OperationStatus
from payments_gateway.tables import operations

_PAYOUTS = sa.text("""
SELECT owed.id AS payout_id, owed.version, owed.status, owed.account, owed.amount_minor, owed.commission_minor,
    owed.currency, owed.provider, owed.shop, owed.recipient, owed.attempt
FROM state_api.payouts_debited_v1 AS owed
WHERE owed.debited_at >= :since AND owed.debited_at < :until AND owed.status = 'pending'
  AND owed.provider = ANY(:providers)
  AND NOT EXISTS (
      SELECT FROM gateway.operations AS known
      WHERE known.idempotency_key = 'payout:' || owed.id || ':' || owed.attempt
  )
ORDER BY owed.debited_at LIMIT :most
""").bindparams(sa.bindparam("providers", type_=ARRAY(sa.Text)))
# By the moment of the decision: the id of a refund that a late payment caused sorts by that payment's report, which may
# be old when an updater that was down decides about it.
_REFUNDS = sa.text("""
SELECT owed.id AS refund_id, owed.invoice_id, owed.version, owed.status, owed.origin, invoice.account,
    owed.amount_minor, owed.currency, owed.payment_id, owed.provider, owed.shop, owed.transaction
FROM state_api.refunds_v1 AS owed JOIN state_api.invoices_v1 AS invoice ON invoice.id = owed.invoice_id
WHERE owed.created_at >= :since AND owed.created_at < :until AND owed.status = 'requested' AND owed.transaction <> ''
  AND owed.provider = ANY(:providers)
  AND NOT EXISTS (
      SELECT FROM gateway.operations AS known WHERE known.idempotency_key = 'refund:' || owed.id
  )
ORDER BY owed.created_at LIMIT :most
""").bindparams(sa.bindparam("providers", type_=ARRAY(sa.Text)))
_HOLD = sa.text("""
SELECT told.event, told.at, told.cause_id, told.version
FROM state_api.invoice_events_v1 AS told JOIN state_api.invoices_v1 AS invoice ON invoice.id = told.invoice_id
WHERE told.invoice_id = :invoice AND (
    (told.event IN ('capture_requested', 'void_requested') AND invoice.payment_id = :payment
        AND invoice.status = 'authorized')
    OR (told.event = 'hold_release_requested' AND told.changes -> 'attempt' ->> 'id' = CAST(:payment AS text))
)
ORDER BY told.version DESC LIMIT 1
""").bindparams(sa.bindparam("invoice", type_=sa.Uuid()), sa.bindparam("payment", type_=sa.Uuid()))


@dataclass(frozen=True, slots=True)
class HoldInstruction:
    """The last that the updater asked for concerning money that is held."""

    kind: OperationKind
    at: datetime
    key: str


@dataclass(frozen=True, slots=True)
class Tried:
    """What was done so far about money that is held: when the last try began, and how those since a moment stand."""

    begun_at: datetime | None
    stands: bool
    """One of them is under way, or was done."""
    refused: int


async def payouts(
    tx: AsyncConnection, since: datetime, until: datetime, providers: Iterable[str], most: int
) -> list[dict[str, Any]]:
    """Return payouts whose source was debited between two moments and that nobody executes."""
    values = {"since": since, "until": until, "providers": list(providers), "most": most}
    return [row._asdict() for row in await tx.execute(_PAYOUTS, values)]


async def refunds(
    tx: AsyncConnection, since: datetime, until: datetime, providers: Iterable[str], most: int
) -> list[dict[str, Any]]:
    """Return refunds that were asked for between two moments and that nobody executes."""
    values = {"since": since, "until": until, "providers": list(providers), "most": most}
    return [row._asdict() for row in await tx.execute(_REFUNDS, values)]


async def hold(tx: AsyncConnection, invoice_id: UUID, payment_id: UUID) -> HoldInstruction | None:
    """Return what was asked for last concerning a payment that is held, by its invoice's chain."""
    row = (await tx.execute(_HOLD, {"invoice": invoice_id, "payment": payment_id})).first()
    if row is None:
        return None
    kind = OperationKind.CONFIRM if row.event == "capture_requested" else OperationKind.VOID
    return HoldInstruction(kind, row.at, f"{row.cause_id}:{row.version}")


async def tried_of_hold(
    tx: AsyncConnection, invoice_id: UUID, payment_id: UUID, kind: OperationKind, since: datetime
) -> Tried:
    """Return what became of the captures or voids of a payment that began since a moment."""
    lately = operations.c.created_at >= since
    refused = operations.c.status == OperationStatus.FAILED
    query = sa.select(
        sa.func.max(operations.c.created_at),
        sa.func.count().filter(lately, ~refused) > 0,
        sa.func.count().filter(lately, refused),
    ).where(operations.c.invoice_id == invoice_id, operations.c.payment_id == payment_id, operations.c.kind == kind)
    return Tried(*(await tx.execute(query)).one())
