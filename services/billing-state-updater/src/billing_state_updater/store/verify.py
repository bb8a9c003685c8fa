"""The books read back for `copeck ledger verify`: sums, balances, and what should explain each of them."""

from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg.rows import dict_row

Connection = psycopg.Connection[tuple[Any, ...]]
_FETCH = 5000

# Wallets, merchants and receivables are a line each: there are too many of them to look at.
_BALANCES = """
SELECT CASE WHEN account ~ '^(wallet|merchant|receivable):' THEN split_part(account, ':', 1) || ':*' ELSE account END
           AS account,
       currency, count(*) AS accounts, sum(debit)::bigint AS debit_minor, sum(credit)::bigint AS credit_minor
FROM (
    SELECT account, currency, sum(debit) AS debit, sum(credit) AS credit FROM (
        SELECT debit_account AS account, currency, amount_minor AS debit, 0 AS credit FROM state.transfers
        UNION ALL
        SELECT credit_account, currency, 0, amount_minor FROM state.transfers
    ) AS side GROUP BY account, currency
) AS balance GROUP BY 1, 2 ORDER BY 1, 2
"""

_MOVES = """
SELECT name, currency, delta, balance FROM (
    SELECT debit_account COLLATE "C" AS name, currency, -amount_minor AS delta, debit_balance_minor AS balance
    FROM state.transfers WHERE debit_account LIKE 'wallet:%' OR debit_account LIKE 'merchant:%'
    UNION ALL
    SELECT credit_account COLLATE "C", currency, amount_minor, credit_balance_minor
    FROM state.transfers WHERE credit_account LIKE 'wallet:%' OR credit_account LIKE 'merchant:%'
) AS move ORDER BY name, currency
"""
_ACCOUNTS = 'SELECT name COLLATE "C" AS name, currency, balance_minor FROM state.accounts ORDER BY 1, 2'

_PAID = "('paid', 'partially_refunded', 'refunded', 'disputed', 'charged_back')"
_INVOICES = f"""
WITH booked AS (
    SELECT aggregate_id,
           sum(amount_minor) FILTER (WHERE kind = 'payment') AS payment,
           sum(amount_minor) FILTER (WHERE kind = 'commission') AS commission,
           sum(amount_minor) FILTER (WHERE kind = 'refund_settlement') AS refunded,
           sum(amount_minor) FILTER (WHERE kind = 'late_payment') AS late
    FROM state.transfers GROUP BY aggregate_id
), returned AS (
    SELECT invoice_id,
           sum(amount_minor) FILTER (WHERE status = 'succeeded' AND source NOT LIKE 'receivable:%%') AS settled,
           sum(amount_minor) FILTER (WHERE status = 'succeeded' AND origin <> 'late_payment') AS done,
           sum(amount_minor) FILTER (WHERE status IN ('requested', 'pending', 'unknown') AND origin <> 'late_payment')
               AS open
    FROM state.refunds GROUP BY invoice_id
), late AS (
    -- Money accepted late at the merchant's own shop never was ours: only its commission is booked.
    SELECT payment.invoice_id, sum(payment.amount_minor) AS amount
    FROM state.payments AS payment JOIN state.invoices AS invoice ON invoice.id = payment.invoice_id
    WHERE payment.late AND payment.status = 'succeeded'
      AND NOT (invoice.beneficiary LIKE 'receivable:%%' AND invoice.payment_id = payment.id)
    GROUP BY payment.invoice_id
), expected AS (
    SELECT invoice.id, invoice.status, invoice.currency,
           CASE WHEN status IN {_PAID} AND beneficiary NOT LIKE 'receivable:%%' THEN amount_minor ELSE 0 END AS payment,
           CASE WHEN status IN {_PAID} THEN commission_minor ELSE 0 END AS commission,
           refunded_minor, refunding_minor
    FROM state.invoices AS invoice
), compared AS (
    SELECT expected.*, coalesce(booked.payment, 0) AS booked_payment,
           coalesce(booked.commission, 0) AS booked_commission, coalesce(booked.refunded, 0) AS booked_refunded,
           coalesce(booked.late, 0) AS booked_late, coalesce(returned.settled, 0) AS settled,
           coalesce(returned.done, 0) AS done, coalesce(returned.open, 0) AS open, coalesce(late.amount, 0) AS late
    FROM expected
    LEFT JOIN booked ON booked.aggregate_id = expected.id
    LEFT JOIN returned ON returned.invoice_id = expected.id
    LEFT JOIN late ON late.invoice_id = expected.id
)
SELECT id, status, currency, payment::bigint, booked_payment::bigint, commission::bigint, booked_commission::bigint,
       settled::bigint, booked_refunded::bigint, late::bigint, booked_late::bigint, refunded_minor::bigint,
       done::bigint, refunding_minor::bigint, open::bigint
FROM compared
WHERE payment <> booked_payment OR commission <> booked_commission OR settled <> booked_refunded
   OR late <> booked_late OR refunded_minor <> done OR refunding_minor <> open
ORDER BY id LIMIT %s
"""  # noqa: S608 - made of the constants above

