"""The port to the machines: what a driver is asked, what it answers, and what its model of machine can do at all."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, Protocol
from uuid import UUID

DeadlinePolicy = Literal["refund", "assume_success"]


@dataclass(frozen=True, slots=True)
class DriverPolicy:
    """What a model of machine can do, stated once beside its driver.

    `completion_signal`: it reports `done` and `failed`. Without it, `deadline_policy` says what an accepted command
    that nothing more was heard of counts as, `assumed_after_s` seconds after it was accepted.
    `repeatable`: it recognises a command id that it has seen, so that the same command may be sent again; what is not
    repeatable is handed on once, and an unknown outcome stays unknown until the deadline.
    `revocable`: it can be asked to forget a command. `reports_state`: it says that it is alive and what it is out of.
    `through`: `loop` for a call that only hands on to a broker, `worker` for one that may be slow (HTTP): that one is
    made by the Celery worker.
    """

    completion_signal: bool
    deadline_policy: DeadlinePolicy = "refund"
    assumed_after_s: float = 45.0
    repeatable: bool = True
    revocable: bool = True
    reports_state: bool = True
    through: Literal["loop", "worker"] = "loop"
    resend_after_s: float = 5.0


NO_DRIVER = DriverPolicy(completion_signal=True, repeatable=False, revocable=False)
"""Of a model that nobody speaks to any more: nothing is sent, and at the deadline the money goes back."""


@dataclass(frozen=True, slots=True)
class Target:
    """The machine that is spoken to. `address` is `devices.driver`; `key` signs its commands (32 bytes)."""

    device_id: str
    model: str
    address: dict[str, Any]
    key: bytes
    time_zone: str = "UTC"


@dataclass(frozen=True, slots=True)
class BrewInstruction:
    """One command, the same at each sending. `machine_order_id` is the machine's own id, where the order has one.

    `first`: nothing was ever handed on before, so that what is not sent now never was.
    """

    command_id: UUID
    order_id: UUID
    drink_id: str
    size: str
    price_minor: int
    currency: str
    issued_at: datetime
    expires_at: datetime
    machine_order_id: str | None = None
    first: bool = True


NOT_TAKEN = "not_taken"
"""The code of what was not handed on because the machine was not there to take it, while its broker was."""


class Handed(StrEnum):
    """What became of a call of a driver.

    `SENT`: handed on, the machine will answer by itself. `ACCEPTED`: the call's own answer is the machine's consent.
    `REVOKED`: the same for a revoke. `REJECTED`: it was refused for good, with a code. `UNREACHABLE`: certainly not
    handed on, to be tried again. `UNKNOWN`: nobody knows (a time-out after the request was written).
    """

    SENT = "sent"
    ACCEPTED = "accepted"
    REVOKED = "revoked"
    REJECTED = "rejected"
    UNREACHABLE = "unreachable"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a driver says of a call; `code` and `detail` are for logs and for the order's history."""

    handed: Handed
    code: str = ""
    detail: str = ""


def not_sent(instruction: BrewInstruction, code: str, detail: str = "", *, revoking: bool = False) -> Answer:
    """Answer for what we would not send ourselves: no machine refused it.

    It counts as refused only where nothing was handed on before; a machine that may have the command may make the cup.
    """
    certain = instruction.first and not revoking
    return Answer(Handed.REJECTED if certain else Handed.UNKNOWN, code, detail)


@dataclass(frozen=True, slots=True)
class Way:
    """A broker that commands go through, by its name in machines' addresses, and models whose machines are all there.

    Each has a sender of its own, so that one that is slow holds up nobody else's commands.
    """

    broker: str
    models: tuple[str, ...]


class Driver(Protocol):
    """Speaks to one model of machine. Called outside of every transaction; never raises for what a network does."""

    @property
    def policy(self) -> DriverPolicy:
        """What the model can do."""
        ...

    async def brew(self, target: Target, instruction: BrewInstruction) -> Answer:
        """Hand a brew command on; bounded in time (10 s)."""
        ...

    async def revoke(self, target: Target, instruction: BrewInstruction) -> Answer:
        """Ask the machine to forget a command; not called where the policy says that it cannot."""
        ...


class Drivers(Protocol):
    """The registry of drivers, as handlers see it: the real one is `device_bridge.drivers.registry`."""

    def policy(self, model: str) -> DriverPolicy:
        """Return what a model can do; KeyError for a model that nobody wrote a driver for."""
        ...

    def driver(self, model: str) -> Driver:
        """Return the driver of a model, ready to be called; KeyError as above."""
        ...


class NoDrivers:
    """The registry of a process that speaks to no machine."""

    def policy(self, model: str) -> DriverPolicy:
        """Raise KeyError: there is no driver."""
        raise KeyError(model)

    def driver(self, model: str) -> Driver:
        """Raise KeyError: there is no driver."""
        raise KeyError(model)
