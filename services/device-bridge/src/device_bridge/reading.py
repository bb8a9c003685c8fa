"""Machines' payloads, read: ContractError for what does not keep to the contract."""

from datetime import UTC, datetime

from copeck.contracts.base import ContractError
from copeck.contracts.machines import MachineAck, MachineState, MachineTelemetry, read_payload
from device_bridge.domain.model import Report
from device_bridge.drivers.mqtt.newest import Prices
from device_bridge.drivers.mqtt.profiles import Heard
from device_bridge.handlers.reports import SaidOfItself


def report_of(device_id: str, heard: Heard, payload: bytes) -> Report:
    """Return what a machine said of a command."""
    ack = read_payload(MachineAck, payload)
    if ack.command_id != heard.command_id:
        raise ContractError("the topic names another command than the payload")
    return Report(
        device_id=device_id,
        command_id=ack.command_id,
        state=ack.state,
        at=_moment(ack.at),
        code=ack.code,
        n=ack.n,
        raw=ack.model_dump(mode="json"),
    )


def state_of(device_id: str, _heard: Heard, payload: bytes) -> SaidOfItself:
    """Return what a machine said of itself; what is switched off is neither ready nor busy."""
    state = read_payload(MachineState, payload)
    return SaidOfItself(
        device_id,
        online=state.online,
        state=state.state if state.online else "off",
        error_code=state.error,
        sold_out=list(state.sold_out),
        at=_moment(state.at) if state.at else None,
    )


def prices_of(payload: bytes) -> Prices:
    """Return the prices that are set in a machine."""
    telemetry = read_payload(MachineTelemetry, payload)
    return {(line.drink, line.size): line.price_minor for line in telemetry.prices}


def _moment(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