# What each payout moved, by account: what its source gave, what we bore of it, where it is now. A payout that was given
# back and completed after all was debited once more than it has attempts, and its commission was taken only where the
# whole was there.
_PAYOUTS = """
WITH causes AS (
    SELECT DISTINCT aggregate_id, cause_id FROM state.transitions WHERE aggregate = 'payout'
), after_all AS (
    SELECT aggregate_id FROM (
        SELECT aggregate_id, event, lag(status) OVER (PARTITION BY aggregate_id ORDER BY version) AS before
        FROM state.transitions WHERE aggregate = 'payout'
    ) AS step WHERE event = 'completed' AND before IN ('failed', 'canceled')
), booked AS (
    SELECT payout.id,
           sum(CASE payout.account WHEN debit_account THEN moved.amount_minor WHEN credit_account
               THEN -moved.amount_minor ELSE 0 END) AS given,
           sum(moved.amount_minor) FILTER (WHERE debit_account = 'losses:chargeback') AS lost,
           sum(CASE 'payouts:in_transit' WHEN credit_account THEN moved.amount_minor WHEN debit_account
               THEN -moved.amount_minor ELSE 0 END) AS in_transit,
           sum(CASE 'fees:commission' WHEN credit_account THEN moved.amount_minor WHEN debit_account
               THEN -moved.amount_minor ELSE 0 END) AS commission,
           sum(moved.amount_minor) FILTER (WHERE credit_account = concat('provider:', provider, ':', shop)) AS settled,
           count(DISTINCT moved.cause_id) FILTER (WHERE moved.kind = 'payout') AS debits,
           count(*) FILTER (WHERE moved.currency <> payout.currency OR causes.cause_id IS NULL) AS strange
    FROM state.payouts AS payout
    JOIN state.transfers AS moved ON moved.aggregate_id = payout.id
    LEFT JOIN causes ON causes.aggregate_id = moved.aggregate_id AND causes.cause_id = moved.cause_id
    GROUP BY payout.id
), compared AS (
    SELECT payout.id, payout.status, payout.currency, payout.account, payout.commission_minor,
           status IN ('pending', 'processing', 'completed') AS taken, after_all.aggregate_id IS NOT NULL AS late,
           CASE WHEN status = 'completed' THEN amount_minor ELSE 0 END AS settled,
           CASE WHEN status IN ('pending', 'processing') THEN amount_minor ELSE 0 END AS in_transit,
           attempt + (after_all.aggregate_id IS NOT NULL)::integer AS debits,
           coalesce(booked.settled, 0) AS booked_settled, coalesce(booked.in_transit, 0) AS booked_in_transit,
           coalesce(booked.commission, 0) AS booked_commission, coalesce(booked.given, 0) AS booked_given,
           coalesce(booked.lost, 0) AS booked_lost, coalesce(booked.debits, 0) AS booked_debits,
           coalesce(booked.strange, 0) AS booked_strange
    FROM state.payouts AS payout
    LEFT JOIN booked ON booked.id = payout.id
    LEFT JOIN after_all ON after_all.aggregate_id = payout.id
), expected AS (
    SELECT *,
           CASE WHEN NOT taken OR (late AND booked_commission = 0) THEN 0 ELSE commission_minor END AS commission,
           CASE WHEN late AND booked_commission = 0 AND account LIKE 'wallet:%%'
               THEN least(greatest(booked_lost, 0), settled) ELSE 0 END AS lost
    FROM compared
)
SELECT id, status, currency, settled::bigint, booked_settled::bigint, in_transit::bigint, booked_in_transit::bigint,
       commission::bigint, booked_commission::bigint, (settled + in_transit + commission - lost)::bigint AS given,
       booked_given::bigint, lost::bigint, booked_lost::bigint, debits::bigint, booked_debits::bigint,
       0::bigint AS strange, booked_strange::bigint
FROM expected
WHERE (settled, in_transit, commission, settled + in_transit + commission - lost, lost, debits, 0)
   <> (booked_settled, booked_in_transit, booked_commission, booked_given, booked_lost, booked_debits, booked_strange)
ORDER BY id LIMIT %s
"""

