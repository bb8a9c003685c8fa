"""Reading what is known of invoices in two statements, and writing what was heard in one, however many there are."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncConnection

from payments_gateway.domain.hearing import Known
from payments_gateway.domain.models import Attempt
from payments_gateway.store.attempts import from_row
from payments_gateway.store.invoices import from_row as invoice_from_row
from payments_gateway.tables import attempts, facts, invoices

_KINDS = (
    sa.select(sa.func.array_agg(facts.c.kind))
    .where(
        facts.c.provider == attempts.c.provider,
        facts.c.shop == attempts.c.shop,
        facts.c.transaction_id == attempts.c.transaction_id,
    )
    .scalar_subquery()
    .label("kinds")
)
_IDS = sa.bindparam("ids", type_=pg.ARRAY(pg.UUID(as_uuid=True)))
_INVOICES = (
    sa.select(invoices)
    .where(invoices.c.invoice_id == sa.any_(_IDS))
    .order_by(invoices.c.invoice_id)
    .with_for_update(key_share=True)
)
_ATTEMPTS = sa.select(attempts, _KINDS).where(attempts.c.invoice_id == sa.any_(_IDS)).order_by(attempts.c.payment_id)

# One statement for everything that a batch of callbacks changes; each part is one row set, given as JSON.
_WRITE = sa.text("""
WITH new_facts AS (
    INSERT INTO gateway.facts (provider, shop, transaction_id, kind, source, learned_at)
    SELECT provider, shop, transaction_id, kind, source, :now
    FROM jsonb_to_recordset(:facts) AS f (provider text, shop text, transaction_id text, kind text, source text)
), new_transactions AS (
    INSERT INTO gateway.transactions (provider, shop, transaction_id, payment_id, invoice_id)
    SELECT provider, shop, transaction_id, payment_id, invoice_id
    FROM jsonb_to_recordset(:transactions)
        AS t (provider text, shop text, transaction_id text, payment_id uuid, invoice_id uuid)
), due AS (
    INSERT INTO gateway.attempts_due (due_at, payment_id)
    SELECT :due_at, payment_id FROM jsonb_to_recordset(:due) AS d (payment_id uuid)
    ON CONFLICT DO NOTHING
)
INSERT INTO gateway.attempts AS known (payment_id, invoice_id, account, provider, shop, idempotency_key, amount_minor,
    currency, status, transaction_id, method, failure_code, failure_reason, decline, created_at, updated_at)
SELECT payment_id, invoice_id, account, provider, shop, idempotency_key, amount_minor, currency, status,
    transaction_id, method, failure_code, failure_reason, decline, created_at, :now
FROM jsonb_to_recordset(:attempts) AS a (payment_id uuid, invoice_id uuid, account text, provider text, shop text,
    idempotency_key text, amount_minor bigint, currency text, status text, transaction_id text, method text,
    failure_code text, failure_reason text, decline text, created_at timestamptz)
ON CONFLICT (payment_id) DO UPDATE SET (status, transaction_id, method, failure_code, failure_reason, decline,
    updated_at) = (excluded.status, excluded.transaction_id, excluded.method, excluded.failure_code,
    excluded.failure_reason, excluded.decline, excluded.updated_at)
""").bindparams(
    sa.bindparam("facts", type_=pg.JSONB),
    sa.bindparam("transactions", type_=pg.JSONB),
    sa.bindparam("due", type_=pg.JSONB),
    sa.bindparam("attempts", type_=pg.JSONB),
    sa.bindparam("now", type_=sa.DateTime(timezone=True)),
    sa.bindparam("due_at", type_=sa.DateTime(timezone=True)),
)


@dataclass(slots=True)
class Changes:
    """What a batch of statements changes."""

    touched: dict[UUID, Attempt] = field(default_factory=dict)
    opened: set[UUID] = field(default_factory=set)
    bound: list[Attempt] = field(default_factory=list)
    learned: list[dict[str, Any]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.touched or self.learned)


async def load(tx: AsyncConnection, invoice_ids: Iterable[UUID]) -> dict[UUID, Known]:
    """Return what is known of invoices, each locked until the end of the transaction.

    The lock of the invoice's row makes everything that is heard of one invoice happen one after the other, in every
    process; what is read after it is therefore complete.
    """
    ids = {"ids": list(set(invoice_ids))}
    if not ids["ids"]:
        return {}
    found: dict[UUID, Known] = {}
    for row in await tx.execute(_INVOICES, ids):
        invoice = invoice_from_row(row)
        found[invoice.invoice_id] = Known(invoice)
    if not found:
        return {}
    for row in await tx.execute(_ATTEMPTS, ids):
        attempt = from_row(row)
        known = found.get(attempt.invoice_id)
        if known is None:
            continue
        known.attempts[attempt.payment_id] = attempt
        if attempt.transaction_id is not None:
            key = (attempt.provider, attempt.shop, attempt.transaction_id)
            known.heard |= {(key, kind) for kind in row.kinds or ()}
    return found


async def write(tx: AsyncConnection, changes: Changes, now: datetime, due_at: datetime) -> None:
    """Write everything that was heard; IntegrityError when a transaction is bound to another invoice already."""
    if not changes:
        return
    await tx.execute(
        _WRITE,
        {
            "facts": changes.learned,
            "transactions": [
                {
                    "provider": item.provider,
                    "shop": item.shop,
                    "transaction_id": item.transaction_id,
                    "payment_id": str(item.payment_id),
                    "invoice_id": str(item.invoice_id),
                }
                for item in changes.bound
            ],
            "due": [{"payment_id": str(payment_id)} for payment_id in changes.opened],
            "attempts": [_attempt(item) for item in changes.touched.values()],
            "now": now,
            "due_at": due_at,
        },
    )


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "payment_id": str(attempt.payment_id),
        "invoice_id": str(attempt.invoice_id),
        "account": attempt.account,
        "provider": attempt.provider,
        "shop": attempt.shop,
        "idempotency_key": str(attempt.payment_id),
        "amount_minor": attempt.amount.minor,
        "currency": attempt.amount.currency,
        "status": attempt.status.value,
        "transaction_id": attempt.transaction_id,
        "method": attempt.method,
        "failure_code": attempt.failure_code,
        "failure_reason": attempt.failure_reason,
        "decline": attempt.decline,
        "created_at": attempt.created_at.isoformat(),
    }
