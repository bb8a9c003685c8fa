"""What really happened: the machines' own log, beside the provider's and the database."""

from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.chaos.checks import Truth

_PAGE = 10_000
_PAGES_MAX = 100


@dataclass
class Charge:
    """What a provider took and gave back for one invoice, by its own log; moments in milliseconds of the epoch."""

    charged_minor: int = 0
    refunded_minor: int = 0
    charges: int = 0
    first_at_ms: int = 0


@dataclass
class Order:
    """An order as the database has it; moments in milliseconds of the epoch."""

    id: str
    invoice_id: str
    status: str
    reason: str
    price_minor: int
    commission_minor: int
    refund_status: str | None
    expires_at_ms: int
    device: str


@dataclass
class CoffeeTruth(Truth):
    """The provider's log, the database, and the log of the machines."""

    machines_url: str = ""
    emulator_url: str = ""
    merchant_id: str = ""
    replays: list[str] = field(default_factory=list)
    """What replaying captured commands has brewed; nothing, if all is well."""
    log: list[dict[str, Any]] = field(default_factory=list)
    orders: dict[str, Order] = field(default_factory=dict)
    charges: dict[str, Charge] = field(default_factory=dict)

    def look(self) -> "CoffeeTruth":
        """Read orders, then charges, then the machines' log: what follows from what is never read before it."""
        self.orders = {row[0]: Order(*row) for row in self.rows(_ORDERS)}
        self.charges = charges_of(self.emulator_url)
        self.log = log_of(self.machines_url)
        return self

    def events(self, event: str) -> dict[str, list[int]]:
        """Return the moments at which something happened, by order."""
        found: dict[str, list[int]] = {}
        for entry in self.log:
            if entry["event"] == event and entry["order_id"]:
                found.setdefault(entry["order_id"], []).append(entry["at_ms"])
        return found


_ORDERS = """
SELECT id::text, invoice_id::text, status, reason, price_minor, commission_minor, refund_status,
       (extract(epoch FROM expires_at) * 1000)::bigint, device_id
FROM devices.orders
"""


def log_of(machines_url: str) -> list[dict[str, Any]]:
    """Return the machines' log, page by page."""
    found: list[dict[str, Any]] = []
    with httpx2.Client(base_url=machines_url, timeout=30, trust_env=False) as machines:
        after = 0
        for _ in range(_PAGES_MAX):
            page = machines.get("/control/log", params={"after": after, "limit": _PAGE}).raise_for_status().json()
            found += page["items"]
            if not page["more"]:
                return found
            after = page["next"]
    raise RuntimeError("the machines' log does not end")


def charges_of(emulator_url: str) -> dict[str, Charge]:
    """Return what the provider took and gave back, by invoice."""
    found: dict[str, Charge] = {}
    with httpx2.Client(base_url=emulator_url, timeout=30, trust_env=False) as provider:
        after = 0
        for _ in range(_PAGES_MAX):
            page = provider.get("/sandbox/log", params={"after": after, "limit": _PAGE}).raise_for_status().json()
            for entry in page["items"]:
                charge = found.setdefault(entry["invoice_id"] or "", Charge())
                if entry["event"] == "payment.charged":
                    charge.charged_minor += entry["amount_minor"]
                    charge.charges += 1
                    charge.first_at_ms = charge.first_at_ms or entry["at_ms"]
                elif entry["event"] == "payment.refunded":
                    charge.refunded_minor += entry["amount_minor"]
            if not page["more"]:
                return found
            after = page["next"]
    raise RuntimeError("the provider's log does not end")
