"""Writing what a batch brought about: one set-based statement a table, columns through `unnest`."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any
from uuid import UUID

import orjson

from billing_state_updater.domain.aggregates import Account, Invoice, Payout
from billing_state_updater.store.arrays import (
    Column,
    bools,
    int2s,
    int4s,
    int8s,
    moments,
    nullable_int8s,
    raws,
    texts,
    uuids,
)
from billing_state_updater.store.load import Cursor
from billing_state_updater.tables import INVOICE_HOT, INVOICE_TERMS
from billing_state_updater.world import Quarantined, World

# A row that is not there, or not in the version that was locked, would be a defect; dividing by zero takes the
# whole batch back before it can be committed, without a round trip for looking.
_EXACTLY = "SELECT 1 / (CASE WHEN count(*) = ${n} THEN 1 ELSE 0 END) FROM done"


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


def _parameters(first: int, count: int) -> str:
    return ", ".join(f"${n}" for n in range(first, first + count))


_hot_columns = ", ".join(INVOICE_HOT)
_term_columns = ", ".join(f'"{name}"' for name in INVOICE_TERMS)
_term_values = ", ".join("row.refs::jsonb" if name == "references" else f"row.{name}" for name in INVOICE_TERMS)
_term_names = ", ".join("refs" if name == "references" else name for name in INVOICE_TERMS)
_NEW_INVOICES = (
    f"WITH row AS (SELECT * FROM unnest($1, {_parameters(2, 27)}) AS row (id, {_hot_columns}, {_term_names})), "
    "due AS (INSERT INTO state.invoices_due (due_at, invoice_id, account) "
    "SELECT expires_at, id, account FROM row WHERE status IN ('issued', 'pending')) "
    f"INSERT INTO state.invoices (id, {_hot_columns}, {_term_columns}, issued_at, updated_at) "
    f"SELECT row.id, {', '.join(f'row.{name}' for name in INVOICE_HOT)}, {_term_values}, $29, $29 FROM row"
)
_CHANGED_INVOICES = (
    "WITH done AS (UPDATE state.invoices AS invoice SET "
    + ", ".join(f"{name} = row.{name}" for name in INVOICE_HOT)
    + f", updated_at = $15 FROM unnest($1, {_parameters(2, 13)}) AS row (id, {_hot_columns}) "
    "WHERE invoice.id = row.id AND invoice.version < row.version RETURNING 1) " + _EXACTLY.format(n=16)
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


_TRANSITIONS = (
    "INSERT INTO state.transitions (aggregate_id, version, aggregate, event, status, changes, cause_id, cause_type, "
    "actor, shard, epoch, at) SELECT a, b, c, d, e, f::jsonb, g, h, i, j, k, $12 "
    "FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) AS row (a, b, c, d, e, f, g, h, i, j, k)"
)


async def transitions(cursor: Cursor, world: World, epochs: Mapping[int, int]) -> None:
    """Append to the event chains."""
    rows = world.transitions
    if not rows:
        return
    columns = (
        uuids([row.aggregate_id for row in rows]),
        int4s([row.version for row in rows]),
        texts([row.aggregate for row in rows]),
        texts([row.event for row in rows]),
        texts([row.status for row in rows]),
        raws([row.changes for row in rows]),
        uuids([row.cause_id for row in rows]),
        texts([row.cause_type for row in rows]),
        texts([row.actor for row in rows]),
        int2s([row.shard for row in rows]),
        int8s([epochs[row.shard] for row in rows]),
    )
    await cursor.execute(_TRANSITIONS, (*columns, world.now), prepare=True)


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
    "INSERT INTO state.refunds AS refund (invoice_id, id, version, status, origin, source, amount_minor, "
    "commission_minor, currency, payment_id, provider, shop, transaction, refund_transaction, reason, failure_code, "
    "failure_reason, created_at, updated_at) SELECT a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, $18, $18 "
    f"FROM unnest({_parameters(1, 17)}) AS row (a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q) "
    "ON CONFLICT (invoice_id, id) DO UPDATE SET version = excluded.version, status = excluded.status, "
    "refund_transaction = excluded.refund_transaction, failure_code = excluded.failure_code, "
    "failure_reason = excluded.failure_reason, updated_at = excluded.updated_at"
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


_PAYOUT_HOT = ("version", "status", "attempt", "outcome_unknown", "transaction", "last_error", "approved_by")
_PAYOUT_TERMS = (
    "account",
    "amount_minor",
    "commission_minor",
    "currency",
    "provider",
    "shop",
    "recipient",
    "description",
    "requested_by",
)
_NEW_PAYOUTS = (
    f'INSERT INTO state.payouts (id, {", ".join(_PAYOUT_HOT + _PAYOUT_TERMS)}, "references", requested_at, '
    f"updated_at) SELECT id, {', '.join(_PAYOUT_HOT + _PAYOUT_TERMS)}, refs::jsonb, $19, $19 "
    f"FROM unnest({_parameters(1, 18)}) AS row (id, {', '.join(_PAYOUT_HOT + _PAYOUT_TERMS)}, refs)"
)
_CHANGED_PAYOUTS = (
    "WITH done AS (UPDATE state.payouts AS payout SET "
    + ", ".join(f"{name} = row.{name}" for name in _PAYOUT_HOT)
    + f", updated_at = $9 FROM unnest({_parameters(1, 8)}) AS row (id, {', '.join(_PAYOUT_HOT)}) "
    "WHERE payout.id = row.id AND payout.version < row.version RETURNING 1) " + _EXACTLY.format(n=10)
)
_Pack = Callable[[Sequence[Any]], Column]
_PAYOUT_PACK: dict[str, _Pack] = {
    "version": int4s,
    "attempt": int4s,
    "outcome_unknown": bools,
    "amount_minor": int8s,
    "commission_minor": int8s,
}


def _payout_columns(rows: Sequence[Payout], names: Sequence[str]) -> list[Column]:
    return [_PAYOUT_PACK.get(name, texts)([getattr(row, name) for row in rows]) for name in names]


async def payouts(cursor: Cursor, world: World) -> None:
    """Insert the payouts that are new, update the others."""
    new = [row for row in world.touched_payouts.values() if row.id not in world.known]
    changed = [row for row in world.touched_payouts.values() if row.id in world.known]
    if new:
        references = raws([orjson.dumps(row.references) for row in new])
        columns = [uuids([row.id for row in new]), *_payout_columns(new, _PAYOUT_HOT + _PAYOUT_TERMS), references]
        await cursor.execute(_NEW_PAYOUTS, (*columns, world.now), prepare=True)
    if changed:
        columns = [uuids([row.id for row in changed]), *_payout_columns(changed, _PAYOUT_HOT)]
        await cursor.execute(_CHANGED_PAYOUTS, (*columns, world.now, len(changed)), prepare=True)


_NEW_ACCOUNTS = (
    "INSERT INTO state.accounts (name, currency, balance_minor, version, opened, updated_at) "
    "SELECT a, b, c, d, e, $6 FROM unnest($1, $2, $3, $4, $5) AS row (a, b, c, d, e)"
)
_CHANGED_ACCOUNTS = (
    "WITH done AS (UPDATE state.accounts AS account SET balance_minor = c, version = d, opened = e, updated_at = $6 "
    "FROM unnest($1, $2, $3, $4, $5) AS row (a, b, c, d, e) "
    "WHERE name = a AND currency = b AND version < d RETURNING 1) " + _EXACTLY.format(n=7)
)


def _account_columns(rows: Sequence[Account]) -> list[Column]:
    return [
        texts([row.name for row in rows]),
        texts([row.currency for row in rows]),
        int8s([row.balance_minor for row in rows]),
        int4s([row.version for row in rows]),
        bools([row.opened for row in rows]),
    ]


async def accounts(cursor: Cursor, world: World) -> None:
    """Insert or update materialised accounts."""
    new = [row for key, row in world.touched_accounts.items() if key not in world.known]
    changed = [row for key, row in world.touched_accounts.items() if key in world.known]
    if new:
        await cursor.execute(_NEW_ACCOUNTS, (*_account_columns(new), world.now), prepare=True)
    if changed:
        await cursor.execute(_CHANGED_ACCOUNTS, (*_account_columns(changed), world.now, len(changed)), prepare=True)


_TRANSFERS = (
    "INSERT INTO state.transfers (aggregate_id, cause_id, n, debit_account, credit_account, amount_minor, currency, "
    "kind, debit_balance_minor, credit_balance_minor, at) SELECT a, b, c, d, e, f, g, h, i, j, $11 "
    "FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) AS row (a, b, c, d, e, f, g, h, i, j)"
)


async def transfers(cursor: Cursor, world: World) -> None:
    """Append to the books."""
    rows = world.postings
    if not rows:
        return
    columns = (
        uuids([row.aggregate_id for row in rows]),
        uuids([row.cause_id for row in rows]),
        int2s([row.n for row in rows]),
        texts([row.transfer.debit for row in rows]),
        texts([row.transfer.credit for row in rows]),
        int8s([row.transfer.amount_minor for row in rows]),
        texts([row.transfer.currency for row in rows]),
        texts([row.transfer.kind for row in rows]),
        nullable_int8s([row.debit_balance for row in rows]),
        nullable_int8s([row.credit_balance for row in rows]),
    )
    await cursor.execute(_TRANSFERS, (*columns, world.now), prepare=True)


_BOOKINGS = (
    "INSERT INTO state.bookings (id, kind, reason, requested_by, approved_by, cause_id, at) "
    "SELECT a, b, c, d, e, f, $7 FROM unnest($1, $2, $3, $4, $5, $6) AS row (a, b, c, d, e, f)"
)
_REFUSALS = (
    "INSERT INTO state.refusals (command_id, command_type, aggregate, outcome, code, detail, actor, at) "
    "SELECT a, b, c, d, e, f, g, $8 FROM unnest($1, $2, $3, $4, $5, $6, $7) AS row (a, b, c, d, e, f, g) "
    "ON CONFLICT DO NOTHING"
)


async def notes(cursor: Cursor, world: World) -> None:
    """Append corrections, settlements and refusals."""
    if world.bookings:
        booked = world.bookings
        columns = (
            uuids([row.id for row in booked]),
            texts([row.kind for row in booked]),
            texts([row.reason for row in booked]),
            texts([row.requested_by for row in booked]),
            texts([row.approved_by for row in booked]),
            uuids([row.cause_id for row in booked]),
        )
        await cursor.execute(_BOOKINGS, (*columns, world.now), prepare=True)
    if world.refusals:
        refused = world.refusals
        refused_columns = (
            uuids([row.command.id for row in refused]),
            texts([row.command.type for row in refused]),
            texts([row.aggregate for row in refused]),
            texts([row.outcome for row in refused]),
            texts([row.code for row in refused]),
            texts([row.detail for row in refused]),
            texts([row.actor for row in refused]),
        )
        await cursor.execute(_REFUSALS, (*refused_columns, world.now), prepare=True)


_OUTBOX = (
    "INSERT INTO state.outbox (day, shard, seq, message_id, type, subject, cause_id, correlation_id, traceparent, "
    "body, at) SELECT $10::date, a, b, c, d, e, f, g, h, i, $11 "
    "FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9) AS row (a, b, c, d, e, f, g, h, i)"
)


async def outbox(cursor: Cursor, world: World) -> None:
    """Append the events to publish."""
    rows = world.outgoing
    if not rows:
        return
    columns = (
        int2s([row.shard for row in rows]),
        int8s([row.seq for row in rows]),
        uuids([row.message_id for row in rows]),
        texts([row.type for row in rows]),
        texts([row.subject for row in rows]),
        uuids([row.cause_id for row in rows]),
        texts([row.correlation_id for row in rows]),
        texts([row.traceparent for row in rows]),
        raws([row.body for row in rows]),
    )
    await cursor.execute(_OUTBOX, (*columns, world.now.date(), world.now), prepare=True)


_CURSORS = (
    "UPDATE state.outbox_cursors AS target SET seq = row.seq FROM unnest($1, $2) AS row (shard, seq) "
    "WHERE target.shard = row.shard AND target.seq < row.seq"
)


async def cursors(cursor: Cursor, published: Mapping[int, int]) -> None:
    """Advance the outbox cursors over what the broker has confirmed."""
    if published:
        await cursor.execute(_CURSORS, (int2s(list(published)), int8s(list(published.values()))), prepare=True)


_QUARANTINE = (
    "INSERT INTO state.quarantine (id, shard, message_id, sender, reason, headers, body, at) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING"
)
_TEXT_MAX = 500


async def quarantine(cursor: Cursor, messages: Sequence[Quarantined], now: datetime) -> None:
    """Set messages aside; the same message twice is one row."""
    for message in messages:
        delivery = message.delivery
        headers = orjson.dumps(_plain(delivery.headers)).decode().replace("\\u0000", "")
        identity = blake2b(delivery.message_id.encode() + headers.encode() + delivery.body, digest_size=16)
        await cursor.execute(
            _QUARANTINE,
            (
                UUID(bytes=identity.digest()),
                delivery.shard,
                _printable(delivery.message_id),
                _printable(delivery.sender),
                _printable(message.reason),
                headers,
                delivery.body,
                now,
            ),
            prepare=True,
        )


def _printable(text: str) -> str:
    return text.replace("\x00", "")[:_TEXT_MAX]


def _plain(value: Any) -> Any:
    """Turn AMQP header values into what JSON can hold."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)
