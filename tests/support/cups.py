"""Orders, commands and machines as tests want them."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from copeck.kernel.ids import new_id
from device_bridge.domain import decisions
from device_bridge.domain.drivers import DriverPolicy
from device_bridge.domain.machine import Status
from device_bridge.domain.model import BrewCommand, Device, DeviceState, Drink, Merchant, Order
from device_bridge.domain.outcomes import Applied, Limits, Outcome

NOW = datetime(2026, 5, 4, 8, 0, tzinfo=UTC)
LIMITS = Limits(accept_timeout_s=60, revoke_timeout_s=10, brewing_grace_s=60)
TALKATIVE = DriverPolicy(completion_signal=True)
"""A machine that reports everything, knows repeats, and can be asked to forget a command."""
SILENT = DriverPolicy(
    completion_signal=False, deadline_policy="assume_success", repeatable=False, revocable=False, reports_state=False
)
"""One that takes a command, and says no more."""
DOUBTFUL = DriverPolicy(completion_signal=False, deadline_policy="refund", repeatable=False, revocable=False)
"""One that says no more either, and whose model does not deserve trust."""


def a_merchant(**changes: Any) -> Merchant:
    values: dict[str, Any] = {
        "id": new_id(),
        "name": "Cups",
        "owner": None,
        "active_until": None,
        "mode": "platform_shop",
        "currency": "RUB",
        "commission_bps": 500,
        "order_ttl_s": 900,
        "brew_timeout_s": 180,
        "failures_max": 3,
        "selling": True,
        "payout_details": {},
        "version": 1,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Merchant(**values | changes)


def a_device(**changes: Any) -> Device:
    values: dict[str, Any] = {
        "id": "kiosk-1",
        "merchant_id": new_id(),
        "name": "Kiosk",
        "location": "Hall",
        "time_zone": "Europe/Moscow",
        "model": "talkative",
        "driver": {},
        "payment_scenario": "widget",
        "texts": {},
        "selling": True,
        "stopped_reason": None,
        "stopped_by": None,
        "stopped_at": None,
        "failures_in_row": 0,
        "price_rule": "catalogue",
        "key_number": 1,
        "version": 1,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Device(**values | changes)


def a_state(**changes: Any) -> DeviceState:
    values: dict[str, Any] = {
        "device_id": "kiosk-1",
        "online": True,
        "state": "ready",
        "error_code": "",
        "heartbeat_at": NOW,
        "reported_at": NOW,
    }
    return DeviceState(**values | changes)


def a_drink(**changes: Any) -> Drink:
    values: dict[str, Any] = {
        "device_id": "kiosk-1",
        "drink_id": "latte",
        "size": "medium",
        "name": "Латте",
        "price_minor": 15000,
        "telemetry_price_minor": None,
        "telemetry_at": None,
        "available": True,
        "stopped_reason": None,
        "sold_out": False,
        "vat_code": 1,
        "payment_subject": "commodity",
        "payment_method": "full_payment",
        "measure": "piece",
        "version": 1,
        "updated_at": NOW,
    }
    return Drink(**values | changes)


def an_order(status: str = "pending", **changes: Any) -> Order:
    values: dict[str, Any] = {
        "id": new_id(),
        "device_id": "kiosk-1",
        "merchant_id": new_id(),
        "mode": "platform_shop",
        "drink_id": "latte",
        "size": "medium",
        "drink_name": "Латте",
        "price_minor": 15000,
        "commission_minor": 750,
        "currency": "RUB",
        "fiscal": {},
        "status": Status(status),
        "reason": "",
        "receipt_address": None,
        "language": "ru",
        "machine_order_id": None,
        "invoice_id": new_id(),
        "invoice_version": 1,
        "expires_at": NOW + timedelta(minutes=15),
        "brew_timeout_s": 180,
        "paid_at": None,
        "brew_by": None,
        "refund_status": None,
        "refund_id": None,
        "version": 2,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Order(**values | changes)


REFUND_ID = UUID("01900000-0000-7000-8000-00000000000f")


def pay(order: Order, now: datetime = NOW, **changes: Any) -> Outcome:
    """Decide about a payment as the handler does."""
    values: dict[str, Any] = {
        "paid_at": now,
        "now": now,
        "selling": True,
        "model": "talkative",
        "limits": LIMITS,
        "command_id": new_id(),
        "refund_id": REFUND_ID,
    }
    return decisions.paid(order, 2, **values | changes)


def brewing(now: datetime = NOW, **changes: Any) -> tuple[Order, BrewCommand]:
    """Return an order that was just paid, with its command."""
    outcome = pay(an_order(**changes), now)
    assert isinstance(outcome, Applied)
    assert outcome.command is not None
    return outcome.order, outcome.command
