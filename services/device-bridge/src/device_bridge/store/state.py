"""Reading the State Storage through its views: what became of invoices and refunds whose events never came."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.kernel.ids import first_id_at
from device_bridge.tables import incidents, orders
from device_bridge.views import invoices, refunds, refusals

_WAITING = ("created", "pending")
_INVOICE_FIELDS = (
    "version",
    "status",
    "kind",
    "product",
    "account",
    "payer",
    "amount_minor",
    "refunded_minor",
    "currency",
    "late_policy",
    "capture",
    "expires_at",
    "references",
    "reason",
)


@dataclass(frozen=True, slots=True)
class MissedInvoice:
    """An invoice that went on without this service; `data` is what its event would have said."""

    id: UUID
    status: str
    updated_at: datetime
    data: dict[str, Any]


def _invoice(row: Any) -> MissedInvoice:
    data = {name: getattr(row, name) for name in _INVOICE_FIELDS} | {"invoice_id": row.id}
    return MissedInvoice(row.id, row.status, row.updated_at, data)


async def missed_invoices(
    tx: AsyncConnection, *, before: datetime, since: datetime, paid: frozenset[str], limit: int
) -> list[MissedInvoice]:
    """Return invoices that moved before a moment, of orders that wait, or that were given up since another moment.

    `paid` are the statuses of an invoice that was paid: an order that was given up is concerned by those alone.
    """
    mine = orders.c
    behind = sa.or_(
        sa.and_(mine.status == "created", invoices.c.status.is_not(None)),
        sa.and_(mine.status == "pending", invoices.c.status.not_in(("issued", "pending", "authorized"))),
    )
    waiting = (
        sa.select(invoices)
        .join(orders, mine.invoice_id == invoices.c.id)
        .where(mine.status.in_(_WAITING), behind)
        .where(invoices.c.version > mine.invoice_version, invoices.c.updated_at < before)
        .order_by(mine.id)
        .limit(limit)
    )
    given_up = (
        sa.select(invoices)
        .join(orders, mine.invoice_id == invoices.c.id)
        .where(mine.id >= first_id_at(since), mine.status == "not_paid", invoices.c.status.in_(paid))
        .where(invoices.c.version > mine.invoice_version, invoices.c.updated_at < before)
        .order_by(mine.id)
        .limit(limit)
    )
    rows = [*(await tx.execute(waiting)), *(await tx.execute(given_up))]
    return [_invoice(row) for row in rows]


@dataclass(frozen=True, slots=True)
class MissedRefund:
    """A refund that went on without this service."""

    order_id: UUID
    refund_id: UUID
    status: str
    origin: str
    amount_minor: int
    failure_code: str


async def missed_refunds(
    tx: AsyncConnection, *, before: datetime, since: datetime, failed_since: datetime, limit: int
) -> list[MissedRefund]:
    """Return refunds of orders that wait for one to go on, and of late money of orders that were given up.

    Also those that failed, whatever they were of, asked for since `failed_since` and not an incident yet: money that
    came twice is no matter of its order, but its payer waits for it all the same.
    """
    mine = orders.c
    columns = (
        mine.id.label("order_id"),
        refunds.c.id.label("refund_id"),
        refunds.c.status,
        refunds.c.origin,
        refunds.c.amount_minor,
        refunds.c.failure_code,
    )
    known = (
        sa.select(*columns)
        .join(refunds, refunds.c.id == mine.refund_id)
        .where(mine.refund_status.in_(("requested", "pending")), refunds.c.updated_at < before)
        .where(
            sa.or_(
                refunds.c.status.in_(("succeeded", "failed")),
                sa.and_(mine.refund_status == "requested", refunds.c.status.in_(("pending", "unknown"))),
            )
        )
        .order_by(mine.id)
        .limit(limit)
    )
    late = (
        sa.select(*columns)
        .join(refunds, refunds.c.invoice_id == mine.invoice_id)
        .where(mine.id >= first_id_at(since), mine.status == "not_paid", mine.refund_id.is_(None))
        .where(refunds.c.updated_at < before)
        .order_by(mine.id)
        .limit(limit)
    )
    is_incident = sa.exists().where(
        incidents.c.order_id == mine.id,
        incidents.c.kind == "refund_failed",
        incidents.c.detail["refund_id"].astext == sa.cast(refunds.c.id, sa.Text),
    )
    failed = (
        sa.select(*columns)
        .join(refunds, refunds.c.invoice_id == mine.invoice_id)
        .where(refunds.c.created_at >= failed_since, refunds.c.updated_at < before, refunds.c.status == "failed")
        .where(mine.refund_id.is_distinct_from(refunds.c.id), ~is_incident)
        .order_by(mine.id)
        .limit(limit)
    )
    rows = [row for query in (known, late, failed) for row in await tx.execute(query)]
    # One that failed and is of an order that was given up is found by two of them.
    rows = list({row.refund_id: row for row in rows}.values())
    return [MissedRefund(**row._asdict()) for row in rows]


@dataclass(frozen=True, slots=True)
class MissedRefusal:
    """A command of ours that the updater refused."""

    order_id: UUID
    command_id: UUID
    command_type: str
    code: str


async def missed_refusals(tx: AsyncConnection, *, before: datetime, limit: int) -> list[MissedRefusal]:
    """Return refusals that orders still wait for: of their invoice, or of their refund."""
    mine = orders.c
    no_invoice = ~sa.exists().where(invoices.c.id == mine.invoice_id)
    query = (
        sa.select(mine.id.label("order_id"), refusals.c.command_id, refusals.c.command_type, refusals.c.code)
        .join(refusals, refusals.c.aggregate == sa.cast(mine.invoice_id, sa.Text))
        .where(refusals.c.at < before)
        .where(
            sa.or_(
                sa.and_(mine.status == "created", refusals.c.command_type == "invoice.issue", no_invoice),
                sa.and_(mine.refund_status == "requested", refusals.c.command_id == mine.refund_id),
            )
        )
        .where(
            sa.or_(
                mine.status.in_((*_WAITING, "paid", "make_pending")), mine.refund_status.in_(("requested", "pending"))
            )
        )
        .order_by(mine.id)
        .limit(limit)
    )
    return [MissedRefusal(**row._asdict()) for row in await tx.execute(query)]


async def never_issued(tx: AsyncConnection, *, expired_before: datetime, limit: int) -> list[UUID]:
    """Return orders whose time to pay is over and whose invoice nobody ever made."""
    mine = orders.c
    query = (
        sa.select(mine.id)
        .where(mine.status == "created", mine.expires_at < expired_before)
        .where(~sa.exists().where(invoices.c.id == mine.invoice_id))
        .order_by(mine.id)
        .limit(limit)
    )
    return list((await tx.execute(query)).scalars())
