"""How machines are connected: the contract over MQTT, the older machines' frames, or not at all (telemetry)."""

from sandbox.machines.transports.broker import Stats, Transport
from sandbox.machines.transports.contract import ContractTransport
from sandbox.machines.transports.older import FrameTransport, TelemetryTransport

__all__ = ["ContractTransport", "FrameTransport", "Stats", "TelemetryTransport", "Transport"]
