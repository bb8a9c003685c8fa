"""Older machines: a binary frame over MQTT, without an answer."""

from device_bridge.drivers.frame.driver import POLICY, SILENT_POLICY, FrameDriver

__all__ = ["POLICY", "SILENT_POLICY", "FrameDriver"]
