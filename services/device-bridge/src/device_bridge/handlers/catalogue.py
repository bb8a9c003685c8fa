"""What managers and merchants do with merchants, machines and drinks. Each change is audited in its own transaction."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from copeck.contracts.commands import WalletOpen
from copeck.kernel.errors import DomainError, InvalidValueError, NotFoundError
from copeck.kernel.ids import new_id
from copeck.kernel.money import EXPONENTS
from copeck.storage.errors import UNIQUE_VIOLATION, sqlstate_of
from copeck.web.etag import check_if_match
from device_bridge.domain.addresses import check_address, check_model_choice
from device_bridge.domain.catalogue_lines import RESERVED_IDS
from device_bridge.domain.commission import COMMISSION_BPS_MAX
from device_bridge.domain.model import Device, Drink, Merchant, Mode, PriceRule
from device_bridge.drivers.registry import MODELS, policy_of
from device_bridge.handlers.context import Work
from device_bridge.handlers.steps import cancel_unpaid_of
from device_bridge.store import devices, drinks, lookups, merchants, removals

# What the audit does not repeat: it is masked wherever it is shown.
_HIDDEN = frozenset({"payout_details"})


class MerchantExists(DomainError):
    """A user owns one merchant, and a merchant has one id."""

    type: ClassVar[str] = "merchant-exists"
    title: ClassVar[str] = "The user has a merchant already"


class DeviceIdTaken(DomainError):
    """A code names one machine only."""

    type: ClassVar[str] = "device-id-taken"
    title: ClassVar[str] = "The code is taken"


class AddressTaken(DomainError):
    """A machine of a foreign broker or a telemetry is one of ours only."""

    type: ClassVar[str] = "address-taken"
    title: ClassVar[str] = "Another machine has this address"


class TooManyDrinks(DomainError):
    """A machine's menu has a bound."""

    type: ClassVar[str] = "too-many-drinks"
    title: ClassVar[str] = "The machine has too many drinks"


def _plain(value: Merchant | Device | Drink) -> dict[str, Any]:
    """Return a value as JSON can hold it, for the audit."""

    def simple(one: Any) -> Any:
        if isinstance(one, dict):
            return {name: simple(part) for name, part in one.items()}
        return one if one is None or isinstance(one, str | int | bool | list) else str(one)

    return {name: simple(one) for name, one in asdict(value).items() if name not in _HIDDEN}


async def create_merchant(
    work: Work,
    *,
    name: str,
    owner: UUID | None,
    mode: Mode,
    currency: str,
    commission_bps: int,
    active_until: datetime | None = None,
    order_ttl_s: int = 900,
    brew_timeout_s: int = 180,
    failures_max: int = 3,
    selling: bool = True,
    payout_details: dict[str, Any] | None = None,
    merchant_id: UUID | None = None,
) -> Merchant:
    """Add a merchant and open its balance. With an owner its id is the owner's, so that they pay the balance out."""
    if currency not in EXPONENTS:
        raise InvalidValueError(f"a currency is one of {', '.join(sorted(EXPONENTS))}", "currency")
    _check_commission(commission_bps)
    merchant = Merchant(
        id=owner or merchant_id or new_id(),
        name=name,
        owner=owner,
        active_until=active_until,
        mode=mode,
        currency=currency,
        commission_bps=commission_bps,
        order_ttl_s=order_ttl_s,
        brew_timeout_s=brew_timeout_s,
        failures_max=failures_max,
        selling=selling,
        payout_details=payout_details or {},
        version=1,
        created_at=work.now,
        updated_at=work.now,
    )
    if not await merchants.insert(work.tx, merchant):
        raise MerchantExists(field="owner_id")
    await work.send(WalletOpen(account=f"merchant:{merchant.id}", currency=currency, actor=work.actor.name))
    await work.note("merchant.create", "merchant", merchant.id, after=_plain(merchant))
    return merchant


