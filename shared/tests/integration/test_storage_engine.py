"""Transactions, time-outs, idempotency keys and faults of Postgres, against a real server."""

import asyncio

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from copeck.storage.engine import Database, SyncDatabase, Timeouts
from copeck.storage.errors import is_transient, sqlstate_of
from copeck.storage.idempotency import Claim, Idempotency, KeyReused, KeyUnfinished, StoredAnswer
from copeck.testkit.proxy import TcpProxy

from .conftest import Probe, now

pytestmark = pytest.mark.integration


async def test_a_transaction_commits_or_rolls_back_as_a_whole(probe: Probe) -> None:
    async with probe.database.transaction() as tx:
        await tx.execute(sa.insert(probe.effects).values(at=now()))
    with pytest.raises(ZeroDivisionError):
        async with probe.database.transaction() as tx:
            await tx.execute(sa.insert(probe.effects).values(at=now()))
            raise ZeroDivisionError
    assert await probe.effect_count() == 1


async def test_reading_refuses_to_write(probe: Probe) -> None:
    with pytest.raises(DBAPIError) as caught:
        async with probe.database.reading() as tx:
            await tx.execute(sa.insert(probe.effects).values(at=now()))
    assert sqlstate_of(caught.value) == "25006"
    # The connection that goes back to the pool is not left read-only.
    for _ in range(10):
        async with probe.database.transaction() as tx:
            await tx.execute(sa.insert(probe.effects).values(at=now()))


async def test_sync_database_works_like_the_async_one(probe: Probe) -> None:
    database = SyncDatabase(probe.urls["reminders"])
    with database.transaction() as tx:
        tx.execute(sa.insert(probe.effects).values(at=now()))
    with pytest.raises(DBAPIError), database.reading() as tx:
        tx.execute(sa.insert(probe.effects).values(at=now()))
    with database.reading() as tx:
        assert tx.scalar(sa.select(sa.func.count()).select_from(probe.effects)) == 1
    database.ping()
    database.close()


