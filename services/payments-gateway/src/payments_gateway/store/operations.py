"""Provider operations as rows, their leases, and what was said to providers."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.kernel.ids import new_id
from copeck.kernel.money import Money
from copeck.storage.bulk import BulkInsert
from payments_gateway.domain.models import Operation, OperationKind, OperationStatus
from payments_gateway.domain.provider import Exchange
from payments_gateway.tables import operations, operations_due, requests

UNFINISHED = (OperationStatus.READY, OperationStatus.CALLING, OperationStatus.PENDING, OperationStatus.UNKNOWN)


_COLUMNS = [column.name for column in operations.columns]
_ADD = BulkInsert(operations, _COLUMNS, on_conflict="(idempotency_key) DO NOTHING", returning="id")
_ADD_FRESH = BulkInsert(operations, _COLUMNS)
_SCHEDULE = BulkInsert(operations_due, ["due_at", "operation_id"], on_conflict="DO NOTHING")


async def add(tx: AsyncConnection, operation: Operation, due_at: datetime) -> bool:
    """Keep a new operation; False when one with its idempotency key exists."""
    return bool(await add_many(tx, [operation], due_at))


async def add_many(tx: AsyncConnection, new: Sequence[Operation], due_at: datetime) -> list[UUID]:
    """Keep new operations, in two statements; returns the ids of those whose idempotency keys were not known."""
    # Two processes that keep the same keys wait for each other in the same order.
    values = [_values(item) for item in sorted(new, key=lambda item: item.idempotency_key)]
    added = [row.id for row in await _ADD(tx, values)]
    await schedule_many(tx, added, due_at)
    return added


async def add_fresh(tx: AsyncConnection, new: Sequence[Operation], due_at: datetime) -> None:
    """Keep operations whose keys nobody else can have; nothing is returned, so that it may be pipelined."""
    await _ADD_FRESH(tx, [_values(item) for item in new])
    await schedule_many(tx, [item.id for item in new], due_at)


def _values(operation: Operation) -> dict[str, Any]:
    values = {name: getattr(operation, name) for name in operation.__slots__ if name != "amount"}
    return values | {
        "amount_minor": operation.amount.minor,
        "currency": operation.amount.currency,
        "updated_at": operation.created_at,
    }


async def schedule(tx: AsyncConnection, operation_id: UUID, due_at: datetime) -> None:
    """Have the janitor look at an operation at a moment."""
    await schedule_many(tx, [operation_id], due_at)


async def schedule_many(tx: AsyncConnection, ids: Iterable[UUID], due_at: datetime) -> None:
    """Have the janitor look at operations at a moment."""
    await _SCHEDULE(tx, [{"due_at": due_at, "operation_id": operation_id} for operation_id in ids])


async def take_due(tx: AsyncConnection, now: datetime, limit: int) -> list[UUID]:
    """Take operations whose time has come out of the due table."""
    due = (
        sa.select(operations_due.c.due_at, operations_due.c.operation_id)
        .where(operations_due.c.due_at <= now)
        .order_by(operations_due.c.due_at, operations_due.c.operation_id)
        .limit(limit)
    )
    taken = (
        sa.delete(operations_due)
        .where(sa.tuple_(operations_due.c.due_at, operations_due.c.operation_id).in_(due))
        .returning(operations_due.c.operation_id)
    )
    return list(dict.fromkeys((await tx.execute(taken)).scalars()))


async def unfinished(tx: AsyncConnection, ids: Iterable[UUID]) -> dict[UUID, OperationKind]:
    """Return those of the operations that are not finished, with their kinds."""
    query = sa.select(operations.c.id, operations.c.kind).where(
        operations.c.id.in_(list(ids)), operations.c.status.in_(UNFINISHED)
    )
    return {row.id: OperationKind(row.kind) for row in await tx.execute(query)}


async def get(tx: AsyncConnection, operation_id: UUID, *, lock: bool = False) -> Operation | None:
    """Return one operation, locked until the end of the transaction if it is to be changed."""
    query = sa.select(operations).where(operations.c.id == operation_id)
    row = (await tx.execute(query.with_for_update(key_share=True) if lock else query)).first()
    return None if row is None else _operation(row)


async def by_key(tx: AsyncConnection, idempotency_key: str, *, lock: bool = False) -> Operation | None:
    """Return the operation of an idempotency key."""
    query = sa.select(operations).where(operations.c.idempotency_key == idempotency_key)
    row = (await tx.execute(query.with_for_update(key_share=True) if lock else query)).first()
    return None if row is None else _operation(row)


async def by_keys(tx: AsyncConnection, idempotency_keys: Iterable[str]) -> dict[str, Operation]:
    """Return the operations of some idempotency keys, by their keys."""
    query = sa.select(operations).where(operations.c.idempotency_key.in_(list(idempotency_keys)))
    return {row.idempotency_key: _operation(row) for row in await tx.execute(query)}


async def refunds_of(tx: AsyncConnection, provider: str, shop: str, invoice_id: UUID) -> list[Operation]:
    """Return the refunds of an invoice at a shop, oldest first."""
    query = (
        sa.select(operations)
        .where(
            operations.c.invoice_id == invoice_id,
            operations.c.provider == provider,
            operations.c.shop == shop,
            operations.c.kind == OperationKind.REFUND,
        )
        .order_by(operations.c.id)
    )
    return [_operation(row) for row in await tx.execute(query)]


async def shops_of(tx: AsyncConnection, ids: Iterable[UUID]) -> set[tuple[str, str, str, OperationKind]]:
    """Return whom unfinished operations speak to: provider, shop, currency and kind."""
    columns = (operations.c.provider, operations.c.shop, operations.c.currency, operations.c.kind)
    query = sa.select(*columns).where(operations.c.id.in_(list(ids)), operations.c.status.in_(UNFINISHED)).distinct()
    return {
        (provider, shop, currency, OperationKind(kind)) for provider, shop, currency, kind in await tx.execute(query)
    }


async def locked(tx: AsyncConnection, ids: Iterable[UUID]) -> list[Operation]:
    """Return operations, locked in the order of their ids until the end of the transaction."""
    query = sa.select(operations).where(operations.c.id.in_(list(ids))).order_by(operations.c.id)
    return [_operation(row) for row in await tx.execute(query.with_for_update(key_share=True))]


_READY_BY_KEY = sa.select(operations.c.id).where(
    operations.c.idempotency_key == sa.func.any(sa.bindparam("keys", type_=sa.ARRAY(sa.Text))),
    operations.c.status == OperationStatus.READY,
)
_READY_CHARGES = sa.select(operations.c.id).where(
    operations.c.invoice_id == sa.func.any(sa.bindparam("invoices", type_=sa.ARRAY(sa.Uuid))),
    operations.c.kind == OperationKind.CHARGE,
    operations.c.status == OperationStatus.READY,
)


async def ready_by_key(tx: AsyncConnection, idempotency_keys: Iterable[str]) -> list[UUID]:
    """Return those operations of some keys that wait for their first call."""
    return list((await tx.execute(_READY_BY_KEY, {"keys": list(idempotency_keys)})).scalars())


async def ready_charges(tx: AsyncConnection, invoice_ids: Iterable[UUID]) -> list[UUID]:
    """Return the charges of some invoices that wait for their first call."""
    return list((await tx.execute(_READY_CHARGES, {"invoices": list(invoice_ids)})).scalars())


async def lease(tx: AsyncConnection, ids: Iterable[UUID], token: UUID, now: datetime, until: datetime) -> None:
    """Give operations (locked by the caller) to one worker; from now on nobody can know that nothing was sent."""
    first_sent = sa.case(
        (operations.c.kind == OperationKind.STATUS_QUERY, operations.c.first_sent_at),
        else_=sa.func.coalesce(operations.c.first_sent_at, now),
    )
    values: dict[str, Any] = {
        "status": OperationStatus.CALLING,
        "lease_token": token,
        "leased_until": until,
        "attempts": operations.c.attempts + 1,
        "updated_at": now,
        "first_sent_at": first_sent,
    }
    await tx.execute(sa.update(operations).where(operations.c.id.in_(list(ids))).values(values))


async def announce(tx: AsyncConnection, operation_id: UUID, due_at: datetime) -> None:
    """Note that the updater was told of the payout (locked by the caller) that it is begun; the answer is awaited."""
    change = sa.update(operations).where(operations.c.id == operation_id)
    await tx.execute(change.values(reported="processing", failure_reason=""))
    await schedule(tx, operation_id, due_at)


async def postpone(tx: AsyncConnection, operation_id: UUID, next_at: datetime, reason: str) -> None:
    """Put off an operation (locked by the caller) that was not sent; it costs no try."""
    change = sa.update(operations).where(operations.c.id == operation_id)
    await tx.execute(change.values(next_at=next_at, failure_reason=reason))
    await schedule(tx, operation_id, next_at)


async def hasten(tx: AsyncConnection, idempotency_key: str, provider: str, shop: str, now: datetime) -> UUID | None:
    """Have an operation be asked about now whose outcome is open at a shop; None when there is none such.

    One that is locked is being executed, and is not waited for: who tells of several locks them in no order.
    """
    open_one = (
        sa.select(operations.c.id)
        .where(
            operations.c.idempotency_key == idempotency_key,
            operations.c.provider == provider,
            operations.c.shop == shop,
            operations.c.status.in_((OperationStatus.PENDING, OperationStatus.UNKNOWN)),
        )
        .with_for_update(key_share=True, skip_locked=True)
    )
    change = (
        sa.update(operations)
        .where(operations.c.id == open_one.scalar_subquery())
        .values(next_at=sa.func.least(operations.c.next_at, now))
        .returning(operations.c.id)
    )
    found: UUID | None = (await tx.execute(change)).scalar_one_or_none()
    if found is not None:
        await schedule(tx, found, now)
    return found


async def write(tx: AsyncConnection, operation_id: UUID, token: UUID | None, now: datetime, **values: Any) -> bool:
    """Write an outcome and end the lease; False when the lease belongs to another worker by now."""
    statement = sa.update(operations).where(operations.c.id == operation_id)
    if token is not None:
        statement = statement.where(operations.c.lease_token == token)
    changed = await tx.execute(statement.values(lease_token=None, leased_until=None, updated_at=now, **values))
    return changed.rowcount == 1


async def note_requests(
    tx: AsyncConnection, exchanges: Iterable[Exchange], operation: Operation, at: datetime, *, with_key: bool = True
) -> None:
    """Keep what was said to a provider for an operation, and answered; it is redacted already."""
    rows = [
        {
            "at": at,
            "id": new_id(),
            "operation_id": operation.id,
            "invoice_id": operation.invoice_id,
            "payout_id": operation.payout_id,
            "provider": operation.provider,
            "shop": operation.shop,
            "idempotency_key": operation.idempotency_key if with_key else None,
            "method": exchange.method,
            "path": exchange.path,
            "request": dict(exchange.request),
            "response": None if exchange.response is None else dict(exchange.response),
            "status_code": exchange.status_code,
            "error": exchange.error,
            "duration_ms": exchange.duration_ms,
        }
        for exchange in exchanges
    ]
    if rows:
        await tx.execute(sa.insert(requests), rows)


async def maintain(tx: AsyncConnection, callbacks_kept_days: int, inbox_kept_days: int) -> int:
    """Make partitions ahead and drop old ones; the function runs as the owner of the tables."""
    statement = sa.select(sa.func.gateway.maintain_partitions(callbacks_kept_days, inbox_kept_days))
    return int((await tx.execute(statement)).scalar_one())


def _operation(row: sa.Row[tuple[object, ...]]) -> Operation:
    data = row._asdict()
    data["amount"] = Money(data.pop("amount_minor"), data.pop("currency"))
    data["kind"] = OperationKind(data["kind"])
    data["status"] = OperationStatus(data["status"])
    return Operation(**data)
