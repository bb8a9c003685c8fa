"""The e-mails to buyers, in the language in which they ordered. Pure."""

from uuid import UUID

from copeck.web.translations import Texts
from device_bridge.mailer import Mail
from device_bridge.pages.texts import TEXTS
from device_bridge.store.receipts import Kind
from device_bridge.store.showing import ShownOrder


def compose(order: ShownOrder, kind: Kind, address: str, url: str) -> Mail:
    """Return the receipt of an order, or the note that its money went back."""
    texts = Texts(order.language, TEXTS).in_zone(order.time_zone)
    amount, size = texts.money(order.price), texts(f"size_{order.size}")
    place = f"{order.device_name}, {order.location}" if order.location else order.device_name
    if kind == "refund":
        subject = texts("mail_refund_subject", amount=amount)
        lines = [
            texts("mail_refunded", drink=order.drink_name, size=size),
            texts("mail_refund_amount", amount=amount),
            texts("mail_refund_when"),
        ]
    else:
        subject = texts("mail_subject", drink=order.drink_name, amount=amount)
        lines = [
            texts("mail_bought", drink=order.drink_name, size=size),
            texts("mail_amount", amount=amount),
            texts("mail_at", moment=texts.moment(order.paid_at or order.created_at)),
        ]
    lines += [
        texts("mail_where", machine=place),
        texts("mail_seller", merchant=order.merchant_name),
        texts("mail_order", order=order.id),
        texts("mail_link", url=url),
    ]
    if kind == "receipt":
        lines += ["", texts("mail_fiscal")]
    text = "\n".join([texts("mail_hello"), "", *lines, "", texts("mail_bye"), ""])
    return Mail(address, subject, text, message_id(order.id, kind), order.language)


def message_id(order_id: UUID, kind: Kind) -> str:
    """Return the part of the message's id before the @: the same at each try."""
    return f"{kind}.{order_id}"
