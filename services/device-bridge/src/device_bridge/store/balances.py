"""A merchant's balance by the books, out of the State Storage's views."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

_BALANCE = sa.text("""
SELECT coalesce(account.balance_minor, 0) AS balance_minor, account.updated_at,
       moving.payouts, moving.amount_minor AS in_transit_minor
FROM (
    SELECT count(*)::integer AS payouts, coalesce(sum(amount_minor + commission_minor), 0)::bigint AS amount_minor
    FROM state_api.payouts_v1
    WHERE account = :account AND currency = :currency AND status IN ('pending', 'processing')
) AS moving
LEFT JOIN state_api.accounts_v1 AS account ON account.name = :account AND account.currency = :currency
""")


@dataclass(frozen=True, slots=True)
class Balance:
    """What we owe a merchant, and what of it is on its way already. The balance may be below zero."""

    account: str
    balance_minor: int
    updated_at: datetime | None
    payouts: int
    in_transit_minor: int


async def of_merchant(tx: AsyncConnection, account: str, currency: str) -> Balance:
    """Return the balance of an account; one that was never moved is nothing."""
    row = (await tx.execute(_BALANCE, {"account": account, "currency": currency})).one()
    return Balance(account, row.balance_minor, row.updated_at, row.payouts, row.in_transit_minor)
