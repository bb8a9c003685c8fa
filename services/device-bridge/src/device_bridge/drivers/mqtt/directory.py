"""Whose machine it is: at a foreign broker it has that broker's name, which our devices have in their address."""

import time

from copeck.storage.engine import Database
from device_bridge.drivers.mqtt.profiles import Heard
from device_bridge.drivers.registry import FOREIGN_BROKERS
from device_bridge.store import foreign

KEPT_S = 30.0


class Directory:
    """Knows the names for half a minute; on our own broker a machine's name is its device's id."""

    def __init__(self) -> None:
        self._database: Database | None = None
        self._names: dict[str, dict[str, str]] = {}
        self._read_at: dict[str, float] = {}

    def attach(self, database: Database) -> None:
        """Say where devices are kept."""
        self._database = database

    def device_of(self, broker: str, heard: Heard) -> str | None:
        """Return the device without asking the database; None while it is not known."""
        return self._names.get(broker, {}).get(heard.machine) if heard.foreign else heard.machine

    async def find(self, broker: str, heard: Heard) -> str | None:
        """Return the device; None when no device has this name in its address."""
        known = self.device_of(broker, heard)
        stale = heard.foreign and time.monotonic() - self._read_at.get(broker, -KEPT_S) >= KEPT_S
        if not stale or self._database is None:
            return known
        async with self._database.transaction() as tx:
            self._names[broker] = await foreign.names(tx, FOREIGN_BROKERS.get(broker, ()))
        self._read_at[broker] = time.monotonic()
        return self.device_of(broker, heard)
