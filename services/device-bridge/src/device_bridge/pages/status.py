"""What the status page says of an order, in the reader's language: on the page, in events and in JSON alike."""

from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from copeck.web.translations import Texts
from device_bridge.domain.contacts import is_email, mask
from device_bridge.domain.machine import UNPAID
from device_bridge.pages.stages import LOOKS, Stage, stage_of
from device_bridge.store.showing import ShownOrder

STEPS = ("pay", "send", "brew", "take")


def order_path(order_id: UUID, token: str, language: str | None = None) -> str:
    """Return the page of an order with its token: who has this link is the buyer."""
    query = {"k": token} | ({"lang": language} if language else {})
    return f"/m/orders/{order_id}?{urlencode(query)}"


def pay_path(order: ShownOrder, token: str, language: str) -> str:
    """Return where the order is paid; the gateway leads back to the order. Relative: it works under any host."""
    query = {"lang": language, "back": f"/m/orders/{order.id}?k={token}"}
    return f"/pay/{order.invoice_id}?{urlencode(query)}"


def stage_at(order: ShownOrder, now: datetime) -> Stage:
    """Return the stage; an order whose time to pay is over is expired, even before its invoice is."""
    if order.status in UNPAID and order.expires_at <= now:
        return Stage.EXPIRED
    return stage_of(order.status, order.reason, order.brew_state, order.refund_status)


def status_of(order: ShownOrder, texts: Texts, token: str, now: datetime) -> dict[str, Any]:
    """Return what the page shows, as JSON that its script puts in place."""
    stage = stage_at(order, now)
    look = LOOKS[stage]
    amount = texts.money(order.price)
    payable = stage is Stage.TO_PAY
    return {
        "order_id": str(order.id),
        "version": order.version,
        "status": order.status,
        "reason": order.reason,
        "refund_status": order.refund_status,
        "stage": stage.value,
        "title": texts(f"stage_{stage}"),
        "text": _text(order, stage, texts, amount),
        "until": texts("paid_by_until", moment=texts.in_zone(order.time_zone).moment(order.expires_at))
        if payable
        else "",
        "tone": look.tone,
        "step": look.step,
        # One that only looks expired may still turn out to have been paid in time.
        "final": look.final and order.status not in UNPAID,
        "amount": {"value": order.price.value, "currency": order.price.currency},
        "expires_at": order.expires_at.isoformat().replace("+00:00", "Z"),
        "pay_path": pay_path(order, token, texts.language) if payable else None,
        "can_cancel": payable,
        "receipt": receipt_line(order, texts),
    }


def _text(order: ShownOrder, stage: Stage, texts: Texts, amount: str) -> str:
    text = texts(f"stage_{stage}_text", amount=amount)
    why = f"why_{order.reason}"
    if stage in (Stage.REFUNDING, Stage.REFUNDED) and texts.known(why):
        return f"{texts(why)} {text}"
    return text


def receipt_line(order: ShownOrder, texts: Texts) -> str:
    """Say what becomes of the receipt; the address is masked, for the page may be seen over a shoulder."""
    if not order.receipt_address:
        return texts("receipt_none")
    address = mask(order.receipt_address)
    if not is_email(order.receipt_address):
        return texts("receipt_phone", address=address)
    if order.receipt_status in ("sent", "failed"):
        return texts(f"receipt_mail_{order.receipt_status}", address=address)
    return texts("receipt_mail", address=address)
