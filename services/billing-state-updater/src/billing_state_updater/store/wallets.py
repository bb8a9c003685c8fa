"""A wallet or a merchant's balance as it is kept, what is held of it and what is coming, and its transfers."""

from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg.rows import dict_row

Connection = psycopg.Connection[tuple[Any, ...]]
_FETCH = 5000

# Held is what payouts under way took; pending is what open top-ups will bring, less their commission.
_BALANCES = """
SELECT account.name AS account, account.currency, account.balance_minor, account.version, account.updated_at,
       coalesce(held.amount, 0)::bigint AS held_minor, coalesce(held.payouts, 0) AS payouts_under_way,
       coalesce(pending.amount, 0)::bigint AS pending_minor, coalesce(pending.topups, 0) AS topups_open
FROM state_api.accounts_v1 AS account
LEFT JOIN LATERAL (
    SELECT sum(payout.amount_minor + payout.commission_minor) AS amount, count(*) AS payouts
    FROM state_api.payouts_v1 AS payout
    WHERE payout.account = account.name AND payout.currency = account.currency
      AND payout.status IN ('pending', 'processing')
) AS held ON true
LEFT JOIN LATERAL (
    SELECT sum(topup.amount_minor - topup.commission_minor) AS amount, count(*) AS topups
    FROM state_api.wallet_topups_v1 AS topup
    WHERE topup.wallet = account.name AND topup.currency = account.currency
      AND topup.status IN ('issued', 'pending', 'authorized')
) AS pending ON true
WHERE account.name = %(account)s AND (%(currency)s::text IS NULL OR account.currency = %(currency)s)
ORDER BY account.currency
"""

_HALF = """
(SELECT direction, counter_account, amount_minor, balance_after_minor, kind, at, aggregate_id, cause_id, n
 FROM state_api.{view} WHERE account = %(account)s AND currency = %(currency)s
 ORDER BY at DESC, aggregate_id DESC, cause_id DESC, n DESC LIMIT %(limit)s)
"""
_LAST = (
    _HALF.format(view="wallet_debits_v1")
    + "UNION ALL"
    + _HALF.format(view="wallet_credits_v1")
    + "ORDER BY at DESC, aggregate_id DESC, cause_id DESC, n DESC LIMIT %(limit)s"
)

_MOVES = """
SELECT CASE direction WHEN 'debit' THEN -amount_minor ELSE amount_minor END, balance_after_minor
FROM state_api.wallet_transfers_v1 WHERE account = %(account)s AND currency = %(currency)s
"""


def balances(connection: Connection, account: str, currency: str | None) -> list[dict[str, Any]]:
    """Return an account's balances, a row for each currency; with none, it was never opened nor moved."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_BALANCES, {"account": account, "currency": currency}).fetchall()


def last_transfers(connection: Connection, account: str, currency: str, limit: int) -> list[dict[str, Any]]:
    """Return the newest transfers of an account, as it saw them."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_LAST, {"account": account, "currency": currency, "limit": limit}).fetchall()


def moves(connection: Connection, account: str, currency: str) -> Iterator[tuple[int, int]]:
    """Stream every change of an account's balance with the balance after it, in no order."""
    with connection.cursor(name="account_moves") as cursor:
        cursor.itersize = _FETCH
        yield from cursor.execute(_MOVES, {"account": account, "currency": currency})
