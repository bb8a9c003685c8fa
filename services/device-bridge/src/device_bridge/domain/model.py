"""The values that decisions are made of: merchants, machines, drinks, orders, commands, and what machines report."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from copeck.kernel.money import Money
from device_bridge.domain.brewing import BrewState
from device_bridge.domain.machine import Status

Mode = Literal["platform_shop", "own_shop"]
PriceRule = Literal["catalogue", "telemetry", "catalogue_then_telemetry", "telemetry_then_catalogue"]
Size = Literal["small", "medium", "large"]
MachineState = Literal["ready", "busy", "error", "sold_out", "off"]
RefundStatus = Literal["requested", "pending", "succeeded", "failed"]
IncidentKind = Literal["done_after_refund", "brewed_unpaid", "refund_failed"]

SIZES: tuple[Size, ...] = ("small", "medium", "large")


@dataclass(frozen=True, slots=True)
class Merchant:
    """Who owns machines. `payout_details` is never shown whole. With an owner, `id` is the owner's user id."""

    id: UUID
    name: str
    owner: UUID | None
    active_until: datetime | None
    mode: Mode
    currency: str
    commission_bps: int
    order_ttl_s: int
    brew_timeout_s: int
    failures_max: int
    selling: bool
    payout_details: dict[str, Any]
    version: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Device:
    """A machine. `texts` maps a state to `{"ru": …, "en": …}`; `key_number` says which of its keys is in use."""

    id: str
    merchant_id: UUID
    name: str
    location: str
    time_zone: str
    model: str
    driver: dict[str, Any]
    payment_scenario: str
    texts: dict[str, dict[str, str]]
    selling: bool
    stopped_reason: str | None
    stopped_by: str | None
    stopped_at: datetime | None
    failures_in_row: int
    price_rule: PriceRule
    key_number: int
    version: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class DeviceState:
    """What a machine said last of itself. `online` is its own word (or its Will's); see `domain/health.py`."""

    device_id: str
    online: bool
    state: MachineState
    error_code: str
    heartbeat_at: datetime | None
    reported_at: datetime | None


@dataclass(frozen=True, slots=True)
class Drink:
    """A drink of a machine in one size. `available` is ours (the stop switch), `sold_out` the machine's."""

    device_id: str
    drink_id: str
    size: Size
    name: str
    price_minor: int | None
    telemetry_price_minor: int | None
    telemetry_at: datetime | None
    available: bool
    stopped_reason: str | None
    sold_out: bool
    vat_code: int | None
    payment_subject: str | None
    payment_method: str | None
    measure: str | None
    version: int
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Order:
    """One cup for one buyer. `version` counts the steps of its history."""

    id: UUID
    device_id: str
    merchant_id: UUID
    mode: Mode
    drink_id: str
    size: Size
    drink_name: str
    price_minor: int
    commission_minor: int
    currency: str
    fiscal: dict[str, Any]
    status: Status
    reason: str
    receipt_address: str | None
    language: str
    machine_order_id: str | None
    invoice_id: UUID
    invoice_version: int
    expires_at: datetime
    brew_timeout_s: int
    paid_at: datetime | None
    brew_by: datetime | None
    refund_status: RefundStatus | None
    refund_id: UUID | None
    version: int
    created_at: datetime
    updated_at: datetime

    @property
    def price(self) -> Money:
        """What the buyer pays."""
        return Money(self.price_minor, self.currency)

    @property
    def money_returns(self) -> bool:
        """Whether the buyer's money is on its way back, or there; a refund that failed returned nothing."""
        return self.refund_status not in (None, "failed")

    @property
    def account(self) -> str:
        """The account whose money the order moves: it chooses the shard of its commands."""
        return f"merchant:{self.merchant_id}"

    @property
    def beneficiary(self) -> str:
        """Who is credited: the merchant's balance, or its own shop."""
        family = "receivable" if self.mode == "own_shop" else "merchant"
        return f"{family}:{self.merchant_id}"


@dataclass(frozen=True, slots=True)
class Step:
    """One line of an order's history."""

    order_id: UUID
    n: int
    at: datetime
    event: str
    status: str
    reason: str
    actor: str


@dataclass(frozen=True, slots=True)
class BrewCommand:
    """What a machine was asked to do for one order; there is never a second one.

    `expires_at`: the machine must not accept it later. `next_send_at`: when it (or its revocation) is sent again;
    None: not any more. `decide_at`: when time alone decides. `revoke_by`: how long a revocation is waited for.
    `will_be`: the reason that the order gets when the revocation succeeds.
    """

    id: UUID
    order_id: UUID
    device_id: str
    model: str
    state: BrewState
    issued_at: datetime
    expires_at: datetime
    brew_by: datetime
    sent_count: int
    next_send_at: datetime | None
    decide_at: datetime | None
    accepted_at: datetime | None
    revoke_by: datetime | None
    finished_at: datetime | None
    last_code: str
    will_be: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a machine said of a command. `at` is the machine's clock, which may be wrong: it only tells repeats apart.

    `n` is the machine's own number of the report; `raw` is kept as evidence.
    """

    device_id: str
    command_id: UUID
    state: str
    at: datetime
    code: str = ""
    n: int = 0
    raw: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that must not happen, and did: a manager looks at it and closes it with a note."""

    id: UUID
    kind: IncidentKind
    order_id: UUID | None
    device_id: str
    detail: dict[str, Any]
    at: datetime
    closed_at: datetime | None = None
    closed_by: str | None = None
    note: str = ""
