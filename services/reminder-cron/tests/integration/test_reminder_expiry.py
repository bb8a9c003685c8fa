"""Expiry of invoices against real servers: claimed once, told once, caught up with after an absence."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest

from copeck.contracts.registry import SHARDS, shard_of, shard_queue
from copeck.kernel.ids import new_id
from copeck.testkit.rabbit import Broker
from reminder_cron import handlers, store
from reminder_cron.domain.kinds import INVOICE_EXPIRY
from reminder_cron.handlers import Context
from reminder_cron.settings import ReminderSettings

pytestmark = pytest.mark.integration


@dataclass
class Books:
    """Writes invoices as the state updater would."""

    admin: psycopg.Connection

    def invoice(self, due: timedelta, status: str = "issued", account: str = "customer:1") -> UUID:
        invoice_id, now = new_id(), datetime.now(UTC)
        self.admin.execute(
            "INSERT INTO state.invoices (id, version, status, updated_at, account, kind, product, payer, beneficiary, "
            "amount_minor, currency, late_policy, capture, expires_at, issued_at) VALUES "
            "(%s, 1, %s, %s, %s, 'subscription', 'cinema', '', 'revenue:cinema', 19900, 'RUB', 'refund', 'automatic', "
            "%s, %s)",
            [invoice_id, status, now, account, now + due, now],
        )
        self.admin.execute(
            "INSERT INTO state.invoices_due (due_at, invoice_id, account) VALUES (%s, %s, %s)",
            [now + due, invoice_id, account],
        )
        self.admin.commit()
        return invoice_id

    def set_status(self, invoice_id: UUID, status: str) -> None:
        self.admin.execute("UPDATE state.invoices SET status = %s WHERE id = %s", [status, invoice_id])
        self.admin.commit()

    def ticks_were(self, ago: timedelta) -> None:
        """Let time pass since the last ticks, as far as the service knows."""
        self.admin.execute("UPDATE reminders.ticks SET rechecked_at = rechecked_at - %s", [ago])
        self.admin.commit()

    def claims(self) -> dict[UUID, int]:
        rows = self.admin.execute("SELECT subject, attempts FROM reminders.claims").fetchall()
        self.admin.commit()
        return {row[0]: row[1] for row in rows}

    def age_claims(self, by: timedelta) -> None:
        self.admin.execute("UPDATE reminders.claims SET claimed_at = claimed_at - %s", [by])
        self.admin.commit()


@pytest.fixture
def books(database_urls: dict[str, str]) -> Iterator[Books]:
    with psycopg.connect(database_urls["admin"]) as admin:
        yield Books(admin)


@pytest.fixture
def context(database_urls: dict[str, str], broker: Broker) -> Iterator[Context]:
    settings = ReminderSettings(
        database_url=database_urls["reminders"], broker_url=broker.urls["reminders"], expiry_grace_s=0.5
    )
    context = Context.of(settings)
    yield context
    context.database.close()


async def told(broker: Broker) -> list[UUID]:
    """Return the invoices that the updater was told to expire, in all shards."""
    found: list[UUID] = []
    for shard in range(SHARDS):
        count = await broker.count(shard_queue(shard))
        if count:
            for message in await broker.take(shard_queue(shard), count):
                headers = message.header.properties.headers
                assert headers["cloudEvents:type"] == "invoice.expire.v1"
                assert message.header.properties.user_id == "reminders"
                found.append(UUID(headers["cloudEvents:subject"]))
    return found


PAST, SOON = timedelta(minutes=-1), timedelta(minutes=10)


async def _expire(context: Context) -> int:
    """Run the handler as a worker does, in a thread without an event loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(handlers.expire_invoices, context).result(60)


async def test_open_invoices_whose_time_is_over_are_told_to_expire_once(
    books: Books, context: Context, broker: Broker
) -> None:
    account = "customer:7"
    due = {books.invoice(PAST, account=account), books.invoice(PAST, "pending")}
    books.invoice(SOON)
    for status in ("paid", "canceled", "expired", "authorized", "refunded"):
        books.invoice(PAST, status)
    assert await _expire(context) == 2
    assert await broker.count(shard_queue(shard_of(account))) >= 1
    assert set(await told(broker)) == due
    assert await _expire(context) == 0
    assert await told(broker) == []
    assert books.claims() == dict.fromkeys(due, 1)


