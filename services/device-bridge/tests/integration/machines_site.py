"""The device service's connection to machines, with a real broker and the sandbox's machines behind it."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiomqtt

from copeck.kernel.clock import SystemClock
from copeck.kernel.ids import new_id
from device_bridge.domain.drivers import BrewInstruction, Target
from device_bridge.drivers.accounts import BrokerAccounts, username_of
from device_bridge.drivers.mqtt.link import Login
from device_bridge.drivers.registry import RegisteredDrivers, build_drivers
from device_bridge.handlers.context import Context
from device_bridge.mqtt import MqttLoop
from sandbox.machines.fleet import Fleet
from sandbox.machines.machine import Machine
from sandbox.machines.model import MachineConfig, MenuLine
from sandbox.machines.settings import Settings
from sandbox.machines.store import Store

from .catalogue_site import Person, Site

MQTT_URL = os.environ.get("COPECK_TEST_MQTT_URL", "mqtt://device-bridge@127.0.0.1:1883")


@dataclass
class Machines:
    """What a test speaks to machines with."""

    site: Site
    owner: Person
    context: Context
    mqtt: MqttLoop
    accounts: BrokerAccounts
    drivers: RegisteredDrivers
    fleet: Fleet

    async def add(self, model: str = "mqtt-v1", *, on: bool = True) -> Machine:
        """Make a device with an account, and a machine of the sandbox that is it; no test meets another one's."""
        code = f"kofe-{uuid4().hex[:12]}"
        await self.site.device(self.owner, code, model=model)
        await self.site.drink(self.owner, code)
        config = MachineConfig(
            device=code,
            model=model,  # type: ignore[arg-type]
            key=self.key(code).hex(),
            username=username_of(code),
            password=await self.accounts.create(code),
            menu=[MenuLine(drink="latte", size="medium", price_minor=15_000)],
        )
        self.fleet.put([config])
        if not on:
            self.fleet.switch(code, {"powered": False})
        return self.fleet.find(code)

    def key(self, code: str) -> bytes:
        """Return a device's key."""
        device_key: Any = self.context.device_key
        found = self.site.sql("SELECT id, key_number FROM devices.devices WHERE id = %s", code)[0]
        return bytes(device_key(_Named(*found)))

    def paid_order(self, machine: Machine, model: str = "mqtt-v1") -> tuple[UUID, BrewInstruction]:
        """Note an order whose command was handed on; returns the order and what is told to the machine."""
        now = datetime.now(UTC)
        order, _ = self.site.order(self.owner.user_id, machine.device, now, status="make_pending")
        told = BrewInstruction(
            new_id(), order, "latte", "medium", 15_000, "RUB", now, now + timedelta(seconds=60)
        )  # fmt: skip
        self.site.sql(
            "INSERT INTO devices.brew_commands VALUES (%s, %s, %s, %s, 'sent', %s, %s, %s, 1, NULL, %s, NULL, NULL,"
            " NULL, '', '')",
            *(told.command_id, order, machine.device, model, now, told.expires_at, told.expires_at, told.expires_at),
        )
        return order, told

    def target(self, machine: Machine, model: str = "mqtt-v1", **address: Any) -> Target:
        """Return a machine as drivers see it."""
        return Target(machine.device, model, address, self.key(machine.device), "Europe/Moscow")

    def status(self, order: UUID) -> str:
        """Return an order's status."""
        return str(self.site.sql("SELECT status FROM devices.orders WHERE id = %s", order)[0][0])

    def state(self, machine: Machine) -> dict[str, Any]:
        """Return what is known of a machine."""
        rows = self.site.sql(
            "SELECT online, state, error_code, heartbeat_at FROM devices.device_states WHERE device_id = %s",
            machine.device,
        )
        return dict(zip(("online", "state", "error_code", "heartbeat_at"), rows[0], strict=True)) if rows else {}

    def events(self, machine: Machine, event: str) -> int:
        """Count what happened to a machine, by its own log."""
        query = "SELECT count(*) FROM log WHERE device = ? AND event = ?"
        return int(self.fleet.store.rows(query, (machine.device, event))[0][0])


@dataclass(frozen=True)
class _Named:
    id: str
    key_number: int


@contextlib.asynccontextmanager
async def machines_of(site: Site, folder: Path, *, mqtt_url: str = MQTT_URL, **sandbox: Any) -> AsyncIterator[Machines]:
    """Connect the service and a fleet to the broker."""
    settings = site.context.settings.model_copy(
        update={"mqtt_url": mqtt_url, "mqtt_client_id": f"test-{uuid4().hex[:12]}", "heartbeat_flush_s": 0.05}
    )
    mqtt = MqttLoop(settings)
    drivers = build_drivers(settings, mqtt)
    context = replace(site.context, settings=settings, drivers=drivers, clock=SystemClock())
    mqtt.attach(context)
    accounts = BrokerAccounts(mqtt)
    running = asyncio.create_task(mqtt.run())
    store = Store(folder)
    chosen: dict[str, Any] = {"brew_ms": 20, "ack_retry_s": 0.2, "reconnect_s": 0.05, "heartbeat_s": 0.3} | sandbox
    fleet = Fleet(Settings(data_dir=folder, mqtt_url=MQTT_URL, **chosen), store)
    try:
        await mqtt.wait_connected(15)
        yield Machines(site, await site.merchant(), context, mqtt, accounts, drivers, fleet)
    finally:
        fleet.stop()
        store.close()
        await mqtt.stop()
        await running


def stranger(username: str, password: str) -> aiomqtt.Client:
    """Return a client that logs in as a machine, as somebody who took its board home would."""
    host = MQTT_URL.rpartition("@")[2]
    login = Login(f"mqtt://{host}", username).options()
    return aiomqtt.Client(**login | {"username": username, "password": password}, timeout=5)
