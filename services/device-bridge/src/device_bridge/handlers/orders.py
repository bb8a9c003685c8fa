"""A buyer asks for a cup, or thinks better of it."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from copeck.contracts.commands import InvoiceIssue
from copeck.kernel.ids import new_id
from copeck.storage.errors import FOREIGN_KEY_VIOLATION, sqlstate_of
from device_bridge.domain import decisions, selling
from device_bridge.domain.errors import (
    DeviceUnknown,
    DrinkUnknown,
    LinkReplayed,
    OrderNotFound,
    PriceChanged,
)
from device_bridge.domain.machine import Reason, Status
from device_bridge.domain.model import Drink, Order, Step
from device_bridge.handlers.context import Context, Work
from device_bridge.handlers.steps import carry_out, require
from device_bridge.store import devices, drinks, orders
from device_bridge.store.devices import Shown

LANGUAGES = ("ru", "en")


def reports_state(context: Context, model: str) -> bool:
    """Tell whether machines of a model say how they are; one whose driver is not here is taken to."""
    try:
        return context.drivers.policy(model).reports_state
    except KeyError:
        return True


def fiscal_of(drink: Drink) -> dict[str, Any]:
    """Return a drink's fiscal attributes as an order keeps them."""
    named = {
        "vat_code": drink.vat_code,
        "payment_subject": drink.payment_subject,
        "payment_method": drink.payment_method,
        "measure": drink.measure,
    }
    return {name: value for name, value in named.items() if value is not None}


async def begin(
    work: Work,
    device_id: str,
    drink_id: str,
    size: str,
    *,
    receipt_address: str | None = None,
    language: str = "ru",
    machine_order_id: str | None = None,
    expected_price_minor: int | None = None,
) -> Order:
    """Make an order and ask for its invoice, in one commit; or say why this cannot be bought now.

    `expected_price_minor` is what the buyer was shown: another price by now is PriceChanged. The machine's own order
    makes one order of ours: LinkReplayed names it.
    """
    if machine_order_id is not None:
        known = await orders.by_machine_order(work.tx, device_id, machine_order_id)
        if known is not None:
            raise LinkReplayed(known.id)
    shown = await devices.shown(work.tx, device_id, with_drinks=False)
    if shown is None:
        raise DeviceUnknown()
    drink = await drinks.find(work.tx, device_id, drink_id, size)
    if drink is None:
        raise DrinkUnknown()
    reports = reports_state(work.context, shown.device.model)
    refused = selling.refusal(shown.device, shown.merchant, shown.state, work.now, reports_state=reports)
    if refused is not None:
        raise refused
    offer = selling.offer(shown.device, shown.merchant, drink)
    if expected_price_minor is not None and expected_price_minor != offer.price.minor:
        raise PriceChanged(f"It costs {offer.price} now.")
    order = _order(work, shown, drink, offer, receipt_address, language, machine_order_id)
    first = Step(order.id, 1, work.now, "created", order.status.value, "", work.actor.name)
    try:
        added = await orders.insert(work.tx, order, [first])
    except Exception as error:
        if sqlstate_of(error) == FOREIGN_KEY_VIOLATION:
            # The machine was deleted since it was looked at.
            raise DeviceUnknown() from error
        raise
    if not added:
        # The link was opened twice at once: the other one has won.
        winner = await orders.by_machine_order(work.tx, device_id, machine_order_id or "")
        raise LinkReplayed(winner.id if winner else order.id)
    await work.send(_issue(work, order, shown))
    return order


def _order(
    work: Work,
    shown: Shown,
    drink: Drink,
    offer: selling.Offer,
    receipt_address: str | None,
    language: str,
    machine_order_id: str | None,
) -> Order:
    merchant = shown.merchant
    return Order(
        id=new_id(),
        device_id=shown.device.id,
        merchant_id=merchant.id,
        mode=merchant.mode,
        drink_id=drink.drink_id,
        size=drink.size,
        drink_name=drink.name,
        price_minor=offer.price.minor,
        commission_minor=offer.commission_minor,
        currency=offer.price.currency,
        fiscal=fiscal_of(drink),
        status=Status.CREATED,
        reason="",
        receipt_address=receipt_address,
        language=language if language in LANGUAGES else "ru",
        machine_order_id=machine_order_id,
        invoice_id=new_id(),
        invoice_version=0,
        expires_at=work.now + timedelta(seconds=merchant.order_ttl_s),
        brew_timeout_s=merchant.brew_timeout_s,
        paid_at=None,
        brew_by=None,
        refund_status=None,
        refund_id=None,
        version=1,
        created_at=work.now,
        updated_at=work.now,
    )


def _issue(work: Work, order: Order, shown: Shown) -> InvoiceIssue:
    return InvoiceIssue(
        account=order.account,
        invoice_id=order.invoice_id,
        actor=work.actor.name,
        kind="coffee",
        product="coffee",
        payer=f"order:{order.id}",
        beneficiary=order.beneficiary,
        amount_minor=order.price_minor,
        commission_minor=order.commission_minor,
        currency=order.currency,
        description=order.drink_name[:200],
        late_policy="refund",
        expires_at=order.expires_at,
        references={
            "order_id": str(order.id),
            "device_id": order.device_id,
            "merchant_id": str(order.merchant_id),
            "device_name": shown.device.name[:200],
            "title_ru": order.drink_name[:200],
            "title_en": order.drink_name[:200],
            "size": order.size,
        },
    )


async def locked(work: Work, order_id: UUID) -> Order:
    """Lock an order; OrderNotFound when there is none."""
    order = await orders.lock(work.tx, order_id)
    if order is None:
        raise OrderNotFound()
    return order


async def cancel_unpaid(work: Work, order_id: UUID) -> Order:
    """Take an unpaid order back, as its buyer may; again it changes nothing. NotAllowedNow once it is paid."""
    order = await locked(work, order_id)
    applied = require(decisions.cancel(order, Reason.CANCELED, work.now))
    return order if applied is None else await carry_out(work, order, applied)
