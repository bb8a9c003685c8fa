"""Payment attempts, the provider's transactions bound to them, and the facts that were said once."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.kernel.money import Money
from copeck.storage.bulk import BulkInsert
from payments_gateway.domain.models import Attempt
from payments_gateway.domain.provider import AttemptStatus
from payments_gateway.tables import attempts, attempts_due, facts, transactions


async def add(tx: AsyncConnection, attempt: Attempt, idempotency_key: str, due_at: datetime | None) -> None:
    """Keep a new attempt; `due_at` is when the janitor asks about it."""
    await add_many(tx, [(attempt, idempotency_key)])
    if due_at is not None:
        await schedule(tx, attempt.payment_id, due_at)


_ADD = BulkInsert(attempts, [column.name for column in attempts.columns])


async def add_many(tx: AsyncConnection, new: Sequence[tuple[Attempt, str]]) -> None:
    """Keep new attempts, each with its idempotency key; the janitor asks about none of them by itself."""
    await _ADD(tx, [_values(attempt, key) for attempt, key in new])


def _values(attempt: Attempt, idempotency_key: str) -> dict[str, Any]:
    return {
        "payment_id": attempt.payment_id,
        "invoice_id": attempt.invoice_id,
        "account": attempt.account,
        "provider": attempt.provider,
        "shop": attempt.shop,
        "idempotency_key": idempotency_key,
        "amount_minor": attempt.amount.minor,
        "currency": attempt.amount.currency,
        "status": attempt.status,
        "transaction_id": attempt.transaction_id,
        "method": attempt.method,
        "failure_code": attempt.failure_code,
        "failure_reason": attempt.failure_reason,
        "decline": attempt.decline,
        "created_at": attempt.created_at,
        "updated_at": attempt.created_at,
    }


async def schedule(tx: AsyncConnection, payment_id: UUID, due_at: datetime) -> None:
    """Have the janitor look at an attempt at a moment."""
    await tx.execute(insert(attempts_due).values(due_at=due_at, payment_id=payment_id).on_conflict_do_nothing())


async def take_due(tx: AsyncConnection, now: datetime, limit: int) -> list[UUID]:
    """Take attempts whose time has come out of the due table."""
    due = (
        sa.select(attempts_due.c.due_at, attempts_due.c.payment_id)
        .where(attempts_due.c.due_at <= now)
        .order_by(attempts_due.c.due_at, attempts_due.c.payment_id)
        .limit(limit)
    )
    taken = (
        sa.delete(attempts_due)
        .where(sa.tuple_(attempts_due.c.due_at, attempts_due.c.payment_id).in_(due))
        .returning(attempts_due.c.payment_id)
    )
    return list(dict.fromkeys((await tx.execute(taken)).scalars()))


async def get(tx: AsyncConnection, payment_id: UUID, *, lock: bool = False) -> Attempt | None:
    """Return one attempt, locked until the end of the transaction if it is to be changed."""
    query = sa.select(attempts).where(attempts.c.payment_id == payment_id)
    row = (await tx.execute(query.with_for_update(key_share=True) if lock else query)).first()
    return None if row is None else from_row(row)


async def of_invoice(tx: AsyncConnection, invoice_id: UUID) -> list[Attempt]:
    """Return an invoice's attempts, oldest first."""
    query = sa.select(attempts).where(attempts.c.invoice_id == invoice_id).order_by(attempts.c.payment_id)
    return [from_row(row) for row in await tx.execute(query)]


async def update(tx: AsyncConnection, attempt: Attempt, now: datetime) -> None:
    """Write what is known of an attempt now."""
    await tx.execute(
        sa.update(attempts)
        .where(attempts.c.payment_id == attempt.payment_id)
        .values(
            status=attempt.status,
            transaction_id=attempt.transaction_id,
            method=attempt.method,
            failure_code=attempt.failure_code,
            failure_reason=attempt.failure_reason,
            decline=attempt.decline,
            updated_at=now,
        )
    )


async def bound_to(tx: AsyncConnection, provider: str, shop: str, transaction_id: str) -> UUID | None:
    """Return the payment that a provider's transaction belongs to."""
    query = sa.select(transactions.c.payment_id).where(
        transactions.c.provider == provider,
        transactions.c.shop == shop,
        transactions.c.transaction_id == transaction_id,
    )
    return (await tx.execute(query)).scalar_one_or_none()


async def invoice_of(tx: AsyncConnection, provider: str, shop: str, transaction_id: str) -> UUID | None:
    """Return the invoice that a provider's transaction belongs to."""
    query = sa.select(transactions.c.invoice_id).where(
        transactions.c.provider == provider,
        transactions.c.shop == shop,
        transactions.c.transaction_id == transaction_id,
    )
    return (await tx.execute(query)).scalar_one_or_none()


async def learn(
    tx: AsyncConnection, provider: str, shop: str, transaction_id: str, kind: str, source: str, now: datetime
) -> bool:
    """Note that a provider said something of a transaction; False when that was known already."""
    fact = (
        insert(facts)
        .values(provider=provider, shop=shop, transaction_id=transaction_id, kind=kind, source=source, learned_at=now)
        .on_conflict_do_nothing()
        .returning(facts.c.kind)
    )
    return (await tx.execute(fact)).first() is not None


async def heard(
    tx: AsyncConnection, provider: str, shop: str, statements: Iterable[tuple[str, str]]
) -> set[tuple[str, str]]:
    """Return those of the statements (transaction, kind) that were heard before."""
    query = sa.select(facts.c.transaction_id, facts.c.kind).where(
        facts.c.provider == provider,
        facts.c.shop == shop,
        sa.tuple_(facts.c.transaction_id, facts.c.kind).in_(list(statements)),
    )
    return {(row.transaction_id, row.kind) for row in await tx.execute(query)}


def from_row(row: sa.Row[Any]) -> Attempt:
    """Turn a row into the domain's value."""
    data = row._asdict()
    return Attempt(
        payment_id=data["payment_id"],
        invoice_id=data["invoice_id"],
        account=data["account"],
        provider=data["provider"],
        shop=data["shop"],
        amount=Money(data["amount_minor"], data["currency"]),
        status=AttemptStatus(data["status"]),
        created_at=data["created_at"],
        transaction_id=data["transaction_id"],
        method=data["method"],
        failure_code=data["failure_code"],
        failure_reason=data["failure_reason"],
        decline=data["decline"],
    )
