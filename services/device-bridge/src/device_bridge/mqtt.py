"""The edge to machines: what they say over MQTT comes in here, and what they are told goes out.

aiomqtt acknowledges a message when it arrives, so a report is confirmed by the application, after its commit; a machine
repeats what was not confirmed. Reports of one machine are worked on in their order, those of different machines side by
side. Of a machine's states and prices only the last one counts, and heartbeats are collected: a fleet of thousands
costs one statement each half a second.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import aiomqtt

from copeck.contracts.base import ContractError
from copeck.contracts.machines import (
    AckConfirmation,
    MachineAck,
    MachineState,
    MachineTelemetry,
    read_payload,
)
from copeck.kernel.errors import DomainError
from copeck.messaging.backoff import Backoff
from copeck.observability.metrics import LATENCY_BUCKETS, Counter, Histogram
from copeck.storage.errors import is_transient
from device_bridge.domain.model import Report
from device_bridge.drivers.mqtt.brokers import OWN, logins
from device_bridge.drivers.mqtt.directory import Directory
from device_bridge.drivers.mqtt.link import Link, NotConnectedError, OutcomeUnknownError
from device_bridge.drivers.mqtt.newest import Newest, Said
from device_bridge.drivers.mqtt.profiles import CONTROL_RESPONSES, PROFILES, Heard, Profile
from device_bridge.handlers import reports
from device_bridge.settings import DevicesSettings

if TYPE_CHECKING:
    from device_bridge.handlers.context import Context

log = logging.getLogger(__name__)

HEARD = Counter("copeck_mqtt_heard_total", "What machines said, by what became of it", ["broker", "kind", "outcome"])
HEARD_SECONDS = Histogram(
    "copeck_mqtt_heard_seconds", "From a machine's message to its commit", ["kind"], buckets=LATENCY_BUCKETS
)

_QUEUE_MAX = 10_000
_BATCH_MAX = 1_000
_STATES_SIDE_BY_SIDE = 4
_TRIES_MAX = 5
_RAW_CHARS_MAX = 500

Work = Callable[[Profile, Heard, str, bytes], Awaitable[None]]


class MqttLoop:
    """The connections to brokers, and the work on what comes in. Handlers need `attach` before `run`."""

    def __init__(self, settings: DevicesSettings) -> None:
        self._settings = settings
        self._links: dict[str, Link] = {}
        self._context: Context | None = None
        self._control: Callable[[bytes], None] | None = None
        self._alive: set[str] = set()
        self._alive_elsewhere: set[tuple[str, Heard]] = set()
        self._reports: list[asyncio.Queue[Said]] = [
            asyncio.Queue(_QUEUE_MAX) for _ in range(settings.reports_concurrency)
        ]
        self._newest = [Newest() for _ in range(_STATES_SIDE_BY_SIDE)]
        self._directory = Directory()
        self._stopping = asyncio.Event()
        for name, login in logins(settings).items():
            self._links[name] = Link(PROFILES[name], login, self._on_message)

    def attach(self, context: "Context") -> None:
        """Say with what handlers work."""
        self._context = context
        self._directory.attach(context.database)

    def on_control(self, heard: Callable[[bytes], None]) -> None:
        """Have the answers of our broker's accounts handed to a function."""
        self._control = heard

    async def run(self) -> None:
        """Keep connected and work until `stop`."""
        if self._context is None:
            raise RuntimeError("the loop was not attached to a context")
        workers = [asyncio.create_task(self._work_on_reports(queue)) for queue in self._reports]
        workers += [asyncio.create_task(self._work_on_newest(newest)) for newest in self._newest]
        workers.append(asyncio.create_task(self._flush_heartbeats()))
        links = [asyncio.create_task(link.run()) for link in self._links.values()]
        stopped = asyncio.create_task(self._stopping.wait())
        try:
            done, _ = await asyncio.wait([stopped, *workers, *links], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopped}:
                # A part that ended by itself has met a fault of code: the process should know.
                task.result()
        finally:
            for task in (stopped, *workers, *links):
                task.cancel()
            await asyncio.gather(stopped, *workers, *links, return_exceptions=True)

    async def stop(self) -> None:
        """Disconnect; what was not confirmed, machines say again."""
        for link in self._links.values():
            await link.stop()
        self._stopping.set()

    async def ping(self) -> None:
        """Return when the machines' broker is connected; NotConnectedError otherwise."""
        link = self._links.get(OWN)
        if link is not None and not link.connected:
            raise NotConnectedError(OWN)

    async def wait_connected(self, timeout_s: float = 10.0) -> None:
        """Wait until our own broker is there; NotConnectedError when it is not in time."""
        if OWN not in self._links:
            raise NotConnectedError(OWN)
        await self._links[OWN].wait_connected(timeout_s)

    async def publish(
        self, broker: str, topic: str, payload: bytes, *, expires_in_s: float | None = None, timeout_s: float = 5.0
    ) -> None:
        """Publish with quality of service 1; NotConnectedError and OutcomeUnknownError as in `link.py`."""
        link = self._links.get(broker)
        if link is None:
            raise NotConnectedError(broker)
        await link.publish(topic, payload, expires_in_s=expires_in_s, timeout_s=timeout_s)

    def _on_message(self, profile: Profile, message: aiomqtt.Message) -> None:
        topic = str(message.topic)
        payload = bytes(message.payload)
        if topic == CONTROL_RESPONSES:
            if self._control is not None:
                self._control(payload)
            return
        try:
            heard = profile.read_topic(topic)
        except ContractError as error:
            HEARD.labels(profile.name, "other", "ignored").inc()
            log.info("ignored: %s", error)
            return
        self._sort(profile, heard, payload)

    def _sort(self, profile: Profile, heard: Heard, payload: bytes) -> None:
        said = (profile, heard, payload, asyncio.get_running_loop().time())
        shard = hash((profile.name, heard.machine))
        if heard.heard == "heartbeat":
            if heard.foreign:
                self._alive_elsewhere.add((profile.name, heard))
            else:
                self._alive.add(heard.machine)
            HEARD.labels(profile.name, "heartbeat", "done").inc()
        elif heard.heard == "ack":
            try:
                self._reports[shard % len(self._reports)].put_nowait(said)
            except asyncio.QueueFull:
                # It was not confirmed, so it comes again.
                HEARD.labels(profile.name, "ack", "dropped").inc()
        else:
            self._newest[shard % len(self._newest)].put(said)

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
                if is_transient(error):
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

    async def _work_on_reports(self, queue: asyncio.Queue[Said]) -> None:
        backoff = Backoff()
        while True:
            said = await queue.get()
            for attempt in range(_TRIES_MAX):
                if await self._done(said, self._report):
                    break
                await asyncio.sleep(backoff.delay_s(attempt))

    async def _work_on_newest(self, newest: Newest) -> None:
        backoff, failures = Backoff(), 0
        while True:
            said = await newest.get()
            if await self._done(said, self._state if said[1].heard == "state" else self._telemetry):
                failures = 0
            else:
                newest.put_back(said)
                await asyncio.sleep(backoff.delay_s(failures))
                failures += 1

    async def _done(self, said: Said, work: Work) -> bool:
        """Work on one message; False when the same may succeed later, which only faults of Postgres can say."""
        profile, heard, payload, arrived = said
        outcome = "done"
        try:
            device_id = await self._directory.find(profile.name, heard)
            if device_id is None:
                raise ContractError(f"nobody knows the machine {heard.machine!r} of {profile.name}")
            await work(profile, heard, device_id, payload)
        except ContractError as error:
            outcome = "unreadable"
            log.warning("%s of %s is set aside: %s: %r", heard.heard, heard.machine, error, payload[:_RAW_CHARS_MAX])
        except Exception as error:
            if is_transient(error):
                HEARD.labels(profile.name, heard.heard, "retried").inc()
                return False
            # Never confirmed, so the machine says it again, and it is seen again.
            outcome = "failed"
            log.exception("%s of %s failed: %r", heard.heard, heard.machine, payload[:_RAW_CHARS_MAX])
        HEARD.labels(profile.name, heard.heard, outcome).inc()
        HEARD_SECONDS.labels(heard.heard).observe(asyncio.get_running_loop().time() - arrived)
        return True

    async def _report(self, profile: Profile, heard: Heard, device_id: str, payload: bytes) -> None:
        ack = read_payload(MachineAck, payload)
        if ack.command_id != heard.command_id:
            raise ContractError("the topic names another command than the payload")
        report = Report(
            device_id=device_id,
            command_id=ack.command_id,
            state=ack.state,
            at=_moment(ack.at),
            code=ack.code,
            n=ack.n,
            raw=ack.model_dump(mode="json"),
        )
        try:
            await reports.on_report(self._attached, report)
        except DomainError as error:
            # A command that is not ours, or not this machine's: to hear it again would change nothing.
            log.warning("a report of %s on %s was refused: %s", device_id, ack.command_id, error.detail)
        try:
            topic = profile.confirmation_topic(heard.machine, ack.command_id)
            await self.publish(profile.name, topic, AckConfirmation(n=ack.n).payload(), expires_in_s=60)
        except (NotConnectedError, OutcomeUnknownError):
            log.info("the report %s of %s was not confirmed; it will come again", ack.n, device_id)

    async def _state(self, _profile: Profile, _heard: Heard, device_id: str, payload: bytes) -> None:
        state = read_payload(MachineState, payload)
        try:
            await reports.on_state(
                self._attached,
                device_id,
                online=state.online,
                state=state.state if state.online else "off",
                error_code=state.error,
                sold_out=list(state.sold_out),
                at=_moment(state.at) if state.at else None,
            )
        except DomainError as error:
            log.info("a state of %s was refused: %s", device_id, error.detail)

    async def _telemetry(self, _profile: Profile, _heard: Heard, device_id: str, payload: bytes) -> None:
        telemetry = read_payload(MachineTelemetry, payload)
        prices = [(line.drink, line.size, line.price_minor) for line in telemetry.prices]
        try:
            await reports.on_prices(self._attached, device_id, prices)
        except DomainError as error:
            log.info("prices of %s were refused: %s", device_id, error.detail)

    @property
    def _attached(self) -> "Context":
        if self._context is None:
            raise RuntimeError("the loop was not attached to a context")
        return self._context


def _moment(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
