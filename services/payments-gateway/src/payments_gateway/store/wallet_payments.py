"""What owners of wallets asked for, and how it stands: our rows joined to the State Storage's views."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.storage.bulk import BulkInsert
from payments_gateway import tables
from payments_gateway.domain.wallets import PaymentKind, Status, WalletPayment


@dataclass(frozen=True, slots=True)
class WalletPaymentRow:
    """One request of a wallet's owner as it is kept. The message that carries it has the same id."""

    payment_id: UUID
    kind: str
    user_id: UUID
    account: str
    invoice_id: UUID | None
    amount_minor: int
    commission_minor: int
    currency: str
    description: str
    requested_at: datetime


_ADD = BulkInsert(tables.wallet_payments, WalletPaymentRow.__slots__)


async def add(tx: AsyncConnection, rows: Sequence[WalletPaymentRow]) -> None:
    """Keep new requests, all in one statement."""
    await _ADD(tx, [{name: getattr(row, name) for name in WalletPaymentRow.__slots__} for row in rows])


# One status for three machines. A refusal is found by the command's id, which is the payment's. A deposit whose charge
# failed has failed for its owner, though its invoice could still be paid; one that nobody may pay any more is over,
# even if the updater has not said so yet.
_VIEW = """
SELECT asked.payment_id, asked.kind, asked.user_id, asked.account, asked.invoice_id, asked.amount_minor,
       asked.commission_minor, asked.currency, asked.description, asked.requested_at,
       coalesce(invoice.updated_at, payout.updated_at, paid.updated_at, refusal.at, asked.requested_at) AS updated_at,
       coalesce(invoice.status, payout.status, paid.status) AS state,
       CASE
           WHEN invoice.status IN ('paid', 'partially_refunded', 'disputed') THEN 'completed'
           WHEN invoice.status IN ('canceled', 'expired', 'voided', 'refunded', 'charged_back') THEN 'canceled'
           WHEN operation.kind = 'charge' AND operation.status = 'failed' THEN 'failed'
           WHEN invoice.status IN ('issued', 'pending') AND invoice.expires_at <= :now THEN 'canceled'
           WHEN invoice.status = 'issued' AND operation.kind IS NULL THEN 'pending'
           WHEN invoice.status IN ('issued', 'pending', 'authorized') THEN 'processing'
           WHEN payout.status IN ('draft', 'awaiting_approval') THEN 'pending'
           WHEN payout.status IS NOT NULL THEN payout.status
           WHEN paid.status = 'succeeded' THEN 'completed'
           WHEN refusal.code IS NOT NULL THEN 'failed'
           ELSE 'requested'
       END AS status,
       CASE
           WHEN invoice.status IN ('paid', 'partially_refunded', 'disputed') THEN ''
           WHEN invoice.status IN ('canceled', 'expired', 'voided', 'refunded', 'charged_back') THEN invoice.status
           WHEN operation.kind = 'charge' AND operation.status = 'failed' THEN operation.failure_code
           WHEN invoice.status IN ('issued', 'pending') AND invoice.expires_at <= :now THEN 'expired'
           ELSE coalesce(nullif(invoice.failure_code, ''), payout.last_error, refusal.code, '')
       END AS last_error,
       CASE asked.kind
           WHEN 'deposit'
               THEN (SELECT count(*) FROM state_api.payments_v1 AS one WHERE one.invoice_id = asked.payment_id)
           WHEN 'withdrawal' THEN coalesce(payout.attempt, 0)
           ELSE (paid.id IS NOT NULL OR refusal.code IS NOT NULL)::integer
       END AS attempts,
       CASE WHEN operation.status NOT IN ('succeeded', 'failed') AND operation.attempts > 0
           THEN operation.next_at END AS next_retry_at,
       CASE WHEN operation.status NOT IN ('succeeded', 'failed')
           THEN operation.failure_reason ELSE '' END AS in_its_way,
       coalesce(operation.status = 'unknown', false) AS outcome_unknown,
       coalesce(payout.recipient, '') AS recipient
FROM gateway.wallet_payments AS asked
LEFT JOIN state_api.invoices_v1 AS invoice ON asked.kind = 'deposit' AND invoice.id = asked.payment_id
LEFT JOIN state_api.payouts_v1 AS payout ON asked.kind = 'withdrawal' AND payout.id = asked.payment_id
LEFT JOIN state_api.payments_v1 AS paid
    ON asked.kind = 'payment' AND paid.invoice_id = asked.invoice_id AND paid.id = asked.payment_id
LEFT JOIN state_api.refusals_v1 AS refusal ON refusal.command_id = asked.payment_id
LEFT JOIN LATERAL (
    SELECT told.kind, told.status, told.failure_code, told.failure_reason, told.attempts, told.next_at
    FROM gateway.operations AS told
    WHERE (asked.kind = 'withdrawal' AND told.payout_id = asked.payment_id)
       OR (asked.kind = 'deposit' AND told.invoice_id = asked.payment_id AND told.kind = 'charge')
    ORDER BY told.created_at DESC LIMIT 1
) AS operation ON true
"""
_TYPED: dict[str, Any] = {
    "now": sa.DateTime(timezone=True),
    "payment_id": PG_UUID(as_uuid=True),
    "user_id": PG_UUID(as_uuid=True),
    "after": PG_UUID(as_uuid=True),
    "kinds": ARRAY(sa.Text),
    "statuses": ARRAY(sa.Text),
}
_CONDITIONS = {
    "user_id": "asked.user_id = :user_id",
    "after": "asked.payment_id < :after",
    "kinds": "asked.kind = ANY(:kinds)",
    "currency": "asked.currency = :currency",
}