def _check_commission(basis_points: int) -> None:
    if not 0 <= basis_points <= COMMISSION_BPS_MAX:
        raise InvalidValueError(f"a commission is from 0 to {COMMISSION_BPS_MAX} basis points", "commission_bps")


async def change_merchant(work: Work, merchant_id: UUID, if_match: str, changes: Mapping[str, Any]) -> Merchant:
    """Change a merchant's terms; orders that are made already keep theirs.

    One who stops selling stops all machines at once: orders that wait for money are taken back.
    """
    known = await merchants.find(work.tx, merchant_id, lock=True)
    if known is None:
        raise NotFoundError("There is no such merchant.")
    check_if_match(if_match, known.version)
    _check_commission(changes.get("commission_bps", known.commission_bps))
    changed = replace(known, **changes, version=known.version + 1, updated_at=work.now)
    await merchants.update(work.tx, changed)
    before, after = _plain(known), _plain(changed)
    if known.payout_details != changed.payout_details:
        after["payout_details"] = "changed"
    await work.note("merchant.change", "merchant", merchant_id, before=before, after=after)
    if known.selling and not changed.selling:
        for device_id in await lookups.machines_with_unpaid_orders(work.tx, merchant_id):
            await cancel_unpaid_of(work, device_id)
    return changed


async def create_device(
    work: Work,
    *,
    device_id: str,
    merchant_id: UUID,
    name: str,
    model: str,
    location: str = "",
    time_zone: str = "Europe/Moscow",
    driver: Mapping[str, Any] | None = None,
    payment_scenario: str = "widget",
    texts: Mapping[str, Mapping[str, str]] | None = None,
    selling: bool = True,
    price_rule: PriceRule = "catalogue",
    by_manager: bool = False,
) -> Device:
    """Add a machine. It sells once it is heard of, and has drinks with prices.

    Only a manager says its address, or chooses a model that reports no cup.
    """
    _check_model(model, by_manager=by_manager)
    if device_id in RESERVED_IDS:
        raise InvalidValueError("No machine can have this code: its page has another meaning.", "id")
    check_address({}, driver or {}, by_manager=by_manager)
    if await merchants.find(work.tx, merchant_id) is None:
        raise NotFoundError("There is no such merchant.", "merchant_id")
    device = Device(
        id=device_id,
        merchant_id=merchant_id,
        name=name,
        location=location,
        time_zone=time_zone,
        model=model,
        driver=dict(driver or {}),
        payment_scenario=payment_scenario,
        texts={state: dict(one) for state, one in (texts or {}).items()},
        selling=selling,
        stopped_reason=None,
        stopped_by=None if selling else work.actor.name,
        stopped_at=None if selling else work.now,
        failures_in_row=0,
        price_rule=price_rule,
        key_number=await devices.next_key_number(work.tx),
        version=1,
        created_at=work.now,
        updated_at=work.now,
    )
    if not await devices.insert(work.tx, device):
        if await devices.find(work.tx, device_id) is None:
            raise _address_taken(device)
        raise DeviceIdTaken(f"There is a machine {device_id} already.", "id")
    # Looked at after the insert, which waits for a deletion under way: what that has noted is seen here.
    if await removals.has_account(work.tx, device_id):
        raise DeviceIdTaken("The account of the machine that had this code is not revoked yet. Try again later.", "id")
    await work.note("device.create", "device", device_id, after=_plain(device))
    return device


def _check_model(model: str, *, by_manager: bool) -> None:
    if model not in MODELS:
        raise InvalidValueError(f"a model is one of {', '.join(sorted(MODELS))}", "model")
    check_model_choice(policy_of(model), by_manager=by_manager)


def _address_taken(device: Device) -> AddressTaken:
    return AddressTaken(f"Another machine is reached as {device.driver.get('id')} there.", "driver")


