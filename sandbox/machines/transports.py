"""How machines are connected: the contract over MQTT, the older machines' frames, or not at all (telemetry)."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from dataclasses import dataclass
from typing import Protocol

from sandbox.machines import wire
from sandbox.machines.chaos import Switch
from sandbox.machines.machine import Machine, SentReport
from sandbox.machines.mqtt import Connection, Login, MqttError, Will, connect
from sandbox.machines.wire import NotACommandError, Order, now_ms

log = logging.getLogger(__name__)

_STRUCK_MAX = 1_000
_RETRIED_MAX = 50


@dataclass(slots=True)
class Stats:
    """What the whole fleet has done since the process started."""

    connects: int = 0
    connect_failures: int = 0
    heartbeats: int = 0
    commands: int = 0
    reports: int = 0
    confirmations: int = 0


class Transport(Protocol):
    """What the fleet does with a connection."""

    @property
    def online(self) -> bool:
        """The machine can be reached."""
        ...

    def start(self) -> None:
        """Connect, and stay connected."""
        ...

    def stop(self, *, orderly: bool = True) -> None:
        """Disconnect; the broker publishes the Will when that is not orderly."""
        ...

    def away(self, for_ms: int, *, stale: bool = False) -> None:
        """Be off the network for a while; `stale` leaves the old connection open and deaf."""
        ...


class BrokerTransport:
    """A connection to the broker that comes back: what machines of both kinds have in common."""

    topics: tuple[str, ...] = ()

    def __init__(self, machine: Machine, stats: Stats, gate: asyncio.Semaphore) -> None:
        self.machine = machine
        self._stats = stats
        self._gate = gate
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._again: asyncio.TimerHandle | None = None
        self._heart: asyncio.TimerHandle | None = None
        self._failures = 0
        self._wanted = False
        self._zombies: list[Connection] = []

    @property
    def online(self) -> bool:
        """Connected and subscribed."""
        return self._connection is not None and self._connection.alive

    def start(self) -> None:
        """Connect, and stay connected."""
        self._wanted = True
        if self._connecting is None and self._connection is None:
            self._connecting = asyncio.get_running_loop().create_task(self._connect())

    def stop(self, *, orderly: bool = True) -> None:
        """Disconnect, and do not come back before `start`."""
        self._wanted = False
        for timer in (self._again, self._heart):
            if timer is not None:
                timer.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
        self._connecting, connection, self._connection = None, self._connection, None
        for zombie in self._zombies:
            zombie.abort()
        self._zombies.clear()
        if connection is not None:
            if orderly:
                self.say_goodbye(connection)
                connection.disconnect()
            else:
                connection.abort()

    def away(self, for_ms: int, *, stale: bool = False) -> None:
        """Be off the network for a while."""
        connection = self._connection
        if stale and connection is not None:
            connection.go_deaf()
            self._zombies.append(connection)
            self._connection = None
        zombies, self._zombies = self._zombies, []
        self.stop(orderly=False)
        self._zombies = zombies
        self._wanted = True
        self._again = asyncio.get_running_loop().call_later(for_ms / 1000, self.start)

    async def _connect(self) -> None:
        try:
            async with self._gate:
                self._connection = await connect(self._login(), self.topics, self._heard, self._lost)
        except (MqttError, OSError, TimeoutError) as error:
            self._stats.connect_failures += 1
            log.debug("%s: %s", self.machine.device, error)
            self._connecting = None
            self._later()
            return
        self._connecting = None
        if not self.online:
            self._connection = None
            self._later()
            return
        self._failures = 0
        self._stats.connects += 1
        for zombie in self._zombies:
            zombie.abort()
        self._zombies.clear()
        self.machine.store.log("machine.online", self.machine.device)
        self.say_hello()
        settings = self.machine.settings
        # The first pause is random, so that a fleet that came at once does not beat at once for ever.
        self._heart = asyncio.get_running_loop().call_later(settings.heartbeat_s * random.random(), self._beat)

    def _login(self) -> Login:
        config, settings = self.machine.config, self.machine.settings
        ca_file = str(settings.mqtt_ca_file) if settings.mqtt_ca_file else None
        name = config.username or f"machine-{config.device}"
        return Login(
            config.mqtt_url or settings.mqtt_url, name, config.username, config.password, will=self.will(),
            ca_file=ca_file,
        )  # fmt: skip

    def _heard(self, topic: str, payload: bytes) -> bool:
        try:
            return self.hear(topic, payload)
        except NotACommandError as error:
            self.machine.store.log("command.unreadable", self.machine.device, reason=str(error)[:200])
            return True

    def _lost(self, connection: Connection) -> None:
        if connection in self._zombies:
            self._zombies.remove(connection)
        if connection is not self._connection:
            return
        self._connection = None
        if self._heart is not None:
            self._heart.cancel()
        self.machine.store.log("machine.offline", self.machine.device)
        self._later()

    def _later(self) -> None:
        if not self._wanted or self._connecting is not None:
            return
        settings = self.machine.settings
        delay_s = min(settings.reconnect_cap_s, settings.reconnect_s * 2.0 ** min(self._failures, 10))
        self._failures += 1
        self._again = asyncio.get_running_loop().call_later(delay_s * (0.5 + random.random()), self.start)

    def _beat(self) -> None:
        connection = self._connection
        if connection is None:
            return
        self._heart = asyncio.get_running_loop().call_later(self.machine.settings.heartbeat_s, self._beat)
        if not connection.ping():
            connection.abort()
        elif self.machine.switches.heartbeats:
            self.publish_heartbeat()

    def publish(self, topic: str, payload: bytes, *, quality: int = 1, retain: bool = False) -> bool:
        """Send a message if there is a connection."""
        if self._connection is None or not self._connection.alive:
            return False
        self._connection.publish(topic, payload, quality=quality, retain=retain)
        return True

    # What differs

    def will(self) -> Will | None:
        """What the broker says when the connection breaks."""
        return None

    def say_hello(self) -> None:
        """What is said first on a new connection."""
        self.publish_heartbeat()

    def say_goodbye(self, connection: Connection) -> None:
        """What is said last on one that is left in order."""

    def publish_heartbeat(self) -> None:
        """Say that the machine is alive."""
        raise NotImplementedError

    def hear(self, topic: str, payload: bytes) -> bool:
        """Take a message; False leaves it unacknowledged, so that the broker brings it again."""
        raise NotImplementedError


def _json(body: dict[str, object]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


class ContractTransport(BrokerTransport):
    """The contract: signed commands, reports until they are confirmed, a retained state, a Will."""

    def __init__(self, machine: Machine, stats: Stats, gate: asyncio.Semaphore) -> None:
        super().__init__(machine, stats, gate)
        device = machine.device
        self._root = f"{wire.ROOT}/{device}"
        self.topics = (f"{self._root}/cmd/+", f"{self._root}/ack/+/ok")
        self._retry: asyncio.TimerHandle | None = None
        self._retry_s = machine.settings.ack_retry_s
        self._tries: dict[int, int] = {}
        self._struck: dict[str, None] = {}
        machine.on_report = self.report
        machine.on_state = self.publish_state

    def will(self) -> Will:
        """Not online any more."""
        return Will(f"{self._root}/state", _json({"v": 1, "online": False}))

    def say_hello(self) -> None:
        """State, prices, a heartbeat, and whatever was not confirmed."""
        self.publish_state()
        self.publish_heartbeat()
        if self.machine.config.shows_prices:
            menu = self.machine.config.menu
            prices = [{"drink": m.drink, "size": m.size, "price_minor": m.price_minor} for m in menu]
            self.publish(f"{self._root}/telemetry", _json({"v": 1, "prices": prices}))
        self._retry_s = self.machine.settings.ack_retry_s
        self._repeat()

    def say_goodbye(self, connection: Connection) -> None:
        """An orderly leave has no Will, so the machine says itself that it is off."""
        connection.publish(f"{self._root}/state", _json({"v": 1, "online": False}), quality=1, retain=True)

    def publish_state(self) -> None:
        """What the machine is, retained."""
        machine = self.machine
        body = {
            "v": 1, "online": True, "state": machine.state, "error": machine.switches.error,
            "sold_out": [list(pair) for pair in machine.switches.sold_out], "at": machine.clock_ms(),
        }  # fmt: skip
        self.publish(f"{self._root}/state", _json(body), retain=True)

    def publish_heartbeat(self) -> None:
        """The heartbeat."""
        if self.publish(f"{self._root}/heartbeat", _json({"v": 1, "at": self.machine.clock_ms()}), quality=0):
            self._stats.heartbeats += 1

    def hear(self, topic: str, payload: bytes) -> bool:
        """A command, or the confirmation of a report."""
        if topic.endswith("/ok"):
            self._confirmed(payload)
            return True
        kind, order, genuine = wire.read_command(payload, self.machine.device, self.machine.config.secret)
        if self._struck_by_fault(order):
            return False
        self._stats.commands += 1
        self.machine.store.log(
            "command.received", self.machine.device, command_id=order.command_id, order_id=order.order_id, kind=kind,
            payload=payload.decode("utf-8", "replace"),
        )  # fmt: skip
        if kind == "brew":
            self.machine.take(order) if genuine else self.machine.refuse(order, "bad_signature")
        elif kind == "revoke" and genuine:
            self.machine.revoke(order)
        return True

    def _struck_by_fault(self, order: Order) -> bool:
        if order.command_id in self._struck:
            return False
        chaos = self.machine.faults.chaos
        faults = ((Switch.OFFLINE, chaos.options.offline_ms), (Switch.STALE_SESSION, chaos.options.stale_ms))
        for switch, bounds in faults:
            if self.machine.strikes(switch, order.command_id, order.order_id):
                # Once for each command: the broker brings it again when the machine is back.
                self._struck[order.command_id] = None
                while len(self._struck) > _STRUCK_MAX:
                    self._struck.pop(next(iter(self._struck)))
                self.away(chaos.between(bounds, order.command_id), stale=switch is Switch.STALE_SESSION)
                return True
        return False

    def _confirmed(self, payload: bytes) -> None:
        try:
            n = int(json.loads(payload)["n"])
        except (ValueError, KeyError, TypeError) as error:
            raise NotACommandError("not a confirmation") from error
        self._stats.confirmations += 1
        self._tries.pop(n, None)
        self.machine.confirmed(n)

    def report(self, report: SentReport) -> None:
        """Say what became of a command, now and again until it is confirmed."""
        self._retry_s = self.machine.settings.ack_retry_s
        self._send(report)
        self._arm()

    def _send(self, report: SentReport) -> None:
        machine, subject = self.machine, f"{report.command_id}/{report.state}"
        tries = self._tries[report.n] = self._tries.get(report.n, 0) + 1
        if machine.switches.mute or machine.strikes(Switch.MUTE, report.command_id):
            return
        if machine.strikes(Switch.LOST_ACK, f"{subject}/{tries}"):
            return
        body = {
            "v": 1, "command_id": report.command_id, "state": report.state, "code": report.code, "at": report.at_ms,
            "n": report.n,
        }  # fmt: skip
        for _ in range(2 if machine.strikes(Switch.DUPLICATE_ACK, subject) else 1):
            if self.publish(f"{self._root}/ack/{report.command_id}", _json(body)):
                self._stats.reports += 1

    def _arm(self) -> None:
        if self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(self._retry_s, self._retry_now)

    def _retry_now(self) -> None:
        self._retry = None
        self._retry_s = min(self.machine.settings.ack_retry_cap_s, self._retry_s * 2)
        if self.online:
            self._repeat()

    def _repeat(self) -> None:
        unconfirmed = self.machine.unconfirmed(limit=_RETRIED_MAX)
        for report in unconfirmed:
            self._send(report)
        if unconfirmed:
            self._arm()

    def stop(self, *, orderly: bool = True) -> None:
        """As above; nothing is repeated without a connection."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        super().stop(orderly=orderly)


