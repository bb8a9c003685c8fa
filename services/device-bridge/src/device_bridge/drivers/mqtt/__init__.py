"""Machines that speak the contract `copeck.contracts.machines` over MQTT."""

from device_bridge.drivers.mqtt.driver import POLICY, MqttDriver

__all__ = ["POLICY", "MqttDriver"]
