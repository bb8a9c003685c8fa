"""Rows of invoices, of their attempts and of their refunds."""

from collections.abc import Sequence
from datetime import UTC, datetime

import orjson

from billing_state_updater.domain.aggregates import Invoice
from billing_state_updater.store.arrays import Column, bools, int4s, int8s, moments, raws, texts, uuids
from billing_state_updater.store.load import Cursor
from billing_state_updater.store.save.statements import exactly, parameters
from billing_state_updater.tables import INVOICE_HOT, INVOICE_TERMS
from billing_state_updater.world import World


def _hot(invoices: Sequence[Invoice]) -> list[Column]:
    return [
        int4s([row.version for row in invoices]),
        texts([row.status for row in invoices]),
        int8s([row.refunded_minor for row in invoices]),
        int8s([row.refunding_minor for row in invoices]),
        int8s([row.commission_returned_minor for row in invoices]),
        uuids([row.payment_id for row in invoices]),
        texts([row.provider for row in invoices]),
        texts([row.shop for row in invoices]),
        texts([row.transaction for row in invoices]),
        texts([row.method for row in invoices]),
        texts([row.failure_code for row in invoices]),
        texts([row.failure_reason for row in invoices]),
        texts([row.reason for row in invoices]),
    ]


def _terms(invoices: Sequence[Invoice]) -> list[Column]:
    return [
        texts([row.account for row in invoices]),
        texts([row.kind for row in invoices]),
        texts([row.product for row in invoices]),
        texts([row.payer for row in invoices]),
        texts([row.beneficiary for row in invoices]),
        int8s([row.amount_minor for row in invoices]),
        int8s([row.commission_minor for row in invoices]),
        texts([row.currency for row in invoices]),
        texts([row.description for row in invoices]),
        texts([row.late_policy for row in invoices]),
        texts([row.late_wallet for row in invoices]),
        texts([row.capture for row in invoices]),
        moments([row.expires_at or datetime.max.replace(tzinfo=UTC) for row in invoices]),
        raws([orjson.dumps(row.references) for row in invoices]),
    ]


_hot_columns = ", ".join(INVOICE_HOT)
_term_columns = ", ".join(f'"{name}"' for name in INVOICE_TERMS)
_term_values = ", ".join("row.refs::jsonb" if name == "references" else f"row.{name}" for name in INVOICE_TERMS)
_term_names = ", ".join("refs" if name == "references" else name for name in INVOICE_TERMS)
_NEW_INVOICES = (
    f"WITH row AS (SELECT * FROM unnest($1, {parameters(2, 27)}) AS row (id, {_hot_columns}, {_term_names})), "  # noqa: S608  names of columns, all ours
    "due AS (INSERT INTO state.invoices_due (due_at, invoice_id, account) "
    "SELECT expires_at, id, account FROM row WHERE status IN ('issued', 'pending')) "
    f"INSERT INTO state.invoices (id, {_hot_columns}, {_term_columns}, issued_at, updated_at) "
    f"SELECT row.id, {', '.join(f'row.{name}' for name in INVOICE_HOT)}, {_term_values}, $29, $29 FROM row"
)
_CHANGED_INVOICES = (
    "WITH done AS (UPDATE state.invoices AS invoice SET "  # noqa: S608  names of columns, all ours
    + ", ".join(f"{name} = row.{name}" for name in INVOICE_HOT)
    + f", updated_at = $15 FROM unnest($1, {parameters(2, 13)}) AS row (id, {_hot_columns}) "
    "WHERE invoice.id = row.id AND invoice.version < row.version RETURNING 1) " + exactly(n=16)
)


async def invoices(cursor: Cursor, world: World) -> None:
    """Insert the invoices that are new, update the others."""
    new = [row for row in world.touched_invoices.values() if row.id not in world.known]
    changed = [row for row in world.touched_invoices.values() if row.id in world.known]
    if new:
        columns = [uuids([row.id for row in new]), *_hot(new), *_terms(new)]
        await cursor.execute(_NEW_INVOICES, (*columns, world.now), prepare=True)
    if changed:
        columns = [uuids([row.id for row in changed]), *_hot(changed)]
        await cursor.execute(_CHANGED_INVOICES, (*columns, world.now, len(changed)), prepare=True)


_PAYMENTS = (
    "INSERT INTO state.payments AS payment (invoice_id, id, provider, shop, transaction, status, amount_minor, "
    "currency, method, failure_code, failure_reason, late, created_at, updated_at) "
    "SELECT a, b, c, d, e, f, g, h, i, j, k, l, $13, $13 "
    "FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) AS row (a, b, c, d, e, f, g, h, i, j, k, l) "
    "ON CONFLICT (invoice_id, id) DO UPDATE SET transaction = excluded.transaction, status = excluded.status, "
    "amount_minor = excluded.amount_minor, currency = excluded.currency, method = excluded.method, "
    "failure_code = excluded.failure_code, failure_reason = excluded.failure_reason, late = excluded.late, "
    "updated_at = excluded.updated_at"
)


async def payments(cursor: Cursor, world: World) -> None:
    """Insert or update attempts."""
    rows = list(world.touched_payments.values())
    if not rows:
        return
    columns = (
        uuids([row.invoice_id for row in rows]),
        uuids([row.id for row in rows]),
        texts([row.provider for row in rows]),
        texts([row.shop for row in rows]),
        texts([row.transaction for row in rows]),
        texts([row.status for row in rows]),
        int8s([row.amount_minor for row in rows]),
        texts([row.currency for row in rows]),
        texts([row.method for row in rows]),
        texts([row.failure_code for row in rows]),
        texts([row.failure_reason for row in rows]),
        bools([row.late for row in rows]),
    )
    await cursor.execute(_PAYMENTS, (*columns, world.now), prepare=True)


_REFUNDS = (
    "INSERT INTO state.refunds AS refund (invoice_id, id, version, status, origin, source, amount_minor, "  # noqa: S608  names of columns, all ours
    "commission_minor, currency, payment_id, provider, shop, transaction, refund_transaction, reason, failure_code, "
    "failure_reason, created_at, updated_at) SELECT a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, $18, $18 "
    f"FROM unnest({parameters(1, 17)}) AS row (a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q) "
    "ON CONFLICT (invoice_id, id) DO UPDATE SET version = excluded.version, status = excluded.status, "
    "commission_minor = excluded.commission_minor, refund_transaction = excluded.refund_transaction, "
    "failure_code = excluded.failure_code, failure_reason = excluded.failure_reason, updated_at = excluded.updated_at"
)


async def refunds(cursor: Cursor, world: World) -> None:
    """Insert or update refunds."""
    rows = list(world.touched_refunds.values())
    if not rows:
        return
    columns = (
        uuids([row.invoice_id for row in rows]),
        uuids([row.id for row in rows]),
        int4s([row.version for row in rows]),
        texts([row.status for row in rows]),
        texts([row.origin for row in rows]),
        texts([row.source for row in rows]),
        int8s([row.amount_minor for row in rows]),
        int8s([row.commission_minor for row in rows]),
        texts([row.currency for row in rows]),
        uuids([row.payment_id for row in rows]),
        texts([row.provider for row in rows]),
        texts([row.shop for row in rows]),
        texts([row.transaction for row in rows]),
        texts([row.refund_transaction for row in rows]),
        texts([row.reason for row in rows]),
        texts([row.failure_code for row in rows]),
        texts([row.failure_reason for row in rows]),
    )
    await cursor.execute(_REFUNDS, (*columns, world.now), prepare=True)
