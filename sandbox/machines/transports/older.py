"""Machines that report nothing: the older ones with their frames, and those behind the telemetry."""

from __future__ import annotations

import asyncio

from sandbox.machines import wire
from sandbox.machines.machine import Machine
from sandbox.machines.transports.broker import BrokerTransport, Stats
from sandbox.machines.wire import now_ms


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
