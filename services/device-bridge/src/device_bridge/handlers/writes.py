"""What decisions come to, collected: the writes of one decision, or of many, are stored by the same few statements."""

from dataclasses import dataclass, field
from uuid import UUID

from copeck.contracts.envelope import Envelope
from device_bridge.domain.model import BrewCommand, Incident, Order, Step
from device_bridge.handlers.context import Work


@dataclass(frozen=True, slots=True)
class Brew:
    """A machine did, or did not do, what it was paid for; `work` says on whose word."""

    work: Work
    device_id: str
    succeeded: bool


@dataclass(slots=True)
class Writes:
    """Orders and commands are there once, as they are after the last step; all else in the order of its making."""

    orders: dict[UUID, Order] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    new_commands: list[BrewCommand] = field(default_factory=list)
    commands: dict[UUID, BrewCommand] = field(default_factory=dict)
    receipts: list[tuple[Order, str]] = field(default_factory=list)
    messages: list[Envelope] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)
    brews: list[Brew] = field(default_factory=list)
    ended: list[Order] = field(default_factory=list)
