"""The contract over MQTT: signed commands, reports until they are confirmed, a retained state, a Will."""

from __future__ import annotations

import asyncio
import json

from sandbox.machines import wire
from sandbox.machines.chaos import Switch
from sandbox.machines.machine import Machine, SentReport
from sandbox.machines.mqtt import Connection, Will
from sandbox.machines.transports.broker import BrokerTransport, Stats
from sandbox.machines.wire import NotACommandError, Order

_STRUCK_MAX = 1_000
_RETRIED_MAX = 50


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
