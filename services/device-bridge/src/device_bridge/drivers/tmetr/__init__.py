"""Machines behind the Tmetr telemetry's HTTP API."""

from device_bridge.drivers.tmetr.client import TmetrClient
from device_bridge.drivers.tmetr.driver import POLICY, TmetrDriver

__all__ = ["POLICY", "TmetrClient", "TmetrDriver"]
