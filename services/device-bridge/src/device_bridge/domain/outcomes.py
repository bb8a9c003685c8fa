"""What decisions come to: the new order and command, the steps of the history, and what follows from them."""

from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from device_bridge.domain.machine import Event, Status
from device_bridge.domain.model import BrewCommand, IncidentKind, Order


@dataclass(frozen=True, slots=True)
class Taken:
    """One step of an order: what happened, where it led, and why."""

    event: Event
    status: Status
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RefundInvoice:
    """The money goes back in full."""

    refund_id: UUID
    reason: str


@dataclass(frozen=True, slots=True)
class CancelInvoice:
    """Nothing can be paid any more."""

    reason: str


@dataclass(frozen=True, slots=True)
class CountBrew:
    """The machine did, or did not do, what it was paid for; too many failures in a row stop it."""

    succeeded: bool


@dataclass(frozen=True, slots=True)
class OpenIncident:
    """A manager has to look at this."""

    kind: IncidentKind
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class TellBuyer:
    """An e-mail is due, if the buyer gave an address."""

    kind: Literal["receipt", "refund"]


@dataclass(frozen=True, slots=True)
class WakeSender:
    """Something is to be said to a machine now."""


Effect = RefundInvoice | CancelInvoice | CountBrew | OpenIncident | TellBuyer | WakeSender


@dataclass(frozen=True, slots=True)
class Applied:
    """It took place. `command` is there when it is new or has changed."""

    order: Order
    steps: tuple[Taken, ...] = ()
    command: BrewCommand | None = None
    effects: tuple[Effect, ...] = ()


@dataclass(frozen=True, slots=True)
class Stale:
    """It changes nothing, and nothing is wrong: a repeat, or news that are overtaken."""

    detail: str


@dataclass(frozen=True, slots=True)
class Illegal:
    """It is forbidden now; `detail` tells a person why."""

    detail: str


Outcome = Applied | Stale | Illegal


@dataclass(frozen=True, slots=True)
class Limits:
    """How long machines are waited for, in seconds; see the settings of the same names."""

    accept_timeout_s: float = 60.0
    revoke_timeout_s: float = 10.0
    brewing_grace_s: float = 60.0
