"""Loading what a batch's commands act on: one statement a class of rows, locked in one order everywhere.

The order is shards, inbox, invoices, payouts, accounts, each by its key: two passes over one class deadlocked in a
trial, one pass never did (design, 8). Attempts and refunds are guarded by their invoice's lock.
"""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import psycopg

from billing_state_updater.domain.aggregates import Account, Invoice, Payment, Payout, Refund
from billing_state_updater.store.arrays import dates, int2s, texts, uuids
from billing_state_updater.tables import INVOICE_HOT, INVOICE_TERMS, PAYOUT
from billing_state_updater.world import World
from copeck.kernel.ids import id_day

Cursor = psycopg.AsyncCursor[tuple[Any, ...]]

_INVOICE_COLUMNS = (*INVOICE_HOT, *INVOICE_TERMS)
_quoted = ", ".join(f'"{name}"' for name in _INVOICE_COLUMNS)
_payout_quoted = ", ".join(f'"{name}"' for name in PAYOUT)

FENCE = "SELECT shard, epoch FROM state.shards WHERE shard = ANY($1) ORDER BY shard FOR SHARE"
INBOX = (
    "INSERT INTO state.inbox (day, id) SELECT day, id FROM unnest($1, $2) AS row (day, id) ORDER BY day, id "
    "ON CONFLICT DO NOTHING RETURNING id"
)
INVOICES = f"SELECT id, {_quoted} FROM state.invoices WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE"  # noqa: S608  names of columns, all ours
PAYMENTS = (
    "SELECT id, invoice_id, provider, shop, transaction, status, amount_minor, currency, method, failure_code, "
    "failure_reason, late FROM state.payments WHERE invoice_id = ANY($1)"
)
REFUNDS = (
    "SELECT id, invoice_id, status, origin, source, amount_minor, commission_minor, currency, payment_id, provider, "
    "shop, transaction, refund_transaction, reason, failure_code, failure_reason, version "
    "FROM state.refunds WHERE invoice_id = ANY($1)"
)
PAYOUTS = f"SELECT id, {_payout_quoted} FROM state.payouts WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE"  # noqa: S608  names of columns, all ours
BOOKINGS = "SELECT id FROM state.bookings WHERE id = ANY($1)"
ACCOUNTS = (
    "SELECT name, currency, balance_minor, version, opened FROM state.accounts "
    "WHERE (name, currency) IN (SELECT * FROM unnest($1, $2)) ORDER BY name, currency FOR NO KEY UPDATE"
)


async def fence(cursor: Cursor, shards: Sequence[int]) -> None:
    """Ask for the epochs of the batch's shards, and keep them from being bumped until the commit."""
    await cursor.execute(FENCE, (int2s(shards),), prepare=True)


async def inbox(cursor: Cursor, ids: Sequence[UUID]) -> None:
    """Enter message ids; those that come back are new."""
    await cursor.execute(INBOX, (dates([id_day(item) for item in ids]), uuids(ids)), prepare=True)


async def by_ids(cursor: Cursor, statement: str, ids: Iterable[UUID]) -> None:
    """Run one of this module's statements for a set of ids."""
    await cursor.execute(statement, (uuids(sorted(ids)),), prepare=True)


async def accounts(cursor: Cursor, keys: Iterable[tuple[str, str]]) -> None:
    """Lock materialised accounts by (name, currency)."""
    ordered = sorted(keys)
    names, currencies = [key[0] for key in ordered], [key[1] for key in ordered]
    await cursor.execute(ACCOUNTS, (texts(names), texts(currencies)), prepare=True)


def take_invoices(world: World, rows: Iterable[tuple[Any, ...]]) -> None:
    """Put loaded invoices into the world."""
    for row in rows:
        world.invoices[row[0]] = Invoice(*row)
        world.known.add(row[0])


def take_payments(world: World, rows: Iterable[tuple[Any, ...]]) -> None:
    """Put loaded attempts into their invoices."""
    for row in rows:
        payment = Payment(*row)
        world.invoices[payment.invoice_id].payments[payment.id] = payment


def take_refunds(world: World, rows: Iterable[tuple[Any, ...]]) -> None:
    """Put loaded refunds into their invoices."""
    for row in rows:
        refund = Refund(*row)
        world.invoices[refund.invoice_id].refunds[refund.id] = refund


def take_payouts(world: World, rows: Iterable[tuple[Any, ...]]) -> None:
    """Put loaded payouts into the world."""
    for row in rows:
        world.payouts[row[0]] = Payout(row[0], **dict(zip(PAYOUT, row[1:], strict=True)))
        world.known.add(row[0])


def take_accounts(world: World, rows: Iterable[tuple[Any, ...]]) -> None:
    """Put loaded accounts into the world."""
    for row in rows:
        world.accounts[row[0], row[1]] = Account(*row)
        world.known.add((row[0], row[1]))
