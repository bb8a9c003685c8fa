"""Small numbers for our ids, and the list of payouts by pages, as the services that were replaced had them."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.storage.search import contains
from payments_gateway.domain.compatibility import IdKind, OldPayout
from payments_gateway.store import payouts
from payments_gateway.tables import compatibility_ids, payout_requests

_SEQUENCES = {
    kind: sa.Sequence(f"compatibility_{kind.value}s", schema="gateway", metadata=sa.MetaData()) for kind in IdKind
}
_ids = compatibility_ids.c


async def give_number(tx: AsyncConnection, kind: IdKind, thing: UUID) -> int:
    """Return the number of a thing, the next free one if it has none yet."""
    known = await number_of(tx, kind, thing)
    if known is not None:
        return known
    number = await tx.scalar(_SEQUENCES[kind].next_value().select())
    added = insert(compatibility_ids).values(kind=kind.value, number=number, id=thing).on_conflict_do_nothing()
    given = await tx.scalar(added.returning(_ids.number))
    # Somebody else numbered it at the same moment: the conflict waited for their commit.
    found = given if given is not None else await number_of(tx, kind, thing)
    if found is None:
        raise RuntimeError(f"{kind.value} {thing} got no number")
    return int(found)


async def number_of(tx: AsyncConnection, kind: IdKind, thing: UUID) -> int | None:
    """Return the number of a thing, if it has one."""
    query = sa.select(_ids.number).where(_ids.kind == kind.value, _ids.id == thing)
    return (await tx.execute(query)).scalar_one_or_none()


async def numbered(tx: AsyncConnection, kind: IdKind, reference: int | UUID) -> tuple[int, UUID] | None:
    """Return number and id of a thing, found by either; None when it was never numbered."""
    wanted = _ids.number == reference if isinstance(reference, int) else _ids.id == reference
    row = (await tx.execute(sa.select(_ids.number, _ids.id).where(_ids.kind == kind.value, wanted))).first()
    return None if row is None else (row.number, row.id)


_asked, _joined = payout_requests.c, payouts.JOINED.c
_STATE_ID, _LATEST = _joined.state_api_payouts_v1_id, _joined.state_api_payouts_v1_updated_at
_ATTEMPT = sa.func.coalesce(_joined.state_api_payouts_v1_attempt, 0)
_UPDATED = sa.func.greatest(_LATEST, _asked.requested_at)
_NUMBERED = payouts.JOINED.join(
    compatibility_ids, sa.and_(_ids.kind == IdKind.PAYOUT.value, _ids.id == _asked.payout_id)
)
_SEEN = sa.select(
    _ids.number,
    _asked.payout_id,
    payouts.STATUS.label("status"),
    _STATE_ID.is_not(None).label("decided"),
    *(_asked[name] for name in ("amount_minor", "currency", "recipient_masked", "description")),
    *(_asked[name] for name in ("draft", "needs_approval")),
    _ATTEMPT.label("attempts"),
    payouts.LAST_ERROR.label("last_error"),
    _joined.last_next_at.label("next_retry_at"),
    _asked.requested_at.label("created_at"),
    _UPDATED.label("updated_at"),
).select_from(_NUMBERED)
_ORDERS: dict[str, sa.ColumnElement[Any]] = {
    "id": _ids.number,
    "amount": _asked.amount_minor,
    "currency": _asked.currency,
    "status": payouts.STATUS,
    "description": _asked.description,
    "created_at": _asked.payout_id,
    "updated_at": _UPDATED,
}


async def payout(tx: AsyncConnection, number: int) -> OldPayout | None:
    """Return a payout that is not deleted."""
    row = (await tx.execute(_SEEN.where(_ids.number == number, _asked.deleted_at.is_(None)))).first()
    return None if row is None else OldPayout(**row._asdict())


async def payout_page(
    tx: AsyncConnection, terms: Sequence[str], order: Sequence[tuple[str, bool]], *, offset: int, limit: int
) -> tuple[int, list[OldPayout]]:
    """Return how many numbered payouts match every word, and one page of them."""
    matching = [_asked.deleted_at.is_(None), *(_matches(term) for term in terms)]
    count = await tx.scalar(count_query(terms))
    keys = [_ORDERS[name].desc() if descending else _ORDERS[name].asc() for name, descending in order]
    # The number settles the order of equals, so that pages neither repeat nor leave out.
    page = _SEEN.where(*matching).order_by(*keys, _ids.number.desc()).offset(offset).limit(limit)
    return int(count or 0), [OldPayout(**row._asdict()) for row in await tx.execute(page)]


def count_query(terms: Sequence[str]) -> sa.Select[Any]:
    """Return the count of numbered payouts: it looks at how they stand only where words are searched in that."""
    counted = payouts.STANDING if terms else payout_requests
    numbered = counted.join(
        compatibility_ids, sa.and_(_ids.kind == IdKind.PAYOUT.value, _ids.id == payout_requests.c.payout_id)
    )
    found = [payout_requests.c.deleted_at.is_(None), *(_matches(term) for term in terms)]
    return sa.select(sa.func.count()).select_from(numbered).where(*found)


def _matches(term: str) -> sa.ColumnElement[bool]:
    texts = (_asked.recipient_masked, _asked.description, _asked.currency, payouts.STATUS)
    return sa.or_(*(contains(text, term) for text in texts))


_accounts = sa.table(
    "accounts_v1", sa.column("name"), sa.column("currency"), sa.column("balance_minor"), schema="state_api"
)


async def balance_of(tx: AsyncConnection, account: str, currency: str) -> int | None:
    """Return what is on a wallet, in minor units; None while it is not open."""
    query = sa.select(_accounts.c.balance_minor).where(_accounts.c.name == account, _accounts.c.currency == currency)
    found: int | None = (await tx.execute(query)).scalar_one_or_none()
    return found
