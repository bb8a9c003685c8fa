"""How a machine is, from what it said last and how long ago. Pure."""

from datetime import datetime, timedelta

from copeck.contracts.machines import OFFLINE_AFTER_S
from device_bridge.domain.model import DeviceState, MachineState

OFF_AFTER = timedelta(seconds=OFFLINE_AFTER_S)


def condition(state: DeviceState | None, now: datetime, *, reports_state: bool = True) -> MachineState:
    """Return how the machine is: `off` when its Will spoke, or when nothing was heard of it for too long.

    A model that reports nothing about itself is taken to be ready: its deadline decides (`reports_state` False).
    """
    if not reports_state:
        return "ready"
    if state is None or not state.online or state.heartbeat_at is None:
        return "off"
    if now - state.heartbeat_at > OFF_AFTER:
        return "off"
    return state.state
