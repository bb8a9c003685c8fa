"""Batches of payouts: the file, its lines, and how far it was sent."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from payments_gateway.store.payout_requests import PayoutRequestRow
from payments_gateway.store.payouts import BATCH_CANCELED, JOINED, LAST_ERROR, STATUS
from payments_gateway.tables import operations, payout_batch_lines, payout_batches, payout_requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One file. `status`: awaiting_approval, accepted (being sent), sent or canceled; `sent_lines` is how far it got.

    `sent_lines` is the number of the last line of the file that was sent, so that a worker goes on after it. A canceled
    batch may have some: those payouts go on, one by one.
    """

    id: UUID
    sha256: str
    file_name: str
    account: str
    status: str
    lines: int
    bad_lines: int
    sent_lines: int = 0
    amount_minor: int
    currency: str
    uploaded_by: str
    approved_by: str | None = None
    uploaded_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a file: a payout, or the reasons why there is none. `shown` has no recipient's details."""

    batch_id: UUID
    line: int
    payout_id: UUID | None
    reasons: str | None
    shown: str


@dataclass(frozen=True, slots=True)
class LineResult:
    """What became of one line."""

    line: int
    payout_id: UUID | None
    reasons: str | None
    shown: str
    status: str | None
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Count:
    """How many payouts of a batch have a status, and their sum."""

    status: str
    payouts: int
    amount_minor: int


_CANCELED = ":canceled:"


def _batch(row: sa.Row[Any]) -> Batch:
    values = row._asdict()
    return Batch(**values | {"sha256": values["sha256"].partition(_CANCELED)[0]})


async def add(tx: AsyncConnection, batch: Batch) -> bool:
    """Keep a new batch; False when a batch of the same file is there, or comes to be there meanwhile."""
    statement = (
        insert(payout_batches)
        .values({name: getattr(batch, name) for name in Batch.__slots__})
        .on_conflict_do_nothing(index_elements=[payout_batches.c.sha256])
        .returning(payout_batches.c.id)
    )
    return (await tx.execute(statement)).first() is not None


async def add_lines(tx: AsyncConnection, lines: Sequence[Line]) -> None:
    """Keep every line of a file, in one statement."""
    if lines:
        await tx.execute(
            sa.insert(payout_batch_lines),
            [
                {
                    "batch_id": line.batch_id,
                    "line": line.line,
                    "payout_id": line.payout_id,
                    "reasons": line.reasons,
                    "raw": line.shown,
                }
                for line in lines
            ],
        )


async def get(tx: AsyncConnection, batch_id: UUID, *, lock: bool = False) -> Batch | None:
    """Return one batch, locked until the end of the transaction if it is to be changed."""
    query = sa.select(payout_batches).where(payout_batches.c.id == batch_id)
    row = (await tx.execute(query.with_for_update(key_share=True) if lock else query)).first()
    return None if row is None else _batch(row)


async def by_file(tx: AsyncConnection, sha256: str) -> Batch | None:
    """Return the batch that a file has become; None also when that was canceled before anything of it was sent."""
    row = (await tx.execute(sa.select(payout_batches).where(payout_batches.c.sha256 == sha256))).first()
    return None if row is None else _batch(row)


async def take_to_send(tx: AsyncConnection, batch_id: UUID) -> Batch | None:
    """Lock a batch that is being sent; None when another worker has it, or nothing of it is left to send."""
    query = (
        sa.select(payout_batches)
        .where(payout_batches.c.id == batch_id, payout_batches.c.status == "accepted")
        .with_for_update(key_share=True, skip_locked=True)
    )
    row = (await tx.execute(query)).first()
    return None if row is None else _batch(row)


async def unsent(tx: AsyncConnection, before: datetime, limit: int) -> list[UUID]:
    """Return batches that are being sent and did not get on since a moment, the oldest first."""
    query = (
        sa.select(payout_batches.c.id)
        .where(payout_batches.c.status == "accepted", payout_batches.c.updated_at <= before)
        .order_by(payout_batches.c.id)
        .limit(limit)
    )
    return list((await tx.execute(query)).scalars())


async def next_payouts(tx: AsyncConnection, batch: Batch, limit: int) -> list[PayoutRequestRow]:
    """Return the payouts of the lines that come next, in the order of the file."""
    query = (
        sa.select(payout_requests)
        .where(payout_requests.c.batch_id == batch.id, payout_requests.c.batch_line > batch.sent_lines)
        .order_by(payout_requests.c.batch_line)
        .limit(limit)
    )
    return [PayoutRequestRow(**row._asdict()) for row in await tx.execute(query)]


