"""Stop switches: what a manager may halt at once, and how whoever comes upon it is told."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from copeck.kernel.errors import DomainError

DEPOSITS = "deposits"
PAYOUTS = "payouts"
_NAME = re.compile(r"^(payouts|deposits|provider:[a-z0-9_]{1,32})$")


def provider_switch(provider: str) -> str:
    """Return the name of the switch that stops one provider."""
    return f"provider:{provider}"


def payment_switches(provider: str, invoice_kind: str) -> tuple[str, ...]:
    """Return the names of the switches that stop the payment of an invoice: deposits have one of their own."""
    return provider_switch(provider), *((DEPOSITS,) if invoice_kind == "topup" else ())


def is_switch(name: str) -> bool:
    """Tell whether a switch may have this name."""
    return _NAME.match(name) is not None


@dataclass(frozen=True, slots=True)
class Switch:
    """A switch as it was set last. `version` 0: nobody has ever touched it."""

    name: str
    stopped: bool
    reason: str
    version: int
    changed_by: str
    changed_at: datetime | None


class Stopped(DomainError):
    """A manager has stopped this for now; the detail is the manager's reason."""

    type: ClassVar[str] = "stopped"
    title: ClassVar[str] = "This is stopped for the moment"
    status: ClassVar[int] = 503
    retry_after_s: ClassVar[int | None] = 60

    def __init__(self, switch: Switch) -> None:
        super().__init__(f"{switch.name}: {switch.reason}")
        self.switch = switch
