"""What goes wrong while coffee is sold: what goes wrong with subscriptions, and machines and their broker as well."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.chaos.nemesis import LEASE_S, Nemesis, invoice_bindings

KILLED = (
    "billing-state-updater", "billing-state-updater-2", "payments-gateway", "gateway-worker", "device-bridge",
    "device-bridge", "device-worker",
)  # fmt: skip
# What can happen to one command, or to one machine; decided from the seed by the machines themselves.
MACHINES_CHAOS: dict[str, Any] = {
    "probabilities": {
        "offline": 0.05,
        "slow": 0.08,
        "failed_brew": 0.08,
        "refused": 0.05,
        "lost_ack": 0.2,
        "duplicate_ack": 0.2,
        "mute": 0.03,
        "reboot": 0.06,
        "reboot_after_cup": 0.06,
        "clock_off": 0.1,
        "stale_session": 0.04,
    },
    "options": {
        "offline_ms": [1000, 9000],
        "reboot_ms": [500, 4000],
        "stale_ms": [1000, 9000],
        # The longest of them is over when the money has gone back.
        "slow_ms": [500, 25000],
    },
}
_AWAY_AT_ONCE = 5


@dataclass
class CoffeeNemesis(Nemesis):
    """Does harm to a stack that sells coffee, and can undo all of it."""

    machines_url: str = ""
    devices: tuple[str, ...] = ()
    killed: tuple[str, ...] = KILLED
    unbound: dict[str, list[tuple[str, str]]] = field(
        default_factory=lambda: invoice_bindings("devices.events", "gateway.events")
    )

    def kinds(self) -> list[tuple[str, Callable[[], None]]]:
        """Return what can be done, each as often as it is to come in a round."""
        return [
            ("kill", self.kill),
            ("kill", self.kill),
            ("kill", self.kill),
            ("sleep of an updater", self.sleep),
            ("sleep of the bridge", self.sleep_bridge),
            ("restart of RabbitMQ", self.restart_broker),
            ("crash of Postgres", self.crash_database),
            ("crash of Mosquitto", self.crash_mosquitto),
            ("restart of Mosquitto", self.restart_mosquitto),
            ("lost binding", self.lose_binding),
            ("forged callbacks", self.forge),
            ("machines cut off", self.cut_off),
            ("machines cut off", self.cut_off),
            ("machines without power", self.cut_power),
        ]

    def sleep_bridge(self) -> None:
        """Stop the bridge for a while; the broker, the bus and the machines go on without it."""
        self.note("SIGSTOP device-bridge")
        process = self.stack.processes["device-bridge"]
        process.pause()
        self._pause(LEASE_S, LEASE_S * 2)
        process.resume()
        self.note("SIGCONT device-bridge")

    def crash_mosquitto(self) -> None:
        """Kill the machines' broker: sessions and messages since its last save are gone."""
        self.note("kill -9 mosquitto")
        server = self.stack.infra.processes["mosquitto"]
        server.kill()
        self._pause(0.2, 1.5)
        server.start_and_wait()

    def restart_mosquitto(self) -> None:
        """Restart the machines' broker in order: what waits in it is kept."""
        self.note("restart mosquitto")
        self.stack.infra.restart("mosquitto")

    def cut_off(self) -> None:
        """Take machines off the network; half of them leave a dead connection behind."""
        with httpx2.Client(base_url=self.machines_url, timeout=10, trust_env=False) as machines:
            for device in self._chance.sample(self.devices, min(_AWAY_AT_ONCE, len(self.devices))):
                body = {"for_ms": self._chance.randint(500, 9000), "stale": self._chance.random() < 0.5}
                self.note(f"{device} is off the network: {body}")
                machines.post(f"/control/machines/{device}/offline", json=body).raise_for_status()

    def cut_power(self) -> None:
        """Cut the power of machines, whatever they are at, and give it back."""
        with httpx2.Client(base_url=self.machines_url, timeout=10, trust_env=False) as machines:
            for device in self._chance.sample(self.devices, min(_AWAY_AT_ONCE, len(self.devices))):
                body = {"for_ms": self._chance.randint(500, 4000)}
                self.note(f"{device} is without power: {body}")
                machines.post(f"/control/machines/{device}/reboot", json=body).raise_for_status()

    def provoke_machines(self) -> None:
        """Switch the machines' faults on."""
        with httpx2.Client(base_url=self.machines_url, timeout=10, trust_env=False) as machines:
            answer = machines.put("/control/chaos", json={"seed": self.seed, **MACHINES_CHAOS})
            if answer.is_error:
                raise RuntimeError(f"the machines refused their faults: {answer.text[:300]}")

    def heal(self) -> None:
        """Undo everything, the machines' faults too; clocks are right again, and whoever was mute says it all."""
        with httpx2.Client(base_url=self.machines_url, timeout=10, trust_env=False) as machines:
            machines.delete("/control/chaos").raise_for_status()
        super().heal()