async def test_statements_locks_and_idle_transactions_end_by_themselves(probe: Probe) -> None:
    database = Database(probe.urls["reminders"], 3, timeouts=Timeouts(statement_ms=200, lock_ms=100))
    with pytest.raises(DBAPIError) as slow:
        async with database.transaction() as tx:
            await tx.execute(sa.text("SELECT pg_sleep(5)"))
    assert sqlstate_of(slow.value) == "57014"
    assert is_transient(slow.value)
    async with database.transaction() as first:
        await first.execute(sa.text("LOCK TABLE probe.effects IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(DBAPIError) as locked:
            async with database.transaction() as second:
                await second.execute(sa.select(probe.effects))
    assert sqlstate_of(locked.value) == "55P03"
    assert is_transient(locked.value)
    await database.close()


async def test_a_pool_outlives_a_cut_of_all_its_connections(probe: Probe) -> None:
    async with TcpProxy.to(probe.urls["reminders"]) as proxy:
        database = Database(proxy.url(probe.urls["reminders"]), 4)
        await asyncio.gather(*(database.ping() for _ in range(4)))
        proxy.cut()
        await database.ping()
        with pytest.raises(DBAPIError) as caught:
            async with database.transaction() as tx:
                await tx.execute(sa.text("SELECT 1"))
                proxy.cut()
                await tx.execute(sa.text("SELECT 1"))
        assert is_transient(caught.value)
        proxy.refuse()
        with pytest.raises(DBAPIError) as refused:
            await database.ping()
        assert is_transient(refused.value)
        proxy.accept()
        await database.ping()
        await database.close()


async def test_an_error_of_the_data_is_not_transient(probe: Probe) -> None:
    with pytest.raises(DBAPIError) as caught:
        async with probe.database.transaction() as tx:
            await tx.execute(sa.text("SELECT 1 / 0"))
    assert not is_transient(caught.value)
    assert not is_transient(ValueError())


async def test_same_key_same_answer(probe: Probe) -> None:
    keys = Idempotency(probe.idempotency)
    answer = {"z": 1, "a": [{"value": "199.00"}]}
    async with probe.database.transaction() as tx:
        assert await keys.begin(tx, "user:1 POST /x", "k1", "hash") is None
        await keys.finish(tx, "user:1 POST /x", "k1", 202, answer)
    async with probe.database.transaction() as tx:
        stored = await keys.begin(tx, "user:1 POST /x", "k1", "hash")
    assert stored is not None
    assert (stored.status, stored.body, list(stored.body)) == (202, answer, ["z", "a"])
    async with probe.database.transaction() as tx:
        with pytest.raises(KeyReused):
            await keys.begin(tx, "user:1 POST /x", "k1", "another")
    async with probe.database.transaction() as tx:
        assert await keys.begin(tx, "user:2 POST /x", "k1", "another") is None


async def test_a_rolled_back_request_frees_its_key(probe: Probe) -> None:
    keys = Idempotency(probe.idempotency)
    with pytest.raises(ZeroDivisionError):
        async with probe.database.transaction() as tx:
            assert await keys.begin(tx, "s", "k", "h") is None
            raise ZeroDivisionError
    async with probe.database.transaction() as tx:
        assert await keys.begin(tx, "s", "k", "h") is None
    async with probe.database.transaction() as tx:
        with pytest.raises(KeyUnfinished):
            await keys.begin(tx, "s", "k", "h")


async def test_requests_at_the_same_time_have_one_effect(probe: Probe) -> None:
    keys = Idempotency(probe.idempotency)

    async def request() -> int:
        async with probe.database.transaction() as tx:
            stored = await keys.begin(tx, "s", "k", "h")
            if stored is not None:
                return 0
            await tx.execute(sa.insert(probe.effects).values(at=now()))
            await keys.finish(tx, "s", "k", 200, {})
            return 1

    assert sum(await asyncio.gather(*(request() for _ in range(6)))) == 1
    assert await probe.effect_count() == 1


async def test_old_answers_are_forgotten(probe: Probe) -> None:
    keys = Idempotency(probe.idempotency)
    async with probe.database.transaction() as tx:
        await keys.begin(tx, "s", "k", "h")
        await keys.finish(tx, "s", "k", 200, None)
    async with probe.database.transaction() as tx:
        assert await keys.forget(tx, now()) == 1
    async with probe.database.transaction() as tx:
        assert await keys.begin(tx, "s", "k", "h") is None


def test_sessions_run_in_utc_under_their_own_name(probe: Probe) -> None:
    database = SyncDatabase(probe.urls["reminders"], application="named")
    with database.reading() as tx:
        assert tx.scalar(sa.text("SHOW timezone")) == "UTC"
        assert tx.scalar(sa.text("SHOW application_name")) == "named"
    database.close()
    with psycopg.connect(probe.urls["admin"]) as admin:
        row = admin.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'named'").fetchone()
    assert row == (0,)


def _claim(key: str, request_hash: str = "h", body: object = None, scope: str = "s") -> Claim:
    return Claim(scope, key, request_hash, 202, body)


async def test_many_keys_are_taken_with_their_answers(probe: Probe) -> None:
    keys = Idempotency(probe.idempotency)
    async with probe.database.transaction() as tx:
        taken = await keys.claim_many(tx, [_claim("b", body={"z": 1, "a": "ё"}), _claim("a", body=[1])])
    assert taken == [None, None]
    async with probe.database.transaction() as tx:
        said = await keys.claim_many(tx, [_claim("new"), _claim("b"), _claim("a", "another"), _claim("b", scope="t")])
    assert said[0] is None
    assert said[1] == StoredAnswer(202, {"z": 1, "a": "ё"})
    assert isinstance(said[1], StoredAnswer)
    assert list(said[1].body) == ["z", "a"]
    assert isinstance(said[2], KeyReused)
    assert said[3] is None
    async with probe.database.transaction() as tx:
        assert await keys.answers(tx, [_claim("b"), _claim("free")]) == [said[1], None]
        assert await keys.claim_many(tx, []) == []


async def test_of_equal_keys_in_a_batch_the_first_wins(probe: Probe) -> None:
    keys = Idempotency(probe.idempotency)
    claims = [_claim("k", body=1), _claim("k", body=2), _claim("k", "another", body=3)]
    async with probe.database.transaction() as tx:
        said = await keys.claim_many(tx, claims)
    assert said[:2] == [None, StoredAnswer(202, 1)]
    assert isinstance(said[2], KeyReused)


async def test_batches_at_the_same_time_have_one_effect_each_key(probe: Probe) -> None:
    keys = Idempotency(probe.idempotency)
    names = [f"k{number}" for number in range(20)]

    async def batch(names: list[str]) -> int:
        async with probe.database.transaction() as tx:
            taken = await keys.claim_many(tx, [_claim(name) for name in names])
            return taken.count(None)

    # Half of them name the keys backwards: they would deadlock if keys were taken as they come.
    counts = await asyncio.gather(*(batch(names if turn % 2 else names[::-1]) for turn in range(8)))
    assert sum(counts) == len(names)


async def test_a_key_that_was_begun_by_itself_is_met_by_a_batch(probe: Probe) -> None:
    keys = Idempotency(probe.idempotency)
    async with probe.database.transaction() as tx:
        await keys.begin(tx, "s", "k", "h")
    async with probe.database.transaction() as tx:
        (said,) = await keys.claim_many(tx, [_claim("k")])
    assert isinstance(said, KeyUnfinished)
