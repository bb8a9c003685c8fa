"""Publishing what batches committed: from memory while all is well, from the table after any trouble.

A shard is clean when everything up to its committed position was handed to the broker in order. When a window
fails, its shards turn dirty: nothing of theirs is published from memory until the sweeper has read the table from
the confirmed position on and caught up. So a position is confirmed only over contiguous rows (I-05).
"""

import asyncio
import contextlib
from collections import defaultdict
from dataclasses import dataclass
from time import monotonic
from typing import Any

import psycopg

from billing_state_updater import metrics
from billing_state_updater.store import shards as store
from billing_state_updater.transport import EventPublisher, PublishError
from billing_state_updater.world import Outgoing
from copeck.contracts.registry import REGISTRY
from copeck.observability.logs import get_logger

log = get_logger(__name__)

WINDOW_MAX = 500
IN_FLIGHT_MAX = 4
SWEEP_PAUSE_S = 1.0


@dataclass(slots=True)
class Place:
    """A shard's positions: committed in the table, confirmed by the broker, confirmed and saved in the cursor."""

    committed: int
    confirmed: int
    saved: int
    clean: bool


class Outbox:
    """The outbox of the shards that this process owns."""

    def __init__(self, publisher: EventPublisher) -> None:
        self._publisher = publisher
        self._places: dict[int, Place] = {}
        self._waiting: list[Outgoing] = []
        self._wake = asyncio.Event()
        self._sweep = asyncio.Event()
        self._progress = asyncio.Event()
        self._windows: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(IN_FLIGHT_MAX)

    def take(self, shard: int, published: int, written: int) -> None:
        """Begin with a shard that was just leased; the sweeper looks at it before anything goes out from memory."""
        self._places[shard] = Place(written, published, published, clean=False)
        self._sweep.set()

    def drop(self, shard: int) -> None:
        """Forget a shard that belongs to somebody else by now."""
        self._places.pop(shard, None)

    def next_seq(self, shard: int) -> int:
        """Return the last position committed."""
        return self._places[shard].committed

    def recheck(self, shard: int, written: int) -> None:
        """Take note of what the table says after a commit whose outcome was not known."""
        place = self._places.get(shard)
        if place is not None:
            place.committed = max(place.committed, written)
            place.clean = False
            self._sweep.set()

    def committed(self, outgoing: list[Outgoing]) -> None:
        """Publish what a batch has committed."""
        for event in outgoing:
            place = self._places.get(event.shard)
            if place is None:
                continue
            place.committed = event.seq
            if place.clean:
                self._waiting.append(event)
        self._wake.set()

    def to_save(self, shards: set[int] | None = None) -> dict[int, int]:
        """Return confirmed positions that the cursors lack yet."""
        return {
            shard: place.confirmed
            for shard, place in self._places.items()
            if place.confirmed > place.saved and (shards is None or shard in shards)
        }

    def saved(self, positions: dict[int, int]) -> None:
        """Take note that the cursors have these positions."""
        for shard, seq in positions.items():
            if shard in self._places:
                self._places[shard].saved = max(self._places[shard].saved, seq)

    @property
    def lag(self) -> int:
        """Return how many committed events the broker has not confirmed."""
        return sum(place.committed - place.confirmed for place in self._places.values())

    async def run(self) -> None:
        """Send windows as events come, several in flight; never returns but by cancellation."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                await self._slots.acquire()
                window, self._waiting = self._waiting[:WINDOW_MAX], self._waiting[WINDOW_MAX:]
                task = asyncio.create_task(self._send(window))
                self._windows.add(task)
                task.add_done_callback(self._windows.discard)

    async def _send(self, window: list[Outgoing]) -> None:
        began = monotonic()
        try:
            await self._publisher.publish(window)
        except Exception as error:  # noqa: BLE001 - whatever it is, the window was not confirmed, and must go out
            metrics.publish_failures.inc()
            log.warning("events were not confirmed; the sweeper takes over", reason=str(error), events=len(window))
            for shard in {event.shard for event in window}:
                if shard in self._places:
                    self._places[shard].clean = False
            self._sweep.set()
        else:
            metrics.confirm_seconds.observe(monotonic() - began)
            metrics.events_published.inc(len(window))
            self._confirm(window)
        finally:
            self._slots.release()

    def _confirm(self, window: list[Outgoing]) -> None:
        by_shard: dict[int, list[int]] = defaultdict(list)
        for event in window:
            by_shard[event.shard].append(event.seq)
        for shard, positions in by_shard.items():
            place = self._places.get(shard)
            if place is None or not place.clean:
                continue
            for seq in positions:
                # Windows are confirmed in the order in which they were written; anything else leaves a gap, and a
                # gap is the sweeper's.
                if seq > place.confirmed + 1:
                    place.clean = False
                    self._sweep.set()
                    break
                place.confirmed = max(place.confirmed, seq)
        self._progress.set()

    async def sweep(self, connect: Any) -> None:
        """Publish from the table what memory could not; never returns but by cancellation.

        `connect` gives a connection of the sweeper's own.
        """
        connection: psycopg.AsyncConnection[tuple[Any, ...]] | None = None
        while True:
            await self._sweep.wait()
            self._sweep.clear()
            try:
                if connection is None or connection.closed:
                    connection = await connect()
                for shard in [shard for shard, place in self._places.items() if not place.clean]:
                    await self._sweep_shard(connection, shard)
            except (psycopg.Error, PublishError, OSError, TimeoutError) as error:
                log.warning("the sweeper tries again", reason=str(error)[:300], lag=self.lag)
                await asyncio.sleep(SWEEP_PAUSE_S)
                self._sweep.set()

    async def _sweep_shard(self, connection: psycopg.AsyncConnection[tuple[Any, ...]], shard: int) -> None:
        while True:
            place = self._places.get(shard)
            if place is None or place.clean:
                return
            if place.confirmed >= place.committed:
                place.clean = True
                return
            rows = await store.unpublished(connection, shard, place.confirmed, WINDOW_MAX)
            if not rows:
                # What was given a position in memory and is not in the table was rolled back with its batch.
                place.committed = place.confirmed
                self._progress.set()
                continue
            # A release may have ceased to send a type that an earlier one wrote: it would come back for ever.
            wanted = [row for row in rows if REGISTRY[row.type].consumers]
            if wanted:
                await self._publisher.publish(wanted)
            metrics.events_swept.inc(len(wanted))
            if self._places.get(shard) is place:
                place.confirmed = max(place.confirmed, rows[-1].seq)
                self._progress.set()

    async def drain(self, deadline: float) -> bool:
        """Wait until everything committed is confirmed; False when the event loop's clock came to `deadline` first."""
        while self.lag:
            left_s = deadline - asyncio.get_running_loop().time()
            if left_s <= 0:
                return False
            self._progress.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._progress.wait(), left_s)
        return True
