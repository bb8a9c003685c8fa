"""Payouts as they are seen: what was asked for (ours), how it stands (the State Storage's), and the last try."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.kernel.ids import first_id_at
from copeck.storage.search import contains
from payments_gateway.tables import operations, payout_batches, payout_requests

BATCH_CANCELED = "batch_canceled"
_SLACK = timedelta(days=1)
_YEARS = range(1971, 9999)
_UNFINISHED = ("ready", "calling", "pending", "unknown")

_state = sa.table(
    "payouts_v1",
    *(sa.column(name) for name in ("id", "version", "status", "attempt", "outcome_unknown", "transaction")),
    *(sa.column(name) for name in ("last_error", "approved_by", "updated_at")),
    schema="state_api",
)
_events = sa.table(
    "payout_events_v1",
    *(sa.column(name) for name in ("payout_id", "version", "event", "status", "changes", "actor", "at")),
    schema="state_api",
)
_refusals = sa.table(
    "refusals_v1", *(sa.column(name) for name in ("command_id", "code", "detail", "at")), schema="state_api"
)


@dataclass(frozen=True, slots=True)
class SeenPayout:
    """A payout with everything that is known of it. `state_version` is 0 while the updater has not decided."""

    payout_id: UUID
    origin: str
    account: str
    user_id: UUID
    requested_by: str
    amount_minor: int
    commission_minor: int
    currency: str
    provider: str
    shop: str
    recipient_kind: str
    recipient_masked: str
    recipient_user_id: UUID | None
    description: str
    draft: bool
    needs_approval: bool
    batch_id: UUID | None
    batch_line: int | None
    version: int
    refused_code: str | None
    refused_reason: str | None
    requested_at: datetime
    deleted_at: datetime | None
    status: str
    state_version: int
    attempt: int
    outcome_unknown: bool
    transaction: str
    last_error: str
    approved_by: str
    updated_at: datetime
    batch_status: str | None
    batch_approved_by: str | None
    tries: int
    next_at: datetime | None
    sent: bool
    failure_code: str
    failure_reason: str


@dataclass(frozen=True, slots=True)
class Event:
    """One step of a payout in the State Storage."""

    version: int
    event: str
    status: str
    changes: dict[str, Any]
    actor: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the updater refused a command, and when."""

    code: str
    detail: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What a list is narrowed to; everything that is given must hold. `None` for `accounts`: everybody's."""

    accounts: tuple[str, ...] | None = None
    recipient_user_id: UUID | None = None
    statuses: tuple[str, ...] = ()
    account: str | None = None
    batch_id: UUID | None = None
    currency: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    amount_from: int | None = None
    amount_to: int | None = None
    text: str | None = None


_asked = payout_requests.c
# The last try of the attempt that the State Storage is at.
_last = (
    sa.select(
        operations.c.attempts.label("tries"),
        sa.case((operations.c.status.in_(_UNFINISHED), operations.c.next_at)).label("next_at"),
        (operations.c.first_sent_at.is_not(None) | (operations.c.attempts > 0)).label("sent"),
        operations.c.failure_code,
        operations.c.failure_reason,
    )
    .where(operations.c.payout_id == _asked.payout_id, operations.c.payout_attempt == _state.c.attempt)
    .order_by(operations.c.id.desc())
    .limit(1)
    .lateral("last")
)
STATUS = sa.case(
    (_state.c.id.is_not(None), _state.c.status),
    (_asked.refused_code == BATCH_CANCELED, "canceled"),
    (_asked.refused_code.is_not(None), "failed"),
    (payout_batches.c.status == "awaiting_approval", "awaiting_approval"),
    else_="requested",
)
LAST_ERROR = sa.func.coalesce(_state.c.last_error, _asked.refused_code, "")
STANDING = payout_requests.outerjoin(_state, _state.c.id == _asked.payout_id).outerjoin(
    payout_batches, payout_batches.c.id == _asked.batch_id
)
"""What a payout's status is read from."""
JOINED = STANDING.outerjoin(_last, sa.true())
_SEEN = sa.select(
    *(
        _asked[name]
        for name in SeenPayout.__slots__
        if name in payout_requests.c and name not in ("status", "updated_at")
    ),
    STATUS.label("status"),
    sa.func.coalesce(_state.c.version, 0).label("state_version"),
    sa.func.coalesce(_state.c.attempt, 0).label("attempt"),
    sa.func.coalesce(_state.c.outcome_unknown, sa.false()).label("outcome_unknown"),
    sa.func.coalesce(_state.c.transaction, "").label("transaction"),
    LAST_ERROR.label("last_error"),
    sa.func.coalesce(_state.c.approved_by, "").label("approved_by"),
    sa.func.coalesce(_state.c.updated_at, _asked.requested_at).label("updated_at"),
    payout_batches.c.status.label("batch_status"),
    payout_batches.c.approved_by.label("batch_approved_by"),
    sa.func.coalesce(_last.c.tries, 0).label("tries"),
    _last.c.next_at,
    sa.func.coalesce(_last.c.sent, sa.false()).label("sent"),
    sa.func.coalesce(_last.c.failure_code, "").label("failure_code"),
    sa.func.coalesce(_last.c.failure_reason, "").label("failure_reason"),
).select_from(JOINED)
_ONE = _SEEN.where(_asked.payout_id == sa.bindparam("payout_id"), _asked.deleted_at.is_(None))

