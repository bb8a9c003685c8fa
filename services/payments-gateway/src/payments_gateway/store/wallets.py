"""A wallet's balances and its history, out of the State Storage's views."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.storage.search import COLLATION, literal
from payments_gateway.domain.wallets import Balance

# Deposits on their way count only while they can be paid; each part is summed by itself, by its own index.
_BALANCES = sa.text("""
SELECT currency, sum(available)::bigint, sum(held)::bigint, sum(pending)::bigint FROM (
    SELECT currency, balance_minor AS available, 0 AS held, 0 AS pending
    FROM state_api.accounts_v1 WHERE name = :account
    UNION ALL
    SELECT currency, 0, sum(amount_minor + commission_minor), 0
    FROM state_api.payouts_v1 WHERE account = :account AND status IN ('pending', 'processing') GROUP BY currency
    UNION ALL
    SELECT currency, 0, 0, sum(amount_minor - commission_minor)
    FROM state_api.wallet_topups_v1
    WHERE wallet = :account AND kind = 'topup' AND status IN ('issued', 'pending', 'authorized')
      AND (expires_at > :now OR status = 'authorized')
    GROUP BY currency
) AS parts GROUP BY currency ORDER BY currency
""").bindparams(sa.bindparam("now", type_=sa.DateTime(timezone=True)))


async def balances(tx: AsyncConnection, account: str, now: datetime) -> list[Balance]:
    """Return every currency in which there is a wallet, or will be once a deposit has arrived."""
    return [Balance(*row) for row in await tx.execute(_BALANCES, {"account": account, "now": now})]


_OPENED = sa.text("SELECT true FROM state_api.accounts_v1 WHERE name = :account AND currency = :currency")


async def is_open(tx: AsyncConnection, account: str, currency: str) -> bool:
    """Tell whether the wallet is there."""
    return (await tx.execute(_OPENED, {"account": account, "currency": currency})).first() is not None


@dataclass(frozen=True, slots=True)
class Movement:
    """One transfer as the wallet saw it; what it belongs to is None where it belongs to no such thing."""

    at: datetime
    aggregate_id: UUID
    cause_id: UUID
    n: int
    direction: str
    counter_account: str
    amount_minor: int
    balance_after_minor: int
    currency: str
    kind: str
    description: str
    payment_id: UUID | None
    invoice_id: UUID | None
    payout_id: UUID | None

    @property
    def order(self) -> tuple[datetime, UUID, UUID, int]:
        """What history is ordered by."""
        return self.at, self.aggregate_id, self.cause_id, self.n


@dataclass(frozen=True, slots=True)
class Filter:
    """Which part of a wallet's history is asked for; `until` is the first moment that is left out."""

    account: str
    currency: str
    kinds: tuple[str, ...] = ()
    search: str = ""
    searched_kinds: tuple[str, ...] = ()
    """Kinds whose words hold the searched text."""
    since: datetime | None = None
    until: datetime | None = None
    oldest_first: bool = False


# Each half is paged by its own index before they are put together: of both at once Postgres would read and sort all
# that the wallet ever had. What a transfer belongs to is looked up for the page alone, unless it is searched by.
_ROWS = """
SELECT moved.at, moved.aggregate_id, moved.cause_id, moved.n, moved.direction, moved.counter_account,
       moved.amount_minor, moved.balance_after_minor, moved.currency, moved.kind,
       coalesce(invoice.description, payout.description, '') AS description,
       coalesce(asked.payment_id, paid.payment_id) AS payment_id, invoice.id AS invoice_id, payout.id AS payout_id
FROM (({debits}) UNION ALL ({credits}) {page}) AS moved
LEFT JOIN state_api.invoices_v1 AS invoice ON invoice.id = moved.aggregate_id
LEFT JOIN state_api.payouts_v1 AS payout ON payout.id = moved.aggregate_id
LEFT JOIN gateway.wallet_payments AS asked ON asked.payment_id = moved.aggregate_id
LEFT JOIN gateway.wallet_payments AS paid ON paid.payment_id = moved.cause_id
ORDER BY {order}
"""
_COUNT = "SELECT count(*) FROM (({debits}) UNION ALL ({credits}) {page}) AS moved"
_HALF = """
SELECT moved.at, moved.aggregate_id, moved.cause_id, moved.n, moved.direction, moved.counter_account,
       moved.amount_minor, moved.balance_after_minor, moved.currency, moved.kind
FROM state_api.{view} AS moved {joined}
WHERE moved.account = :account AND moved.currency = :currency {conditions} {page}
"""
_DESCRIBED = """
LEFT JOIN state_api.invoices_v1 AS invoice ON invoice.id = moved.aggregate_id
LEFT JOIN state_api.payouts_v1 AS payout ON payout.id = moved.aggregate_id
"""
_SEARCH = f"""
AND (coalesce(invoice.description, payout.description, '') COLLATE "{COLLATION}" ILIKE :pattern
     OR moved.kind = ANY(:searched_kinds)
     OR moved.aggregate_id::text LIKE :beginning OR moved.cause_id::text LIKE :beginning)
"""
_KEY = ("at", "aggregate_id", "cause_id", "n")
_COLUMNS: dict[str, Any] = {
    "kinds": ARRAY(sa.Text),
    "searched_kinds": ARRAY(sa.Text),
    "since": sa.DateTime(timezone=True),
    "until": sa.DateTime(timezone=True),
    "after_at": sa.DateTime(timezone=True),
    "after_aggregate": PG_UUID(as_uuid=True),
    "after_cause": PG_UUID(as_uuid=True),
}


