"""Group commit: what waits while a commit is under way shares the next one.

There are no timers: alone, a message is committed at once; under load the cost of each falls. A batch that the data of
one message spoils is tried again one by one, so that its neighbours are not held up (I-13).
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from copeck.kernel.errors import DomainError
from copeck.observability.logs import get_logger
from copeck.observability.trace import trace_scope
from copeck.storage.errors import is_transient

log = get_logger(__name__)

BATCH_MAX = 64
WAITING_MAX = 2000
# Short: providers wait for an answer, and send again what got none.
_PAUSES_S = (0.02, 0.2)

T = TypeVar("T")
R = TypeVar("R")


class TooManyWaitingError(DomainError):
    """More waits than can be stored in time; whoever sent it sends it again."""

    type = "too-many-waiting"
    title = "Too much is asked for at this moment"
    status = 503
    retry_after_s = 1


class GroupCommit(Generic[T, R]):
    """Feeds one function that commits a batch and returns a result for each of its items, in their order."""

    def __init__(self, name: str, commit: Callable[[list[T]], Awaitable[list[R]]]) -> None:
        self._name = name
        self._commit = commit
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._drainer: asyncio.Task[None] | None = None

    async def submit(self, item: T) -> R:
        """Have an item committed; returns its result after the commit, raises when there was none."""
        if len(self._waiting) >= WAITING_MAX:
            raise TooManyWaitingError(f"{self._name}: {WAITING_MAX} are waiting")
        done: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if self._drainer is None or self._drainer.done():
            self._drainer = asyncio.create_task(self._drain(), name=self._name)
        # Shielded: a caller that goes away does not undo the commit that others share.
        return await asyncio.shield(done)

    async def _drain(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:BATCH_MAX], self._waiting[BATCH_MAX:]
            # A trace of its own: a batch belongs to no single request.
            with trace_scope():
                await self._commit_or_split(batch)

    async def _commit_or_split(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            results = await self._commit_patiently([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001 - whoever waits for the commit is told, whatever went wrong
            if len(batch) > 1 and not is_transient(error):
                log.warning("a batch is split", batch=self._name, size=len(batch), error=type(error).__name__)
                for pair in batch:
                    await self._commit_or_split([pair])
                return
            for _, done in batch:
                if not done.done():
                    done.set_exception(error)
                    # Whoever waited may have gone; nobody is to be told that the error was never looked at.
                    done.exception()
            return
        for (_, done), result in zip(batch, results, strict=True):
            if not done.done():
                done.set_result(result)

    async def _commit_patiently(self, items: list[T]) -> list[R]:
        """Commit; after a deadlock or a lost connection the same batch again, a few times within a second."""
        for pause_s in _PAUSES_S:
            try:
                return await self._commit(items)
            except Exception as error:
                if not is_transient(error):
                    raise
                log.warning("a batch is tried again", batch=self._name, size=len(items), error=type(error).__name__)
                await asyncio.sleep(pause_s)
        return await self._commit(items)