async def test_nothing_expires_before_the_grace_is_over(books: Books, context: Context) -> None:
    books.invoice(timedelta(milliseconds=-1))
    assert await _expire(context) == 0


async def test_an_expiry_that_did_nothing_is_asked_for_again(books: Books, context: Context, broker: Broker) -> None:
    stuck, closed = books.invoice(PAST), books.invoice(PAST)
    assert await _expire(context) == 2
    books.set_status(closed, "expired")
    books.age_claims(timedelta(minutes=9))
    assert await _expire(context) == 0
    books.age_claims(timedelta(minutes=2))
    assert await _expire(context) == 1
    assert books.claims() == {stuck: 2, closed: 1}
    assert (await told(broker)).count(stuck) == 2


async def test_a_row_committed_late_is_found(books: Books, context: Context) -> None:
    assert await _expire(context) == 0
    late = books.invoice(timedelta(minutes=-3))
    assert await _expire(context) == 1
    assert books.claims() == {late: 1}


async def test_what_is_older_than_the_overlap_is_found_by_the_look_far_back(
    books: Books, context: Context, broker: Broker
) -> None:
    """An expiry that was set aside, and an invoice issued long after its own end, do not stay open for ever."""
    set_aside = books.invoice(timedelta(minutes=-12))
    assert await _expire(context) == 1
    books.age_claims(timedelta(minutes=11))
    issued_late = books.invoice(timedelta(hours=-3))
    assert await _expire(context) == 0
    books.ticks_were(timedelta(minutes=11))
    assert await _expire(context) == 2
    assert books.claims() == {set_aside: 2, issued_late: 1}
    assert await _expire(context) == 0
    assert sorted(await told(broker)) == sorted([set_aside, set_aside, issued_late])


async def test_a_long_absence_is_caught_up_with_in_pages(books: Books, context: Context, broker: Broker) -> None:
    small = Context(context.settings.model_copy(update={"claims_batch_max": 7}), context.database)
    due = {books.invoice(timedelta(days=-400) + timedelta(hours=n)) for n in range(40)}
    assert await _expire(small) == 40
    assert set(await told(broker)) == due
    with context.database.reading() as tx:
        mark = store.scanned_to(tx, INVOICE_EXPIRY)
    assert mark is not None
    assert datetime.now(UTC) - mark < timedelta(minutes=1)


async def test_workers_at_the_same_time_claim_each_invoice_once(
    books: Books, context: Context, broker: Broker, database_urls: dict[str, str]
) -> None:
    """I-11: the unique row decides, whoever looks."""
    due = {books.invoice(PAST, account=f"customer:{n}") for n in range(60)}
    contexts = [Context.of(context.settings) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(handlers.expire_invoices, contexts))
    for one in contexts:
        one.database.close()
    assert sum(counts) == 60
    assert books.claims() == dict.fromkeys(due, 1)
    handlers_left = await _publish(context)
    assert handlers_left >= 0
    found = await told(broker)
    assert sorted(found) == sorted(due)


async def _publish(context: Context) -> int:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(handlers.publish, context).result(60)


async def test_what_a_crash_left_in_the_outbox_is_published(
    books: Books, context: Context, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    due = books.invoice(PAST)
    # The process dies between the commit and the publishing.
    monkeypatch.setattr(handlers, "publish", lambda _: 0)
    assert await _expire(context) == 1
    monkeypatch.undo()
    assert await told(broker) == []
    assert await _publish(context) == 1
    assert await told(broker) == [due]
    assert await _publish(context) == 0


async def test_a_broker_that_is_away_costs_nothing(books: Books, context: Context, broker: Broker) -> None:
    away = Context(
        context.settings.model_copy(update={"broker_url": "amqp://reminders:x@127.0.0.1:1/billing"}), context.database
    )
    due = books.invoice(PAST)
    with pytest.raises(Exception, match=r"127\.0\.0\.1:1"):
        await _expire(away)
    assert books.claims() == {due: 1}
    assert await _publish(context) == 1
    assert await told(broker) == [due]


async def test_old_claims_are_forgotten(books: Books, context: Context) -> None:
    books.invoice(PAST)
    assert await _expire(context) == 1
    assert handlers.retain(context) == 0
    books.age_claims(timedelta(days=401))
    assert handlers.retain(context) == 1
    assert books.claims() == {}
