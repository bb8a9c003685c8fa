"""All machines of the process: set up, switched, and put back as they were after a restart."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from sandbox.machines.chaos import Chaos, Switch
from sandbox.machines.machine import Machine
from sandbox.machines.model import MachineConfig, Switches
from sandbox.machines.settings import Settings
from sandbox.machines.store import Store
from sandbox.machines.transports import (
    ContractTransport,
    FrameTransport,
    Stats,
    TelemetryTransport,
    Transport,
)
from sandbox.machines.wire import new_order_id, now_ms, shown_link

CHOICE_MS = 600_000


class UnknownMachineError(Exception):
    """There is no machine of this name."""


class Fleet:
    """The machines by name."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self.settings = settings
        self.store = store
        self.chaos = Chaos()
        self.stats = Stats()
        self.machines: dict[str, Machine] = {}
        self._transports: dict[str, Transport] = {}
        self._gate = asyncio.Semaphore(settings.connects_at_once)
        self._reboots: set[asyncio.TimerHandle] = set()

    def start(self) -> None:
        """Put every machine back that the store has, and the faults."""
        kept = self.store.rows("SELECT value FROM keep WHERE name = 'chaos'")
        if kept:
            self.chaos = Chaos.model_validate_json(kept[0][0])
        for config, switches in self.store.rows("SELECT config, switches FROM machines ORDER BY device"):
            self._add(MachineConfig.model_validate_json(config), Switches.model_validate_json(switches))

    def stop(self) -> None:
        """Leave in order."""
        for timer in self._reboots:
            timer.cancel()
        for device, machine in self.machines.items():
            machine.halt()
            self._transports[device].stop()

    def set_chaos(self, chaos: Chaos) -> None:
        """Replace what is switched on."""
        self.chaos = chaos
        with self.store.unit():
            self.store.write("INSERT OR REPLACE INTO keep VALUES ('chaos', ?)", (chaos.model_dump_json(),))
            self.store.log(
                "chaos.set", "", seed=chaos.seed, probabilities=chaos.model_dump(mode="json")["probabilities"]
            )

    def find(self, device: str) -> Machine:
        """Return a machine; UnknownMachineError when there is none."""
        try:
            return self.machines[device]
        except KeyError:
            raise UnknownMachineError(device) from None

    def transport(self, device: str) -> Transport:
        """Return a machine's connection."""
        self.find(device)
        return self._transports[device]

    def put(self, configs: list[MachineConfig]) -> None:
        """Set machines up, or set them up anew; what a machine remembers stays."""
        with self.store.unit():
            for config in configs:
                self.store.write(
                    "INSERT INTO machines VALUES (?, ?, ?) ON CONFLICT (device) DO UPDATE SET config = excluded.config",
                    (config.device, config.model_dump_json(), Switches().model_dump_json()),
                )
        for config in configs:
            known = self.machines.get(config.device)
            switches = known.switches if known else Switches()
            self._drop(config.device)
            self._add(config, switches)

    def remove(self, device: str) -> None:
        """Take a machine away."""
        self.find(device)
        self._drop(device)
        self.store.write("DELETE FROM machines WHERE device = ?", (device,))

    def switch(self, device: str, changes: dict[str, Any]) -> Machine:
        """Turn switches of a machine."""
        machine = self.find(device)
        before = machine.switches
        machine.switches = Switches.model_validate({**before.model_dump(), **changes})
        with self.store.unit():
            self.store.write(
                "UPDATE machines SET switches = ? WHERE device = ?", (machine.switches.model_dump_json(), device)
            )
            self.store.log("machine.switched", device, **json.loads(json.dumps(changes)))
        if before.powered and not machine.switches.powered:
            machine.halt()
            self._transports[device].stop(orderly=False)
        elif machine.switches.powered and not before.powered:
            machine.boot()
            self._transports[device].start()
        else:
            machine.on_state()
        return machine

    def reboot(self, device: str, for_ms: int) -> None:
        """Cut the power and give it back."""
        self.find(device).cut_power(for_ms)

    def away(self, device: str, for_ms: int, *, stale: bool = False) -> None:
        """Take a machine off the network for a while; it goes on brewing."""
        self.transport(device).away(for_ms, stale=stale)

    def choose(self, device: str, drink: str, size: str, ts_offset_s: int = 0) -> str:
        """Choose a drink at the machine: it shows a signed link, which is returned."""
        machine = self.find(device)
        if all((line.drink, line.size) != (drink, size) for line in machine.config.menu):
            raise UnknownMachineError(f"{device} has no {size} {drink}")
        # The machine stamps with its own clock; the offset is for tests.
        ts = machine.clock_ms() // 1000 + ts_offset_s
        order = new_order_id()
        machine.chosen = (drink, size, order, now_ms() + CHOICE_MS)
        link = shown_link(self.settings.shop_url, device, machine.config.secret, drink, size, order, ts)
        self.store.log("drink.chosen", device, drink=drink, size=size, order=order, link=link)
        machine.screen.event = "chosen"
        machine.screen.code = link
        machine.screen.until_ms = now_ms() + CHOICE_MS
        return link

    def replay(self) -> int:
        """Give every command that was ever heard to its machine again, as somebody who recorded them would."""
        rows = self.store.rows("SELECT device, details FROM log WHERE event = 'command.received' ORDER BY seq")
        replayed = 0
        for device, details in rows:
            transport = self._transports.get(device)
            payload = str(json.loads(details)["payload"])
            if isinstance(transport, ContractTransport):
                transport.hear(f"cm/v1/{device}/cmd/replayed", payload.encode())
                replayed += 1
            elif isinstance(transport, FrameTransport):
                transport.hear(f"technical/{device}", bytes.fromhex(payload))
                replayed += 1
        return replayed

    def strikes(self, switch: Switch, subject: str, device: str, order_id: str = "") -> bool:
        """Ask whether a fault of the telemetry strikes."""
        return self.chaos.strikes(switch, subject, device=device, order_id=order_id)

    def counts(self) -> dict[str, int]:
        """Return how many machines there are and are online."""
        online = sum(transport.online for transport in self._transports.values())
        busy = sum(machine.current is not None for machine in self.machines.values())
        return {"machines": len(self.machines), "online": online, "busy": busy}

    def _add(self, config: MachineConfig, switches: Switches) -> None:
        machine = Machine(config, switches, self.settings, self.store, self)
        transport: Transport
        if config.model == "tmetr":
            transport = TelemetryTransport(machine)
        else:
            kind = FrameTransport if config.model == "frame-v1" else ContractTransport
            transport = kind(machine, self.stats, self._gate)
        self.machines[config.device], self._transports[config.device] = machine, transport
        machine.on_power_cut = lambda for_ms: self._power_cut(config.device, for_ms)
        if switches.powered:
            machine.boot()
            transport.start()

    def _drop(self, device: str) -> None:
        machine = self.machines.pop(device, None)
        if machine is not None:
            machine.halt()
            self._transports.pop(device).stop(orderly=False)

    def _power_cut(self, device: str, for_ms: int) -> None:
        self._transports[device].stop(orderly=False)

        def on() -> None:
            self._reboots.discard(timer)
            if device in self.machines and self.machines[device].switches.powered:
                self.machines[device].boot()
                self._transports[device].start()

        timer = asyncio.get_running_loop().call_later(for_ms / 1000, on)
        self._reboots.add(timer)
