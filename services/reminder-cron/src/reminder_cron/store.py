"""All the SQL of the service."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from reminder_cron.domain.kinds import OPEN_INVOICE, Due, DueKind
from reminder_cron.tables import claims, invoices_due, outbox, ticks


def now(tx: sa.Connection) -> datetime:
    """Return the database's time: all workers share it, whatever their own clocks say."""
    moment: datetime = tx.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
    return moment


def due_invoices(
    tx: sa.Connection, after: datetime, until: datetime, at: tuple[datetime, UUID] | None, limit: int
) -> list[Due]:
    """Return open invoices whose time ended in a span, oldest first; `at` is where the last page ended."""
    query = (
        sa.select(invoices_due.c.invoice_id, invoices_due.c.due_at, invoices_due.c.account)
        .where(invoices_due.c.due_at > after, invoices_due.c.due_at <= until, invoices_due.c.status.in_(OPEN_INVOICE))
        .order_by(invoices_due.c.due_at, invoices_due.c.invoice_id)
        .limit(limit)
    )
    if at is not None:
        query = query.where(sa.tuple_(invoices_due.c.due_at, invoices_due.c.invoice_id) > at)
    return [Due(row.invoice_id, row.due_at, row.account) for row in tx.execute(query)]


def claim(tx: sa.Connection, kind: DueKind, dues: Sequence[tuple[Due, UUID]], moment: datetime) -> set[UUID]:
    """Claim due work, each with the id of the message that will tell of it; returns the messages that are to be sent.

    Two workers that find the same work meet at the primary key, in the same order: the second waits for the first's
    commit and then gets nothing.
    """
    if not dues:
        return set()
    statement = insert(claims).values(
        [
            {
                "kind": kind.name,
                "subject": due.subject,
                "due_at": due.due_at,
                "message_id": message,
                "claimed_at": moment,
            }
            for due, message in dues
        ]
    )
    key = (claims.c.kind, claims.c.subject, claims.c.due_at)
    if kind.repeat_after is None:
        statement = statement.on_conflict_do_nothing(index_elements=key)
    else:
        statement = statement.on_conflict_do_update(
            index_elements=key,
            set_={
                "message_id": statement.excluded.message_id,
                "claimed_at": statement.excluded.claimed_at,
                "attempts": claims.c.attempts + 1,
            },
            where=claims.c.claimed_at < moment - kind.repeat_after,
        )
    return set(tx.execute(statement.returning(claims.c.message_id)).scalars())


def scanned_to(tx: sa.Connection, kind: DueKind) -> datetime | None:
    """Return up to where a kind was looked for; None before its first tick."""
    moment: datetime | None = tx.execute(sa.select(ticks.c.scanned_to).where(ticks.c.kind == kind.name)).scalar()
    return moment


def is_recheck_due(tx: sa.Connection, kind: DueKind) -> bool:
    """Tell whether it is time to look back far."""
    last = tx.execute(sa.select(ticks.c.rechecked_at).where(ticks.c.kind == kind.name)).scalar()
    return last is None or last < now(tx) - kind.recheck_every


def note_recheck(tx: sa.Connection, kind: DueKind) -> None:
    """Note that everything as far back as a recheck looks was looked at."""
    tx.execute(sa.update(ticks).where(ticks.c.kind == kind.name).values(rechecked_at=now(tx)))


def note_tick(tx: sa.Connection, kind: DueKind, up_to: datetime, moment: datetime, claimed: int) -> None:
    """Note that everything up to a moment was looked at; the mark never goes back."""
    statement = insert(ticks).values(kind=kind.name, scanned_to=up_to, last_run_at=moment, last_claimed=claimed)
    tx.execute(
        statement.on_conflict_do_update(
            index_elements=[ticks.c.kind],
            set_={
                "scanned_to": sa.func.greatest(ticks.c.scanned_to, statement.excluded.scanned_to),
                "last_run_at": sa.func.greatest(ticks.c.last_run_at, statement.excluded.last_run_at),
                "last_claimed": statement.excluded.last_claimed,
            },
        )
    )


def has_messages(tx: sa.Connection) -> bool:
    """Tell whether the outbox holds anything."""
    return bool(tx.execute(sa.select(sa.exists().select_from(outbox))).scalar())


def forget_claims(tx: sa.Connection, before: datetime, limit: int) -> int:
    """Delete up to `limit` claims older than a moment; returns how many."""
    key = sa.tuple_(claims.c.kind, claims.c.subject, claims.c.due_at)
    old = sa.select(claims.c.kind, claims.c.subject, claims.c.due_at).where(claims.c.claimed_at < before).limit(limit)
    return tx.execute(sa.delete(claims).where(key.in_(old))).rowcount


@dataclass(frozen=True, slots=True)
class TickNote:
    """What is known of the last tick of a kind."""

    kind: str
    scanned_to: datetime
    last_run_at: datetime
    last_claimed: int


def tick_notes(tx: sa.Connection) -> list[TickNote]:
    """Return what is known of every kind's last tick."""
    rows = tx.execute(sa.select(ticks.c.kind, ticks.c.scanned_to, ticks.c.last_run_at, ticks.c.last_claimed))
    return [TickNote(row.kind, row.scanned_to, row.last_run_at, row.last_claimed) for row in rows]


def oldest_message(tx: sa.Connection) -> datetime | None:
    """Return since when the oldest message of the outbox waits."""
    moment: datetime | None = tx.execute(sa.select(sa.func.min(outbox.c.created_at))).scalar()
    return moment