_ORPHANS = """
SELECT transfer.aggregate_id, transfer.cause_id, transfer.n, transfer.kind, transfer.amount_minor, transfer.currency
FROM state.transfers AS transfer
WHERE kind <> 'opening'
  AND NOT EXISTS (SELECT 1 FROM state.invoices WHERE id = transfer.aggregate_id)
  AND NOT EXISTS (SELECT 1 FROM state.payouts WHERE id = transfer.aggregate_id)
  AND NOT EXISTS (SELECT 1 FROM state.bookings WHERE id = transfer.aggregate_id)
ORDER BY aggregate_id, cause_id, n LIMIT %s
"""

# Accounts on which money only passes by, and the rows that say why some of it is there now. Corrections by hand count
# too: they are how a person takes money out that could not leave by itself.
_TRANSIT = """
WITH side AS (
    SELECT debit_account AS account, currency, kind, -amount_minor AS amount FROM state.transfers
    UNION ALL SELECT credit_account, currency, kind, amount_minor FROM state.transfers
), balance AS (
    SELECT account, currency, sum(amount) AS amount, sum(amount) FILTER (WHERE kind = 'correction') AS corrected
    FROM side WHERE account IN ('suspense:late', 'refunds:in_transit', 'payouts:in_transit') GROUP BY 1, 2
), open AS (
    -- Late money whose every refund failed so far; a refund that is tried again is a row of its own.
    SELECT 'suspense:late' AS account, currency, sum(amount) AS amount, count(*) AS items
    FROM (
        SELECT currency, max(amount_minor) AS amount FROM state.refunds WHERE source = 'suspense:late'
        GROUP BY invoice_id, payment_id, currency HAVING bool_and(status = 'failed')
    ) AS waiting GROUP BY currency
    UNION ALL
    SELECT 'refunds:in_transit', currency, sum(amount_minor), count(*) FROM state.refunds
    WHERE status IN ('requested', 'pending', 'unknown') AND source NOT LIKE 'receivable:%' GROUP BY currency
    UNION ALL
    SELECT 'payouts:in_transit', currency, sum(amount_minor), count(*) FROM state.payouts
    WHERE status IN ('pending', 'processing') GROUP BY currency
)
SELECT coalesce(balance.account, open.account) AS account, coalesce(balance.currency, open.currency) AS currency,
       coalesce(balance.amount, 0)::bigint AS balance_minor,
       (coalesce(open.amount, 0) + coalesce(balance.corrected, 0))::bigint AS explained_minor,
       coalesce(open.items, 0) AS items
FROM balance FULL JOIN open ON open.account = balance.account AND open.currency = balance.currency ORDER BY 1, 2
"""


def _all(connection: Connection, query: str, *parameters: Any) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, parameters or None).fetchall()


def balances(connection: Connection) -> list[dict[str, Any]]:
    """Return the sums of every account; wallets, merchants and receivables are one line each."""
    return _all(connection, _BALANCES)


def count(connection: Connection) -> dict[str, int]:
    """Return how much there is to verify."""
    row = connection.execute(
        "SELECT (SELECT count(*) FROM state.transfers), (SELECT count(*) FROM state.invoices), "
        "(SELECT count(*) FROM state.payouts), (SELECT count(*) FROM state.accounts)"
    ).fetchone()
    return dict(zip(("transfers", "invoices", "payouts", "accounts"), row or (0, 0, 0, 0), strict=True))


def moves(connection: Connection) -> Iterator[tuple[str, str, int, int | None]]:
    """Stream every movement of a materialised account, account by account: name, currency, change, balance after."""
    return _stream(connection, "moves", _MOVES)


def accounts(connection: Connection) -> Iterator[tuple[str, str, int]]:
    """Stream the materialised accounts in the order of `moves`."""
    return _stream(connection, "accounts", _ACCOUNTS)


def _stream(connection: Connection, name: str, query: str) -> Iterator[Any]:
    with connection.cursor(name=name) as cursor:
        cursor.itersize = _FETCH
        yield from cursor.execute(query)


def wrong_invoices(connection: Connection, limit: int) -> list[dict[str, Any]]:
    """Return invoices whose transfers are not what their state asks for."""
    return _all(connection, _INVOICES, limit)


def wrong_payouts(connection: Connection, limit: int) -> list[dict[str, Any]]:
    """Return payouts whose transfers are not what their state asks for."""
    return _all(connection, _PAYOUTS, limit)


def orphans(connection: Connection, limit: int) -> list[dict[str, Any]]:
    """Return transfers that belong to nothing."""
    return _all(connection, _ORPHANS, limit)


def transit(connection: Connection) -> list[dict[str, Any]]:
    """Return the accounts on which money passes by, with what explains their balances."""
    return _all(connection, _TRANSIT)
