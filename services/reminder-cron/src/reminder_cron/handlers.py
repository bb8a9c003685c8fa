"""One tick, one handler: due rows are claimed and their messages written in one commit, then published."""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from copeck.messaging.outbox import Outbox, Relay
from copeck.messaging.publisher import Publisher
from copeck.observability.logs import get_logger
from copeck.storage.engine import Database, SyncDatabase
from reminder_cron import store, tables
from reminder_cron.domain.kinds import INVOICE_EXPIRY, DueKind
from reminder_cron.settings import ReminderSettings

log = get_logger(__name__)

_PAGES_MAX = 40
_OUTBOX = Outbox(tables.outbox)
# Before the first tick nobody knows how long the service was not there: look at everything there is.
_BEGINNING = datetime.fromisoformat("2020-01-01T00:00:00+00:00")


@dataclass(slots=True)
class Context:
    """What handlers work with."""

    settings: ReminderSettings
    database: SyncDatabase

    @classmethod
    def of(cls, settings: ReminderSettings) -> "Context":
        """Connect, lazily."""
        return cls(settings, SyncDatabase(settings.database_url, application="reminders"))


def expire_invoices(context: Context) -> int:
    """Ask the updater to expire every open invoice whose time is over; returns how many were asked for.

    Page by page, one transaction each, so that a long absence is caught up with in pieces. What is left after the
    last page is found by the next tick: the mark moves only over what was looked at.
    """
    kind, limit = INVOICE_EXPIRY, context.settings.claims_batch_max
    grace = timedelta(seconds=context.settings.expiry_grace_s)
    total, page_end = 0, None
    with context.database.reading() as tx:
        until = store.now(tx) - grace
        after = (store.scanned_to(tx, kind) or _BEGINNING) - kind.overlap
        is_recheck = store.is_recheck_due(tx, kind)
    if is_recheck:
        after = min(after, until - kind.recheck_span)
    for _ in range(_PAGES_MAX):
        claimed, page_end = _expire_page(context, kind, after, until, page_end, limit)
        total += claimed
        if page_end is None:
            break
    if is_recheck and page_end is None:
        with context.database.transaction() as tx:
            store.note_recheck(tx, kind)
    if total:
        log.info("invoices are told to expire", count=total)
        publish(context)
    return total


def _expire_page(
    context: Context,
    kind: DueKind,
    after: datetime,
    until: datetime,
    page_start: tuple[datetime, UUID] | None,
    limit: int,
) -> tuple[int, tuple[datetime, UUID] | None]:
    with context.database.transaction() as tx:
        dues = store.due_invoices(tx, after, until, page_start, limit)
        moment = store.now(tx)
        messages = [(due, kind.message(due)) for due in dues]
        claimed = store.claim(tx, kind, [(due, message.id) for due, message in messages], moment)
        _OUTBOX.add_sync(tx, *(message for _, message in messages if message.id in claimed))
        is_last = len(dues) < limit
        # The last row of a full page may have neighbours of the same moment on the next one.
        seen = until if is_last else dues[-1].due_at - timedelta(microseconds=1)
        store.note_tick(tx, kind, seen, moment, len(claimed))
    return len(claimed), None if is_last else (dues[-1].due_at, dues[-1].subject)


def publish(context: Context) -> int:
    """Publish what the outbox holds: of the commit just made, and what a crash left. Returns how many went out."""
    with context.database.reading() as tx:
        if not store.has_messages(tx):
            return 0
    return asyncio.run(_drain(context.settings))


async def _drain(settings: ReminderSettings) -> int:
    database = Database(settings.database_url, pool_size=1, application="reminders-relay")
    publisher = Publisher(settings.broker_url, name="reminders-relay")
    try:
        return await Relay(database, tables.outbox, publisher).drain()
    finally:
        await publisher.close()
        await database.close()


def retain(context: Context) -> int:
    """Forget claims that nothing can ask for again; returns how many."""
    total = 0
    for _ in range(_PAGES_MAX):
        with context.database.transaction() as tx:
            before = store.now(tx) - timedelta(days=context.settings.claims_kept_days)
            gone = store.forget_claims(tx, before, context.settings.claims_batch_max)
        total += gone
        if gone < context.settings.claims_batch_max:
            break
    return total
