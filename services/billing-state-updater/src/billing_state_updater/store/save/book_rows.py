"""Rows of the books: materialised balances, transfers, corrections and settlements."""

from collections.abc import Sequence

from billing_state_updater.domain.aggregates import Account
from billing_state_updater.store.arrays import Column, bools, int2s, int4s, int8s, nullable_int8s, texts, uuids
from billing_state_updater.store.load import Cursor
from billing_state_updater.store.save.statements import exactly
from billing_state_updater.world import World

_NEW_ACCOUNTS = (
    "INSERT INTO state.accounts (name, currency, balance_minor, version, opened, updated_at) "
    "SELECT a, b, c, d, e, $6 FROM unnest($1, $2, $3, $4, $5) AS row (a, b, c, d, e)"
)
_CHANGED_ACCOUNTS = (
    "WITH done AS (UPDATE state.accounts AS account SET balance_minor = c, version = d, opened = e, updated_at = $6 "  # noqa: S608  names of columns, all ours
    "FROM unnest($1, $2, $3, $4, $5) AS row (a, b, c, d, e) "
    "WHERE name = a AND currency = b AND version < d RETURNING 1) " + exactly(n=7)
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


async def bookings(cursor: Cursor, world: World) -> None:
    """Append corrections and settlements."""
    rows = world.bookings
    if not rows:
        return
    columns = (
        uuids([row.id for row in rows]),
        texts([row.kind for row in rows]),
        texts([row.reason for row in rows]),
        texts([row.requested_by for row in rows]),
        texts([row.approved_by for row in rows]),
        uuids([row.cause_id for row in rows]),
    )
    await cursor.execute(_BOOKINGS, (*columns, world.now), prepare=True)
