"""Group commit: batches, neighbours, patience."""

import asyncio

import psycopg
import pytest

from copeck.kernel.errors import DomainError
from payments_gateway.handlers import group
from payments_gateway.handlers.group import GroupCommit, TooManyWaitingError


async def test_what_waits_shares_a_commit() -> None:
    batches: list[list[int]] = []
    gate = asyncio.Event()

    async def commit(items: list[int]) -> list[int]:
        batches.append(items)
        await gate.wait()
        return [item * 2 for item in items]

    together: GroupCommit[int, int] = GroupCommit("test", commit)
    first = asyncio.create_task(together.submit(1))
    await asyncio.sleep(0)
    rest = [asyncio.create_task(together.submit(number)) for number in (2, 3, 4)]
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(first, *rest) == [2, 4, 6, 8]
    assert batches == [[1], [2, 3, 4]]


async def test_i13_one_that_spoils_its_batch_fails_alone() -> None:
    async def commit(items: list[int]) -> list[int]:
        if 13 in items:
            raise ValueError("13")
        return items

    together: GroupCommit[int, int] = GroupCommit("test", commit)
    results = await asyncio.gather(*(together.submit(number) for number in (12, 13, 14)), return_exceptions=True)
    assert results[0] == 12
    assert isinstance(results[1], ValueError)
    assert results[2] == 14


async def test_a_deadlock_is_tried_again() -> None:
    tries = 0

    async def commit(items: list[int]) -> list[int]:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise psycopg.errors.DeadlockDetected("again")
        return items

    assert await GroupCommit("test", commit).submit(1) == 1
    assert tries == 2


async def test_a_database_that_is_away_is_told_to_whoever_waits() -> None:
    async def commit(_items: list[int]) -> list[int]:
        raise psycopg.OperationalError("away")

    with pytest.raises(psycopg.OperationalError):
        await GroupCommit("test", commit).submit(1)


async def test_a_caller_that_goes_away_does_not_undo_the_commit() -> None:
    gate = asyncio.Event()
    committed: list[int] = []

    async def commit(items: list[int]) -> list[int]:
        await gate.wait()
        committed.extend(items)
        return items

    together: GroupCommit[int, int] = GroupCommit("test", commit)
    gone, stays = asyncio.create_task(together.submit(1)), asyncio.create_task(together.submit(2))
    await asyncio.sleep(0)
    gone.cancel()
    gate.set()
    assert await stays == 2
    assert committed == [1, 2]


async def test_the_queue_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "WAITING_MAX", 1)
    gate = asyncio.Event()

    async def commit(items: list[int]) -> list[int]:
        await gate.wait()
        return items

    together: GroupCommit[int, int] = GroupCommit("test", commit)
    first = asyncio.create_task(together.submit(1))
    await asyncio.sleep(0)
    second = asyncio.create_task(together.submit(2))
    await asyncio.sleep(0)
    with pytest.raises(TooManyWaitingError) as refused:
        await together.submit(3)
    # Every route answers it alike, those of old callers too.
    assert isinstance(refused.value, DomainError)
    assert (refused.value.status, refused.value.retry_after_s) == (503, 1)
    gate.set()
    assert await asyncio.gather(first, second) == [1, 2]
