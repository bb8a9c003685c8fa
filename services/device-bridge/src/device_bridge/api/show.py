"""From what is stored to what is answered."""

from datetime import datetime
from typing import Any

from copeck.kernel.money import Money
from copeck.web.money import MoneyModel
from device_bridge.api.device_models import DeviceModel, DeviceStateModel, DrinkModel, FiscalModel
from device_bridge.api.models import MaskedDetails, MerchantModel
from device_bridge.domain.health import condition
from device_bridge.domain.model import Device, DeviceState, Drink, Merchant
from device_bridge.domain.prices import price_of
from device_bridge.drivers.registry import MODELS, policy_of
from device_bridge.handlers.context import Context

_SHOWN_DIGITS = 4


def merchant(found: Merchant) -> MerchantModel:
    """Show a merchant; of its payout details only the ends."""
    return MerchantModel(
        id=found.id,
        name=found.name,
        owner_id=found.owner,
        active_until=found.active_until,
        mode=found.mode,
        currency=found.currency,
        commission_bps=found.commission_bps,
        order_ttl_s=found.order_ttl_s,
        brew_timeout_s=found.brew_timeout_s,
        failures_max=found.failures_max,
        selling=found.selling,
        payout_details=masked(found.payout_details),
        account=account_of(found),
        version=found.version,
        created_at=found.created_at,
        updated_at=found.updated_at,
    )


def account_of(found: Merchant) -> str:
    """Return the account of the books that a merchant's sales move."""
    return f"{'receivable' if found.mode == 'own_shop' else 'merchant'}:{found.id}"


def masked(details: dict[str, Any] | None) -> MaskedDetails | None:
    """Hide payout details but for their ends; the bank's own code and the name tell nobody anything."""
    if not details:
        return None
    return MaskedDetails(
        bank_account=_ends(details.get("bank_account")),
        bic=details.get("bic"),
        inn=_ends(details.get("inn")),
        recipient=details.get("recipient"),
    )


def _ends(text: str | None) -> str | None:
    return f"****{text[-_SHOWN_DIGITS:]}" if text else None


def device(context: Context, found: Device, state: DeviceState | None, now: datetime) -> DeviceModel:
    """Show a machine with what it said last; one whose heartbeat is too old counts as off."""
    return DeviceModel(
        id=found.id,
        merchant_id=found.merchant_id,
        name=found.name,
        location=found.location,
        time_zone=found.time_zone,
        model=found.model,
        driver=found.driver,
        payment_scenario=found.payment_scenario,
        price_rule=found.price_rule,
        texts=found.texts,
        selling=found.selling,
        stopped_reason=found.stopped_reason,
        stopped_by=found.stopped_by,
        stopped_at=found.stopped_at,
        failures_in_row=found.failures_in_row,
        state=_state(state, now, reports_state=_reports(found.model)),
        page_url=f"{context.settings.public_url.rstrip('/')}/m/{found.id}",
        version=found.version,
        created_at=found.created_at,
        updated_at=found.updated_at,
    )


def _reports(model: str) -> bool:
    return model not in MODELS or policy_of(model).reports_state


def _state(state: DeviceState | None, now: datetime, *, reports_state: bool) -> DeviceStateModel:
    return DeviceStateModel(
        state=condition(state, now, reports_state=reports_state),
        online=state.online if state else False,
        error_code=state.error_code if state else "",
        heartbeat_at=state.heartbeat_at if state else None,
        reported_at=state.reported_at if state else None,
    )


def drink(found: Drink, device_of_it: Device, currency: str) -> DrinkModel:
    """Show a drink in one size, and what it costs by its machine's rule."""
    sold_at = price_of(device_of_it.price_rule, found.price_minor, found.telemetry_price_minor)
    return DrinkModel(
        device_id=found.device_id,
        drink_id=found.drink_id,
        size=found.size,
        name=found.name,
        price=_money(found.price_minor, currency),
        telemetry_price=_money(found.telemetry_price_minor, currency),
        telemetry_at=found.telemetry_at,
        sold_at=_money(sold_at, currency),
        available=found.available,
        stopped_reason=found.stopped_reason,
        sold_out=found.sold_out,
        fiscal=FiscalModel.model_validate({name: getattr(found, name) for name in FiscalModel.model_fields}),
        version=found.version,
        updated_at=found.updated_at,
    )


def _money(minor: int | None, currency: str) -> MoneyModel | None:
    return None if minor is None else MoneyModel.of(Money(minor, currency))