def _select(text: str, values: dict[str, Any]) -> sa.TextClause:
    return sa.text(text).bindparams(*(sa.bindparam(name, type_=_TYPED[name]) for name in values if name in _TYPED))


def _payment(row: sa.Row[Any]) -> WalletPayment:
    values = row._asdict()
    return WalletPayment(**values | {"kind": PaymentKind(values["kind"]), "status": Status(values["status"])})


async def find(tx: AsyncConnection, payment_id: UUID, now: datetime) -> WalletPayment | None:
    """Return a payment as it stands, whoever asked for it."""
    values: dict[str, Any] = {"payment_id": payment_id, "now": now}
    row = (await tx.execute(_select(f"{_VIEW} WHERE asked.payment_id = :payment_id", values), values)).first()
    return None if row is None else _payment(row)


async def search(
    tx: AsyncConnection,
    now: datetime,
    *,
    user_id: UUID,
    kinds: Sequence[str] = (),
    statuses: Sequence[str] = (),
    currency: str | None = None,
    after: UUID | None = None,
    limit: int,
) -> list[WalletPayment]:
    """Return a user's payments, the newest first."""
    asked: dict[str, Any] = {"user_id": user_id, "after": after, "kinds": list(kinds) or None, "currency": currency}
    values = {name: value for name, value in asked.items() if value is not None}
    # Just the conditions that are asked for, so that the plan can use the indexes.
    text = f"{_VIEW} WHERE {' AND '.join(_CONDITIONS[name] for name in values)}"
    values |= {"now": now, "limit": limit}
    if statuses:
        text = f"SELECT * FROM ({text}) AS asked WHERE asked.status = ANY(:statuses)"  # noqa: S608 - text of ours alone
        values["statuses"] = list(statuses)
    statement = _select(f"{text} ORDER BY asked.payment_id DESC LIMIT :limit", values)
    return [_payment(row) for row in await tx.execute(statement, values)]


@dataclass(frozen=True, slots=True)
class Booked:
    """One transfer of a payment; the balances are those of accounts whose balance is kept."""

    kind: str
    debit_account: str
    credit_account: str
    amount_minor: int
    currency: str
    debit_balance_minor: int | None
    credit_balance_minor: int | None
    at: datetime


_TRANSFERS = sa.text("""
SELECT kind, debit_account, credit_account, amount_minor, currency, debit_balance_minor, credit_balance_minor, at
FROM state_api.transfers_v1
WHERE aggregate_id = :aggregate_id AND (CAST(:cause_id AS uuid) IS NULL OR cause_id = :cause_id)
ORDER BY at, cause_id, n LIMIT 200
""").bindparams(
    sa.bindparam("aggregate_id", type_=PG_UUID(as_uuid=True)), sa.bindparam("cause_id", type_=PG_UUID(as_uuid=True))
)


async def transfers(tx: AsyncConnection, payment: WalletPayment) -> list[Booked]:
    """Return the transfers of a payment, the oldest first. One from the balance has those of its own command."""
    own = payment.kind is PaymentKind.PAYMENT
    values = {
        "aggregate_id": payment.invoice_id if own else payment.payment_id,
        "cause_id": payment.payment_id if own else None,
    }
    return [Booked(*row) for row in await tx.execute(_TRANSFERS, values)]
