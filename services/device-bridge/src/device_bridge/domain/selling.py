"""May this be sold now? One answer for the page that offers a drink and for the order that is made. Pure."""

from dataclasses import dataclass
from datetime import datetime

from copeck.kernel.errors import DomainError
from copeck.kernel.money import Money
from device_bridge.domain.commission import commission_of
from device_bridge.domain.errors import (
    DeviceInError,
    DeviceOff,
    DeviceSoldOut,
    DeviceStopped,
    DrinkSoldOut,
    DrinkUnavailable,
    MerchantInactive,
    PriceUnknown,
)
from device_bridge.domain.health import condition
from device_bridge.domain.model import Device, DeviceState, Drink, Merchant
from device_bridge.domain.prices import price_of


@dataclass(frozen=True, slots=True)
class Offer:
    """What a cup costs now, and what of it is the platform's."""

    price: Money
    commission_minor: int


def refusal(
    device: Device, merchant: Merchant, state: DeviceState | None, now: datetime, *, reports_state: bool = True
) -> DomainError | None:
    """Return why the whole machine takes no money now; None when it sells. A busy one does: it makes one by one."""
    if not merchant.selling or (merchant.active_until is not None and merchant.active_until <= now):
        return MerchantInactive()
    if not device.selling:
        return DeviceStopped(device.stopped_reason or "")
    match condition(state, now, reports_state=reports_state):
        case "off":
            return DeviceOff()
        case "error":
            return DeviceInError(state.error_code if state else "")
        case "sold_out":
            return DeviceSoldOut()
        case _:
            return None


def offer(device: Device, merchant: Merchant, drink: Drink) -> Offer:
    """Return what a drink costs; DrinkUnavailable, DrinkSoldOut or PriceUnknown when it cannot be sold."""
    if not drink.available:
        raise DrinkUnavailable(drink.stopped_reason or "")
    if drink.sold_out:
        raise DrinkSoldOut()
    minor = price_of(device.price_rule, drink.price_minor, drink.telemetry_price_minor)
    if minor is None:
        raise PriceUnknown()
    price = Money(minor, merchant.currency)
    return Offer(price, commission_of(price, merchant.commission_bps))
