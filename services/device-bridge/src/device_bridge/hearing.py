"""What machines said over MQTT, until it is worked on.

Reports of one machine are worked on in their order, and each is confirmed to its machine after its commit. Of a
machine's states only the last one counts, of its prices the last of each drink and size: a message need not hold a
whole menu. States and heartbeats are collected: a fleet of thousands costs a few statements each time.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from copeck.contracts.base import ContractError
from copeck.contracts.machines import AckConfirmation
from copeck.kernel.errors import DomainError
from copeck.messaging.backoff import Backoff
from copeck.observability.metrics import LATENCY_BUCKETS, Counter, Histogram
from copeck.storage.errors import FOREIGN_KEY_VIOLATION, is_transient, sqlstate_of
from device_bridge.domain.errors import DeviceUnknown
from device_bridge.domain.model import Report
from device_bridge.drivers.mqtt.directory import Directory
from device_bridge.drivers.mqtt.link import NotSentError, OutcomeUnknownError, Publish
from device_bridge.drivers.mqtt.newest import Kept, Newest, Prices, Said, merge_prices
from device_bridge.drivers.mqtt.profiles import Heard, Profile
from device_bridge.drivers.mqtt.shares import Put, SharedQueue
from device_bridge.drivers.registry import FOREIGN_BROKERS
from device_bridge.handlers import reports
from device_bridge.handlers.reports import SaidOfItself
from device_bridge.reading import prices_of, report_of, state_of
from device_bridge.settings import DevicesSettings

if TYPE_CHECKING:
    from device_bridge.handlers.context import Context

log = logging.getLogger(__name__)

HEARD = Counter("copeck_mqtt_heard_total", "What machines said, by what became of it", ["broker", "kind", "outcome"])
HEARD_SECONDS = Histogram(
    "copeck_mqtt_heard_seconds", "From a machine's message to its commit", ["kind"], buckets=LATENCY_BUCKETS
)

_QUEUE_MAX = 10_000
_OF_ONE_MAX = 100
"""How many reports of one machine wait at once: more than it has to say of its cups, a hundredth of the queue."""
_BATCH_MAX = 1_000
_STATES_MAX = 500
_STATES_GATHERED_S = 0.1
"""How long states are collected after some were stored; the first after a silence is stored at once."""
_REPORTS_MAX = 50
_REPORTS_GATHERED_S = 0.05
"""The same for reports: nobody waits for them, and the more share a commit, the less each costs."""
_PRICES_SIDE_BY_SIDE = 2
_TRIES_MAX = 5
_RAW_CHARS_MAX = 500

T = TypeVar("T")
Work = Callable[[Profile, Heard, str, T], Awaitable[None]]


class Hearing:
    """Sorts what comes in, and works on it side by side. Handlers need `attach` before the workers run."""

    def __init__(self, settings: DevicesSettings, publish: Publish) -> None:
        self._settings = settings
        self._publish = publish
        self._context: Context | None = None
        self._alive: set[str] = set()
        self._alive_elsewhere: set[tuple[str, Heard]] = set()
        self._reports = [SharedQueue(_QUEUE_MAX, _OF_ONE_MAX) for _ in range(settings.reports_concurrency)]
        # Confirmations wait for their broker: one that is slow holds up the reports of its own machines alone.
        self._reports_elsewhere = {name: SharedQueue(_QUEUE_MAX, _OF_ONE_MAX) for name in FOREIGN_BROKERS}
        self._states = Newest[bytes]()
        self._prices = [Newest(merge_prices) for _ in range(_PRICES_SIDE_BY_SIDE)]
        self._directory = Directory()

    def attach(self, context: "Context") -> None:
        """Say with what handlers work."""
        self._context = context
        self._directory.attach(context.database)

    def workers(self) -> list[Coroutine[Any, Any, None]]:
        """Return what is to run as long as the process does; RuntimeError without a context."""
        if self._context is None:
            raise RuntimeError("nothing was attached")
        return [
            *(self._work_on_reports(queue) for queue in (*self._reports, *self._reports_elsewhere.values())),
            *(self._work_on_prices(newest) for newest in self._prices),
            self._work_on_states(),
            self._flush_heartbeats(),
        ]

    def hear(self, profile: Profile, heard: Heard, payload: bytes) -> None:
        """Keep what a machine said until its worker comes to it."""
        said = (profile, heard, payload, asyncio.get_running_loop().time())
        shard = hash((profile.name, heard.machine))
        if heard.heard == "heartbeat":
            if heard.foreign:
                self._alive_elsewhere.add((profile.name, heard))
            else:
                self._alive.add(heard.machine)
            HEARD.labels(profile.name, "heartbeat", "done").inc()
        elif heard.heard == "ack":
            queue = self._reports_elsewhere.get(profile.name, self._reports[shard % len(self._reports)])
            put = queue.put(said)
            if put is not Put.KEPT:
                # It was not confirmed, so it comes again.
                HEARD.labels(profile.name, "ack", put.value).inc()
        elif heard.heard == "state":
            self._states.put(said)
        else:
            try:
                prices = prices_of(payload)
            except ContractError as error:
                self._set_aside(said, error)
                return
            self._prices[shard % len(self._prices)].put((profile, heard, prices, said[3]))

    async def _flush_heartbeats(self) -> None:
        backoff, failures = Backoff(), 0
        while True:
            delay_s = self._settings.heartbeat_flush_s
            alive, self._alive = self._alive, set()
            try:
                alive |= await self._known_elsewhere()
                ordered = sorted(alive)
                for start in range(0, len(ordered), _BATCH_MAX):
                    some = ordered[start : start + _BATCH_MAX]
                    await reports.on_heartbeats(self._attached, some)
                    alive.difference_update(some)
                failures = 0
            except Exception as error:
                # A machine that was deleted while its heartbeat was being stored is unknown the next time.
                if is_transient(error) or sqlstate_of(error) == FOREIGN_KEY_VIOLATION:
                    self._alive |= alive
                else:
                    log.exception("%s heartbeats were lost", len(alive))
                delay_s = backoff.delay_s(failures)
                failures += 1
            await asyncio.sleep(delay_s)

    async def _known_elsewhere(self) -> set[str]:
        some, self._alive_elsewhere = self._alive_elsewhere, set()
        found = [await self._directory.find(broker, heard) for broker, heard in some]
        return {device_id for device_id in found if device_id is not None}

    async def _work_on_reports(self, queue: SharedQueue) -> None:
        backoff = Backoff()
        while True:
            batch = await queue.get_all(_REPORTS_MAX)
            for attempt in range(_TRIES_MAX):
                if await self._reports_together(batch):
                    break
                await asyncio.sleep(backoff.delay_s(attempt))
            if len(batch) < _REPORTS_MAX:
                await asyncio.sleep(_REPORTS_GATHERED_S)

    async def _reports_together(self, batch: list[Said]) -> bool:
        """Follow reports in one transaction, then confirm each; False when the same may succeed later."""
        try:
            read = [(said, report) for said in batch if (report := await self._read(said, report_of)) is not None]
            refused = await reports.on_reports(self._attached, [report for _, report in read])
        except Exception as error:
            if is_transient(error):
                self._note_retried(batch)
                return False
            log.exception("%d reports go one by one", len(batch))
            for said in batch:
                await self._one_report(said)
            return True
        followed = []
        for (said, report), refusal in zip(read, refused, strict=True):
            if isinstance(refusal, DeviceUnknown):
                self._set_aside(said, refusal)
                continue
            if refusal is not None:
                _note_refused(report, refusal)
            followed.append((said, report))
        confirmed = (self._confirm(said[0], said[1], report) for said, report in followed)
        for result in await asyncio.gather(*confirmed, return_exceptions=True):
            if isinstance(result, BaseException):
                log.error("a report was not confirmed; it will come again", exc_info=result)
        for said, _ in followed:
            self._note(said, "done")
        return True

    async def _one_report(self, said: Said) -> None:
        backoff = Backoff()
        for attempt in range(_TRIES_MAX):
            if await self._done(said, self._report):
                return
            await asyncio.sleep(backoff.delay_s(attempt))

    async def _work_on_states(self) -> None:
        backoff, failures = Backoff(), 0
        while True:
            batch = await self._states.get_all(_STATES_MAX)
            again = await self._states_together(batch)
            for said in again:
                self._states.put_back(said)
            await asyncio.sleep(backoff.delay_s(failures) if again else _STATES_GATHERED_S)
            failures = failures + 1 if again else 0

    async def _states_together(self, batch: list[Said]) -> list[Said]:
        """Store states in one transaction; returns those that are to be tried again after a fault of Postgres."""
        said_of: dict[int, SaidOfItself] = {}
        try:
            for place, said in enumerate(batch):
                read = await self._read(said, state_of)
                if read is not None:
                    said_of[place] = read
            await reports.on_states(self._attached, said_of.values())
        except Exception as error:
            if is_transient(error):
                self._note_retried(batch)
                return batch
            log.exception("%d states go one by one", len(batch))
            return [said for said in batch if not await self._done(said, self._state)]
        for place in said_of:
            self._note(batch[place], "done")
        return []

    async def _read(self, said: Said, read: Callable[[str, Heard, bytes], T]) -> T | None:
        """Return what was said, by whom; None when nobody knows who it was, or it cannot be read."""
        profile, heard, payload, _ = said
        try:
            return read(await self._device_of(profile, heard), heard, payload)
        except ContractError as error:
            self._set_aside(said, error)
            return None

    async def _device_of(self, profile: Profile, heard: Heard) -> str:
        device_id = await self._directory.find(profile.name, heard)
        if device_id is None:
            raise ContractError(f"nobody knows the machine {heard.machine!r} of {profile.name}")
        return device_id

    def _set_aside(self, said: Kept[Any], error: ContractError | DomainError) -> None:
        _, heard, what, _ = said
        log.warning("%s of %s is set aside: %s: %s", heard.heard, heard.machine, error, _raw(what))
        self._note(said, "unreadable")

    def _note(self, said: Kept[Any], outcome: str) -> None:
        profile, heard, _, arrived = said
        HEARD.labels(profile.name, heard.heard, outcome).inc()
        HEARD_SECONDS.labels(heard.heard).observe(asyncio.get_running_loop().time() - arrived)

    async def _work_on_prices(self, newest: Newest[Prices]) -> None:
        backoff, failures = Backoff(), 0
        while True:
            said = await newest.get()
            if await self._done(said, self._telemetry):
                failures = 0
            else:
                newest.put_back(said)
                await asyncio.sleep(backoff.delay_s(failures))
                failures += 1

    def _note_retried(self, batch: list[Said]) -> None:
        for profile, heard, _, _ in batch:
            HEARD.labels(profile.name, heard.heard, "retried").inc()

    async def _done(self, said: Kept[T], work: Work[T]) -> bool:
        """Work on one message; False when the same may succeed later, which only faults of Postgres can say."""
        profile, heard, what, _ = said
        outcome = "done"
        try:
            await work(profile, heard, await self._device_of(profile, heard), what)
        except ContractError as error:
            self._set_aside(said, error)
            return True
        except Exception as error:
            if is_transient(error):
                HEARD.labels(profile.name, heard.heard, "retried").inc()
                return False
            # Never confirmed, so the machine says it again, and it is seen again.
            outcome = "failed"
            log.exception("%s of %s failed: %s", heard.heard, heard.machine, _raw(what))
        self._note(said, outcome)
        return True

    async def _report(self, profile: Profile, heard: Heard, device_id: str, payload: bytes) -> None:
        report = report_of(device_id, heard, payload)
        try:
            await reports.on_report(self._attached, report)
        except DeviceUnknown as error:
            # Not confirmed: it is another service's machine, or one that was deleted and is still connected.
            raise ContractError(error.detail) from error
        except DomainError as error:
            _note_refused(report, error)
        await self._confirm(profile, heard, report)

    async def _confirm(self, profile: Profile, heard: Heard, report: Report) -> None:
        try:
            topic = profile.confirmation_topic(heard.machine, report.command_id)
            await self._publish(profile.name, topic, AckConfirmation(n=report.n).payload(), expires_in_s=60)
        except (NotSentError, OutcomeUnknownError):
            log.info("the report %s of %s was not confirmed; it will come again", report.n, report.device_id)

    async def _state(self, _profile: Profile, heard: Heard, device_id: str, payload: bytes) -> None:
        await reports.on_states(self._attached, [state_of(device_id, heard, payload)])

    async def _telemetry(self, _profile: Profile, _heard: Heard, device_id: str, prices: Prices) -> None:
        lines = [(drink, size, price) for (drink, size), price in prices.items()]
        try:
            await reports.on_prices(self._attached, device_id, lines)
        except DomainError as error:
            log.info("prices of %s were refused: %s", device_id, error.detail)

    @property
    def _attached(self) -> "Context":
        if self._context is None:
            raise RuntimeError("the loop was not attached to a context")
        return self._context


def _raw(what: object) -> str:
    return repr(what)[:_RAW_CHARS_MAX]


def _note_refused(report: Report, error: DomainError) -> None:
    # A command that is not ours, or not this machine's: to hear it again would change nothing.
    log.warning("a report of %s on %s was refused: %s", report.device_id, report.command_id, error.detail)