async def change_device(
    work: Work, device_id: str, if_match: str, changes: Mapping[str, Any], *, by_manager: bool = False
) -> Device:
    """Change a machine; whether it sells is changed by stopping and starting it.

    Only a manager moves its address, or makes it a model that reports no cup.
    """
    known = await _locked(work, device_id, if_match)
    if changes.get("model", known.model) != known.model:
        _check_model(changes["model"], by_manager=by_manager)
    check_address(known.driver, changes.get("driver", known.driver), by_manager=by_manager)
    changed = replace(known, **changes, version=known.version + 1, updated_at=work.now)
    try:
        await devices.update(work.tx, changed)
    except Exception as error:
        if sqlstate_of(error) == UNIQUE_VIOLATION:
            raise _address_taken(changed) from error
        raise
    await work.note("device.change", "device", device_id, before=_plain(known), after=_plain(changed))
    return changed


async def rotate_device_key(work: Work, device_id: str, if_match: str) -> Device:
    """Give a machine another key; what the old one signs from now on is refused."""
    known = await _locked(work, device_id, if_match)
    number = await devices.next_key_number(work.tx)
    changed = replace(known, key_number=number, version=known.version + 1, updated_at=work.now)
    await devices.update(work.tx, changed)
    await work.note("device.rotate_key", "device", device_id, after={"key_number": changed.key_number})
    return changed


async def _locked(work: Work, device_id: str, if_match: str) -> Device:
    known = await devices.find(work.tx, device_id, lock=True)
    if known is None:
        raise NotFoundError("There is no such machine.")
    check_if_match(if_match, known.version)
    return known


async def put_drink(
    work: Work, device_id: str, drink_id: str, size: str, *, if_match: str | None, values: Mapping[str, Any]
) -> Drink:
    """Add a drink in one size, or change it; `if_match` None: whatever its version is. A new one needs a `name`.

    One that is not on sale any more takes the orders back that wait for money, as the stop switch does.
    """
    known = await drinks.find(work.tx, device_id, drink_id, size, lock=True)
    if known is None:
        if if_match is not None:
            raise NotFoundError("The machine has no such drink in this size.")
        if await drinks.count(work.tx, device_id) >= drinks.DRINKS_MAX:
            raise TooManyDrinks(f"A machine has at most {drinks.DRINKS_MAX} drinks, each size counted.")
        changed = _new_drink(work, device_id, drink_id, size, values)
    else:
        if if_match is not None:
            check_if_match(if_match, known.version)
        changed = replace(known, **values, version=known.version + 1, updated_at=work.now)
    if changed.available and changed.stopped_reason is not None:
        changed = replace(changed, stopped_reason=None)
    await drinks.put(work.tx, changed)
    await work.note(
        "drink.change" if known else "drink.create",
        "drink",
        f"{device_id}/{drink_id}/{size}",
        before=_plain(known) if known else None,
        after=_plain(changed),
    )
    if known is not None and known.available and not changed.available:
        await cancel_unpaid_of(work, device_id, drink_id=drink_id, size=size)
    return changed


def _new_drink(work: Work, device_id: str, drink_id: str, size: str, values: Mapping[str, Any]) -> Drink:
    missing: dict[str, Any] = {
        "price_minor": None,
        "available": True,
        "vat_code": None,
        "payment_subject": None,
        "payment_method": None,
        "measure": None,
    }
    return Drink(
        device_id=device_id,
        drink_id=drink_id,
        size=size,  # type: ignore[arg-type]
        telemetry_price_minor=None,
        telemetry_at=None,
        stopped_reason=None,
        sold_out=False,
        version=1,
        updated_at=work.now,
        **(missing | dict(values)),
    )


async def remove_drink(work: Work, device_id: str, drink_id: str, size: str) -> None:
    """Take a drink in one size off the menu; orders keep what they sold."""
    known = await drinks.find(work.tx, device_id, drink_id, size, lock=True)
    if known is None:
        raise NotFoundError("The machine has no such drink in this size.")
    await drinks.remove(work.tx, device_id, drink_id, size)
    await work.note("drink.remove", "drink", f"{device_id}/{drink_id}/{size}", before=_plain(known))
    await cancel_unpaid_of(work, device_id, drink_id=drink_id, size=size)
