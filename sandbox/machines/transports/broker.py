"""A connection to the broker that comes back: what machines of both kinds have in common."""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass
from typing import Protocol

from sandbox.machines.machine import Machine
from sandbox.machines.mqtt import Connection, Login, MqttError, Will, connect
from sandbox.machines.wire import NotACommandError

log = logging.getLogger(__name__)


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
        name = f"machine-{config.device}"
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