ORDERS: dict[str, sa.ColumnElement[Any] | None] = {"requested_at": None, "amount": _asked.amount_minor}


async def find(tx: AsyncConnection, payout_id: UUID) -> SeenPayout | None:
    """Return one payout that is not deleted."""
    row = (await tx.execute(_ONE, {"payout_id": payout_id})).first()
    return None if row is None else SeenPayout(**row._asdict())


async def search(
    tx: AsyncConnection, wanted: Filter, *, order: str, after: Sequence[Any] | None, limit: int
) -> list[SeenPayout]:
    """Return payouts in an order of `ORDERS`, `-` before its name for the greatest first.

    Ids are made in the order of time, so that they stand for the moment at which a payout was asked for. `after` is the
    last row's key: its id, before it the amount where that is the order.
    """
    descending = order.startswith("-")
    column = ORDERS[order.removeprefix("-")]
    key = [_asked.payout_id] if column is None else [column, _asked.payout_id]
    query = _SEEN.where(*_conditions(wanted)).limit(limit)
    query = query.order_by(*(part.desc() if descending else part.asc() for part in key))
    if after is not None:
        mine, last = sa.tuple_(*key), sa.tuple_(*(sa.literal(part) for part in after))
        query = query.where(mine < last if descending else mine > last)
    return [SeenPayout(**row._asdict()) for row in await tx.execute(query)]


def id_bounds(since: datetime | None, until: datetime | None) -> list[sa.ColumnElement[bool]]:
    """Narrow the ids, which have an index and are made in the order of time, to the days around two moments.

    An id is a little older than the moment at which its payout is kept; a day is more than any clocks differ.
    """
    found: list[sa.ColumnElement[bool]] = []
    if since is not None and since.year in _YEARS:
        found.append(_asked.payout_id >= first_id_at(since - _SLACK))
    if until is not None and until.year in _YEARS:
        found.append(_asked.payout_id < first_id_at(until + _SLACK))
    return found


def _conditions(wanted: Filter) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = [_asked.deleted_at.is_(None)]
    if wanted.accounts is not None:
        mine = _asked.account.in_(wanted.accounts)
        named = wanted.recipient_user_id
        found.append(mine if named is None else mine | (_asked.recipient_user_id == named))
    simple: tuple[tuple[Any, Any], ...] = (
        (wanted.account, lambda value: _asked.account == value),
        (wanted.batch_id, lambda value: _asked.batch_id == value),
        (wanted.currency, lambda value: _asked.currency == value),
        (wanted.since, lambda value: _asked.requested_at >= value),
        (wanted.until, lambda value: _asked.requested_at < value),
        (wanted.amount_from, lambda value: _asked.amount_minor >= value),
        (wanted.amount_to, lambda value: _asked.amount_minor <= value),
    )
    found += id_bounds(wanted.since, wanted.until)
    found += [condition(value) for value, condition in simple if value is not None]
    if wanted.statuses:
        found.append(STATUS.in_(wanted.statuses))
    if wanted.text:
        found.append(contains(_asked.recipient_masked, wanted.text) | contains(_asked.description, wanted.text))
    return found


async def events_of(tx: AsyncConnection, payout_id: UUID, limit: int = 200) -> list[Event]:
    """Return the steps of a payout, the oldest first."""
    query = (
        sa.select(
            _events.c.version, _events.c.event, _events.c.status, _events.c.changes, _events.c.actor, _events.c.at
        )
        .where(_events.c.payout_id == payout_id)
        .order_by(_events.c.version)
        .limit(limit)
    )
    return [Event(**row._asdict()) for row in await tx.execute(query)]


async def refusal_of(tx: AsyncConnection, command_id: UUID) -> Refusal | None:
    """Return why the updater refused a command; None when it did not, or not yet."""
    return (await refusals_of(tx, [command_id])).get(command_id)


async def refusals_of(tx: AsyncConnection, command_ids: Sequence[UUID]) -> dict[UUID, Refusal]:
    """Return those of some commands that the updater refused, and why."""
    query = sa.select(_refusals.c.command_id, _refusals.c.code, _refusals.c.detail, _refusals.c.at).where(
        _refusals.c.command_id.in_(list(command_ids))
    )
    rows = await tx.execute(query) if command_ids else ()
    return {row.command_id: Refusal(row.code, row.detail, row.at) for row in rows}
