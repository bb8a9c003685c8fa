"""Live order pages: one reader of the database a process, and any number of pages that it tells, within limits.

While somebody watches, the orders that are watched are read by one statement every `interval_s`, whoever changed them:
the machine's report, a timer, or another process. A page that is slow gets the newest state and not each one between.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from prometheus_client import Gauge

from copeck.observability.logs import get_logger
from copeck.storage.engine import Database
from copeck.storage.errors import is_transient
from device_bridge.store import showing
from device_bridge.store.showing import ShownOrder

log = get_logger(__name__)

INTERVAL_S = 0.4
WATCHERS_MAX = 300
WATCHERS_PER_ADDRESS_MAX = 12
STREAM_S_MAX = 25.0
BEAT_S = 10.0
RETRY_MS = 1000
_LOOK_S = 1.0
_FAULT_PAUSE_S = 2.0

_WATCHING = Gauge("copeck_devices_live_pages", "Order pages that listen for changes.")


@dataclass(eq=False, slots=True)
class Watch:
    """One page that listens. `latest` holds at most one state: a newer one takes the place of what was not read."""

    order_id: UUID
    latest: ShownOrder | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, order: ShownOrder) -> None:
        """Put a state in place."""
        self.latest = order
        self.changed.set()

    async def next(self, timeout_s: float) -> ShownOrder | None:
        """Return the next state; None when none came in time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.changed.wait()
        except TimeoutError:
            return None
        self.changed.clear()
        return self.latest


class Live:
    """The listener of this process: a part that runs beside the HTTP server."""

    def __init__(self, database: Database, interval_s: float = INTERVAL_S) -> None:
        self._database = database
        self._interval_s = interval_s
        self._watches: dict[UUID, set[Watch]] = {}
        self._addresses: Counter[str] = Counter()
        self._known: dict[UUID, ShownOrder] = {}
        self._wake = asyncio.Event()
        self._stopped = False

    @property
    def stopping(self) -> bool:
        """Tell whether pages should let go."""
        return self._stopped

    def has_room(self, address: str) -> bool:
        """Tell whether one more page of this address may listen."""
        return self._addresses.total() < WATCHERS_MAX and self._addresses[address] < WATCHERS_PER_ADDRESS_MAX

    @contextmanager
    def watch(self, order_id: UUID, address: str) -> Iterator[Watch]:
        """Listen for changes of an order; ask `has_room` first."""
        watch = Watch(order_id)
        self._watches.setdefault(order_id, set()).add(watch)
        self._addresses[address] += 1
        _WATCHING.inc()
        self._wake.set()
        try:
            yield watch
        finally:
            _WATCHING.dec()
            self._addresses[address] -= 1
            if not self._addresses[address]:
                del self._addresses[address]
            others = self._watches[order_id]
            others.discard(watch)
            if not others:
                del self._watches[order_id]
                self._known.pop(order_id, None)

    async def run(self) -> None:
        """Read while somebody watches, until `stop`."""
        while not self._stopped:
            if not self._watches:
                self._wake.clear()
                await self._wake.wait()
                continue
            pause_s = self._interval_s
            try:
                await self._look()
            except Exception as error:
                if not is_transient(error):
                    raise
                log.warning("live pages wait for the database", error=type(error).__name__)
                pause_s = _FAULT_PAUSE_S
            await asyncio.sleep(pause_s)

    async def stop(self) -> None:
        """Let go of everybody."""
        self._stopped = True
        self._wake.set()

    async def _look(self) -> None:
        async with self._database.reading() as tx:
            found = await showing.orders(tx, list(self._watches))
        for order_id, order in found.items():
            # Who came while we read, and who has gone, is looked up only now.
            watches = self._watches.get(order_id)
            if watches and self._known.get(order_id) != order:
                self._known[order_id] = order
                for watch in watches:
                    watch.tell(order)


async def stream(
    watch: Watch,
    first: ShownOrder,
    render: Callable[[ShownOrder], dict[str, Any]],
    is_stopping: Callable[[], bool],
    limit_s: float,
) -> AsyncIterator[str]:
    """Yield server-sent events: the state as it is, each change, a comment when it is quiet, and the end in time.

    The browser opens the next stream by itself after `retry`; that one begins with the state as it is then.
    """
    yield f"retry: {RETRY_MS}\n\n"
    told = render(first)
    yield event_of(told)
    loop = asyncio.get_running_loop()
    end, beat_at = loop.time() + limit_s, loop.time() + BEAT_S
    while not told["final"] and not is_stopping() and loop.time() < end:
        order = await watch.next(_LOOK_S)
        if order is None and loop.time() < beat_at:
            continue
        # Also when nobody changed anything: an order may have expired by time alone.
        first = order or first
        document = render(first)
        if document != told and document["version"] >= told["version"]:
            told = document
            yield event_of(told)
        elif loop.time() >= beat_at:
            yield ": beat\n\n"
        beat_at = loop.time() + BEAT_S


def event_of(document: dict[str, Any]) -> str:
    """Return one event. JSON has no line breaks of its own, so one `data` line holds it."""
    return f"id: {document['version']}\ndata: {json.dumps(document, ensure_ascii=False, separators=(',', ':'))}\n\n"