async def write(tx: AsyncConnection, batch_id: UUID, now: datetime, **values: Any) -> None:
    """Change a batch that the caller has locked."""
    await tx.execute(sa.update(payout_batches).where(payout_batches.c.id == batch_id).values(updated_at=now, **values))


async def cancel(tx: AsyncConnection, batch: Batch, now: datetime) -> None:
    """Mark a batch of which no more is going to be sent; its file is free to become another one if nothing was.

    A file that was sent in part stays taken: as another batch, its first lines would be paid twice.
    """
    freed = {} if batch.sent_lines else {"sha256": f"{batch.sha256}{_CANCELED}{batch.id}"}
    await write(tx, batch.id, now, status="canceled", **freed)


async def cancel_payouts(tx: AsyncConnection, batch: Batch, reason: str) -> None:
    """Mark those payouts of a batch that are never going to be sent: the lines after the last one that was."""
    changed = sa.update(payout_requests).where(
        payout_requests.c.batch_id == batch.id, payout_requests.c.batch_line > batch.sent_lines
    )
    await tx.execute(changed.values(refused_code=BATCH_CANCELED, refused_reason=reason))


async def search(
    tx: AsyncConnection, *, account: str | None, status: str | None, after: UUID | None, limit: int
) -> list[Batch]:
    """Return batches, the newest first."""
    query = sa.select(payout_batches).order_by(payout_batches.c.id.desc()).limit(limit)
    if account is not None:
        query = query.where(payout_batches.c.account == account)
    if status is not None:
        query = query.where(payout_batches.c.status == status)
    if after is not None:
        query = query.where(payout_batches.c.id < after)
    return [_batch(row) for row in await tx.execute(query)]


async def counts(tx: AsyncConnection, batch_id: UUID) -> list[Count]:
    """Count the payouts of a batch by their status."""
    query = (
        sa.select(
            STATUS.label("status"),
            sa.func.count().label("payouts"),
            sa.cast(sa.func.sum(payout_requests.c.amount_minor), sa.BigInteger).label("amount_minor"),
        )
        .select_from(JOINED)
        .where(payout_requests.c.batch_id == batch_id)
        .group_by(sa.text("1"))
        .order_by(sa.text("1"))
    )
    return [Count(row.status, row.payouts, row.amount_minor) for row in await tx.execute(query)]


async def results(
    tx: AsyncConnection, batch_id: UUID, *, after_line: int = 0, limit: int, failed: bool = False
) -> list[LineResult]:
    """Return lines with what became of them, in the order of the file; `failed`: only good ones that failed."""
    asked, lines = payout_requests.c, payout_batch_lines.c
    last = (
        sa.select(operations.c.failure_reason)
        .where(operations.c.payout_id == lines.payout_id)
        .order_by(operations.c.payout_attempt.desc())
        .limit(1)
        .scalar_subquery()
    )
    seen = sa.select(
        payout_requests.c.payout_id, STATUS.label("status"), LAST_ERROR.label("code"), asked.refused_reason
    )
    seen_payouts = seen.select_from(JOINED).where(asked.batch_id == batch_id).subquery("seen")
    query = (
        sa.select(
            lines.line,
            lines.payout_id,
            lines.reasons,
            lines.raw.label("shown"),
            seen_payouts.c.status,
            sa.func.coalesce(seen_payouts.c.code, "").label("code"),
            sa.func.coalesce(seen_payouts.c.refused_reason, last, "").label("reason"),
        )
        .select_from(payout_batch_lines.outerjoin(seen_payouts, seen_payouts.c.payout_id == lines.payout_id))
        .where(lines.batch_id == batch_id, lines.line > after_line)
        .order_by(lines.line)
        .limit(limit)
    )
    if failed:
        query = query.where(seen_payouts.c.status == "failed")
    return [LineResult(**row._asdict()) for row in await tx.execute(query)]


async def providers(tx: AsyncConnection, batch_id: UUID) -> list[tuple[str, str, int]]:
    """Return the shops that pay a batch out, each with what it is to pay in minor units."""
    asked = payout_requests.c
    query = (
        sa.select(asked.provider, asked.shop, sa.cast(sa.func.sum(asked.amount_minor), sa.BigInteger))
        .where(asked.batch_id == batch_id)
        .group_by(asked.provider, asked.shop)
        .order_by(asked.provider, asked.shop)
    )
    return [(row[0], row[1], row[2]) for row in await tx.execute(query)]


async def sent(tx: AsyncConnection, batch: Batch) -> int:
    """Count the payouts of a batch that were sent to the updater."""
    query = sa.select(sa.func.count()).where(
        payout_requests.c.batch_id == batch.id, payout_requests.c.batch_line <= batch.sent_lines
    )
    return int((await tx.execute(query)).scalar_one())
