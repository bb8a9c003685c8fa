"""Orders with their history."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.storage.bulk import BulkInsert, BulkUpdate
from copeck.storage.search import contains
from device_bridge.domain.machine import UNPAID, Status
from device_bridge.domain.model import Order, Step
from device_bridge.tables import order_history, orders, receipts

_FIELDS = tuple(Order.__slots__)
_STEP_FIELDS = tuple(Step.__slots__)
ORDERS = ("-created_at", "created_at")
"""How lists may be ordered; ids sort by the moment at which they were made."""


def order_of(row: Any) -> Order:
    """Return an order from a row."""
    values = {name: getattr(row, name) for name in _FIELDS}
    values["status"] = Status(values["status"])
    return Order(**values)


def _values(order: Order) -> dict[str, Any]:
    return {name: getattr(order, name) for name in _FIELDS}


_INSERT = pg.insert(orders).on_conflict_do_nothing(constraint="orders_one_a_machine_order").returning(orders.c.id)
_ADD_STEPS = BulkInsert(order_history, _STEP_FIELDS)
_CHANGED = (
    "status",
    "reason",
    "receipt_address",
    "invoice_version",
    "paid_at",
    "brew_by",
    "refund_status",
    "refund_id",
    "version",
    "updated_at",
)
_UPDATE = BulkUpdate(orders, "id", _CHANGED)


async def insert(tx: AsyncConnection, order: Order, steps: Sequence[Step]) -> bool:
    """Add an order with its first step; False when the machine's own order has made one already."""
    if (await tx.execute(_INSERT, _values(order))).first() is None:
        return False
    await _ADD_STEPS(tx, _step_values(steps))
    return True


async def save(tx: AsyncConnection, changed: Sequence[Order], steps: Sequence[Step]) -> None:
    """Store the new states of locked orders with the steps that led to them. Nothing is returned: see `pipelined`."""
    await _UPDATE(tx, [_values(order) for order in changed])
    await _ADD_STEPS(tx, _step_values(steps))


def _step_values(steps: Sequence[Step]) -> list[dict[str, Any]]:
    return [{name: getattr(step, name) for name in _STEP_FIELDS} for step in steps]


async def find(tx: AsyncConnection, order_id: UUID, *, merchant_id: UUID | None = None) -> Order | None:
    """Return an order; `merchant_id` is whose it must be, None for a manager."""
    query = sa.select(orders).where(orders.c.id == order_id)
    if merchant_id is not None:
        query = query.where(orders.c.merchant_id == merchant_id)
    row = (await tx.execute(query)).first()
    return order_of(row) if row else None


_LOCK = sa.select(orders).where(orders.c.id == sa.bindparam("order_id")).with_for_update(key_share=True)
_LOCK_FREE = (
    sa.select(orders).where(orders.c.id == sa.bindparam("order_id")).with_for_update(key_share=True, skip_locked=True)
)
_LOCK_BY_INVOICE = (
    sa.select(orders).where(orders.c.invoice_id == sa.bindparam("invoice_id")).with_for_update(key_share=True)
)


async def lock(tx: AsyncConnection, order_id: UUID, *, skip_locked: bool = False) -> Order | None:
    """Return an order and keep others from changing it, and its command, until the transaction ends."""
    row = (await tx.execute(_LOCK_FREE if skip_locked else _LOCK, {"order_id": order_id})).first()
    return order_of(row) if row else None


async def lock_by_invoice(tx: AsyncConnection, invoice_id: UUID) -> Order | None:
    """Lock the order that an invoice belongs to; None when the invoice is not one of ours."""
    row = (await tx.execute(_LOCK_BY_INVOICE, {"invoice_id": invoice_id})).first()
    return order_of(row) if row else None


_LOCK_BY_INVOICES = (
    sa.select(orders)
    .where(orders.c.invoice_id == sa.any_(sa.bindparam("invoice_ids", type_=pg.ARRAY(pg.UUID(as_uuid=True)))))
    .order_by(orders.c.id)
    .with_for_update(key_share=True)
)


async def lock_by_invoices(tx: AsyncConnection, invoice_ids: Sequence[UUID]) -> dict[UUID, Order]:
    """Lock the orders that invoices belong to, in the order of their ids; returned by the id of the invoice."""
    rows = await tx.execute(_LOCK_BY_INVOICES, {"invoice_ids": sorted(set(invoice_ids))})
    return {row.invoice_id: order_of(row) for row in rows}