def _conditions(wanted: Filter, after: Sequence[Any] | None) -> tuple[str, dict[str, Any]]:
    """Write just the conditions that are asked for, so that the plan can use the indexes."""
    text = ""
    values: dict[str, Any] = {"account": wanted.account, "currency": wanted.currency}
    if wanted.kinds:
        text += " AND moved.kind = ANY(:kinds)"
        values["kinds"] = list(wanted.kinds)
    if wanted.since is not None:
        text += " AND moved.at >= :since"
        values["since"] = wanted.since
    if wanted.until is not None:
        text += " AND moved.at < :until"
        values["until"] = wanted.until
    if wanted.search:
        text += _SEARCH
        values |= {
            "pattern": f"%{literal(wanted.search)}%",
            "beginning": f"{literal(wanted.search.lower())}%",
            "searched_kinds": list(wanted.searched_kinds),
        }
    if after is not None:
        sign = ">" if wanted.oldest_first else "<"
        # The first condition repeats the second for the index, which has no more than the moment.
        text += f"""
AND moved.at {sign}= :after_at AND (moved.at, moved.aggregate_id, moved.cause_id, moved.n)
    {sign} (:after_at, :after_aggregate, :after_cause, :after_n)
"""
        values |= dict(zip(("after_at", "after_aggregate", "after_cause", "after_n"), after, strict=True))
    return text, values


def _statement(
    wanted: Filter, after: Sequence[Any] | None, limit: int, whole: str, *, ordered: bool
) -> tuple[sa.TextClause, dict[str, Any]]:
    """Write a query of at most `limit` transfers, in the order asked for or in none."""
    conditions, values = _conditions(wanted, after)
    way = "" if wanted.oldest_first else " DESC"
    order = ", ".join(f"{name}{way}" for name in _KEY)
    page = f"ORDER BY {order} LIMIT :limit" if ordered else "LIMIT :limit"
    half = {"joined": _DESCRIBED if wanted.search else "", "conditions": conditions, "page": page}
    text = whole.format(
        debits=_HALF.format(view="wallet_debits_v1", **half),
        credits=_HALF.format(view="wallet_credits_v1", **half),
        page=page,
        order=", ".join(f"moved.{name}{way}" for name in _KEY),
    )
    typed = (sa.bindparam(name, type_=kind) for name, kind in _COLUMNS.items() if name in values)
    return sa.text(text).bindparams(*typed), values | {"limit": limit}


async def history(
    tx: AsyncConnection, wanted: Filter, after: Sequence[Any] | None = None, *, limit: int
) -> list[Movement]:
    """Return transfers of a wallet in the order asked for, those that come after a key."""
    return [Movement(*row) for row in await tx.execute(*_statement(wanted, after, limit, _ROWS, ordered=True))]


async def count(tx: AsyncConnection, wanted: Filter, at_most: int) -> int:
    """Return how many transfers there are, counting no further than asked."""
    return int(await tx.scalar(*_statement(wanted, None, at_most, _COUNT, ordered=False)) or 0)
