"""Provider operations as rows, their leases, and what was said to providers."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.kernel.ids import new_id
from copeck.kernel.money import Money
from payments_gateway.domain.models import Operation, OperationKind, OperationStatus
from payments_gateway.domain.provider import Exchange
from payments_gateway.tables import operations, operations_due, requests

UNFINISHED = (OperationStatus.READY, OperationStatus.CALLING, OperationStatus.PENDING, OperationStatus.UNKNOWN)


async def add(tx: AsyncConnection, operation: Operation, due_at: datetime) -> bool:
    """Keep a new operation; False when one with its idempotency key exists."""
    values = {name: getattr(operation, name) for name in operation.__slots__ if name != "amount"}
    values |= {"amount_minor": operation.amount.minor, "currency": operation.amount.currency}
    statement = (
        insert(operations)
        .values(updated_at=operation.created_at, **values)
        .on_conflict_do_nothing(index_elements=[operations.c.idempotency_key])
        .returning(operations.c.id)
    )
    added = (await tx.execute(statement)).first() is not None
    if added:
        await schedule(tx, operation.id, due_at)
    return added


async def schedule(tx: AsyncConnection, operation_id: UUID, due_at: datetime) -> None:
    """Have the janitor look at an operation at a moment."""
    await tx.execute(insert(operations_due).values(due_at=due_at, operation_id=operation_id).on_conflict_do_nothing())


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


async def lease(
    tx: AsyncConnection, operation_id: UUID, token: UUID, now: datetime, until: datetime, *, starts: bool
) -> None:
    """Give an operation (locked by the caller) to one worker; from now on nobody can know that nothing was sent."""
    values: dict[str, Any] = {
        "status": OperationStatus.CALLING,
        "lease_token": token,
        "leased_until": until,
        "attempts": operations.c.attempts + 1,
        "updated_at": now,
    }
    if starts:
        values["first_sent_at"] = now
    await tx.execute(sa.update(operations).where(operations.c.id == operation_id).values(values))


async def write(tx: AsyncConnection, operation_id: UUID, token: UUID | None, now: datetime, **values: Any) -> bool:
    """Write an outcome and end the lease; False when the lease belongs to another worker by now."""
    statement = sa.update(operations).where(operations.c.id == operation_id)
    if token is not None:
        statement = statement.where(operations.c.lease_token == token)
    changed = await tx.execute(statement.values(lease_token=None, leased_until=None, updated_at=now, **values))
    return changed.rowcount == 1


async def note_request(
    tx: AsyncConnection,
    exchange: Exchange,
    *,
    at: datetime,
    provider: str,
    shop: str,
    operation_id: UUID | None = None,
    invoice_id: UUID | None = None,
    idempotency_key: str | None = None,
) -> None:
    """Keep what was said to a provider and answered; it is redacted already."""
    await tx.execute(
        sa.insert(requests).values(
            at=at,
            id=new_id(),
            operation_id=operation_id,
            invoice_id=invoice_id,
            provider=provider,
            shop=shop,
            idempotency_key=idempotency_key,
            method=exchange.method,
            path=exchange.path,
            request=dict(exchange.request),
            response=None if exchange.response is None else dict(exchange.response),
            status_code=exchange.status_code,
            error=exchange.error,
            duration_ms=exchange.duration_ms,
        )
    )


async def maintain(tx: AsyncConnection, callbacks_kept_days: int, inbox_kept_days: int) -> int:
    """Make partitions ahead and drop old ones; the function runs as the owner of the tables."""
    statement = sa.select(sa.func.gateway.maintain_partitions(callbacks_kept_days, inbox_kept_days))
    return int((await tx.execute(statement)).scalar_one())


def _operation(row: sa.Row[tuple[object, ...]]) -> Operation:
    data = row._asdict()
    data["amount"] = Money(data.pop("amount_minor"), data.pop("currency"))
    data["kind"] = OperationKind(data["kind"])
    data["status"] = OperationStatus(data["status"])
    del data["updated_at"]
    return Operation(**data)