_ID_BY_INVOICE = sa.select(orders.c.id).where(orders.c.invoice_id == sa.bindparam("invoice_id"))


async def id_by_invoice(tx: AsyncConnection, invoice_id: UUID) -> UUID | None:
    """Return the id of the order that an invoice belongs to; None when it is not one of ours."""
    found: UUID | None = await tx.scalar(_ID_BY_INVOICE, {"invoice_id": invoice_id})
    return found


async def by_machine_order(tx: AsyncConnection, device_id: str, machine_order_id: str) -> Order | None:
    """Return the order that the machine's own order has made."""
    query = sa.select(orders).where(orders.c.device_id == device_id, orders.c.machine_order_id == machine_order_id)
    row = (await tx.execute(query)).first()
    return order_of(row) if row else None


async def lock_unpaid(
    tx: AsyncConnection, device_id: str, *, drink_id: str | None = None, size: str | None = None, limit: int
) -> list[Order]:
    """Lock a machine's orders that wait for money; those that somebody is changing just now are left out."""
    query = (
        sa.select(orders)
        .where(orders.c.device_id == device_id, orders.c.status.in_([status.value for status in UNPAID]))
        .order_by(orders.c.id)
        .limit(limit)
        .with_for_update(key_share=True, skip_locked=True)
    )
    if drink_id is not None:
        query = query.where(orders.c.drink_id == drink_id)
    if size is not None:
        query = query.where(orders.c.size == size)
    return [order_of(row) for row in await tx.execute(query)]


async def history(tx: AsyncConnection, order_id: UUID) -> list[Step]:
    """Return everything that happened to an order."""
    query = sa.select(order_history).where(order_history.c.order_id == order_id).order_by(order_history.c.n).limit(500)
    return [Step(**{name: getattr(row, name) for name in _STEP_FIELDS}) for row in await tx.execute(query)]


async def list_(
    tx: AsyncConnection,
    *,
    merchant_id: UUID | None = None,
    device_id: str | None = None,
    statuses: Sequence[str] = (),
    since: datetime | None = None,
    until: datetime | None = None,
    text: str | None = None,
    order: str = "-created_at",
    after: tuple[Any, ...] | None = None,
    limit: int,
) -> list[Order]:
    """Return orders that match everything that is given. Their ids sort by the moment of their making."""
    query = sa.select(orders)
    if merchant_id is not None:
        query = query.where(orders.c.merchant_id == merchant_id)
    if device_id is not None:
        query = query.where(orders.c.device_id == device_id)
    if statuses:
        query = query.where(orders.c.status.in_(list(statuses)))
    if since is not None:
        query = query.where(orders.c.created_at >= since)
    if until is not None:
        query = query.where(orders.c.created_at < until)
    if text:
        query = query.where(
            sa.or_(
                sa.cast(orders.c.id, sa.Text).startswith(text.lower(), autoescape=True),
                sa.cast(orders.c.invoice_id, sa.Text).startswith(text.lower(), autoescape=True),
                orders.c.machine_order_id == text,
                contains(orders.c.drink_name, text),
            )
        )
    descends = order.startswith("-")
    if after is not None:
        query = query.where(orders.c.id < after[0] if descends else orders.c.id > after[0])
    query = query.order_by(orders.c.id.desc() if descends else orders.c.id).limit(limit)
    return [order_of(row) for row in await tx.execute(query)]


_ADD_RECEIPTS = BulkInsert(
    receipts,
    ("order_id", "kind", "address", "status", "tries", "next_try_at", "last_error"),
    on_conflict="DO NOTHING",
)


async def add_receipts(tx: AsyncConnection, due: Sequence[tuple[Order, str]], now: datetime) -> None:
    """Make e-mails due, each once an order and kind; an order without an address has none."""
    common = {"status": "waiting", "tries": 0, "next_try_at": now, "last_error": ""}
    rows = [
        {"order_id": order.id, "kind": kind, "address": order.receipt_address} | common
        for order, kind in due
        if order.receipt_address and "@" in order.receipt_address
    ]
    await _ADD_RECEIPTS(tx, rows)