class FrameTransport(BrokerTransport):
    """An older machine: it is sent frames, and says nothing but that it is alive."""

    def __init__(self, machine: Machine, stats: Stats, gate: asyncio.Semaphore) -> None:
        super().__init__(machine, stats, gate)
        self.topics = (f"technical/{machine.device}",)
        machine.on_report = lambda report: machine.confirmed(report.n)

    def publish_heartbeat(self) -> None:
        """Any event will do."""
        if self.publish(f"technical/{self.machine.device}/events", b"\x00", quality=0):
            self._stats.heartbeats += 1

    def hear(self, topic: str, payload: bytes) -> bool:  # noqa: ARG002 - it has one topic
        """A frame: nobody signs it."""
        order = wire.read_frame(payload)
        self._stats.commands += 1
        self.machine.store.log(
            "command.received", self.machine.device, command_id=order.command_id, order_id=order.order_id,
            kind="brew", payload=payload.hex(),
        )  # fmt: skip
        self.machine.take(order)
        return True


class TelemetryTransport:
    """A machine behind the telemetry: this process is its telemetry, so there is nothing to connect."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._on = False
        self._again: asyncio.TimerHandle | None = None
        self._seen_ms = 0
        machine.on_report = lambda report: machine.confirmed(report.n)

    @property
    def online(self) -> bool:
        """The telemetry reaches it."""
        return self._on

    @property
    def heartbeat_ms(self) -> int:
        """When the telemetry heard of it last."""
        if self._on and self.machine.switches.heartbeats:
            self._seen_ms = now_ms()
        return self._seen_ms

    def start(self) -> None:
        """Be there."""
        self._on = True

    def stop(self, *, orderly: bool = True) -> None:  # noqa: ARG002 - nobody would notice
        """Be gone."""
        self._seen_ms = self.heartbeat_ms
        self._on = False
        if self._again is not None:
            self._again.cancel()

    def away(self, for_ms: int, *, stale: bool = False) -> None:  # noqa: ARG002 - there is no session
        """Be gone for a while."""
        self.stop()
        self._again = asyncio.get_running_loop().call_later(for_ms / 1000, self.start)
