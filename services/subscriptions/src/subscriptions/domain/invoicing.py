"""Which invoice a customer is to pay now: the open one, a new one, or none."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from subscriptions.domain.machine import RUNNING, Status
from subscriptions.domain.model import Illegal, Subscription

RENEWAL_WINDOW = timedelta(days=7)
"""How long before the end of a period the next one may be paid."""


@dataclass(frozen=True, slots=True)
class OpenInvoice:
    """The invoice of the next period that waits for payment."""

    invoice_id: UUID
    price_id: UUID
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class PayThis:
    """The customer pays the open invoice."""

    invoice_id: UUID


@dataclass(frozen=True, slots=True)
class IssueAnother:
    """A new invoice is needed for the period; the old one, if any, is annulled first (I-11: one at a time)."""

    period_number: int
    replaces: UUID | None = None


def choose_invoice(
    subscription: Subscription, invoice: OpenInvoice | None, now: datetime, least_left: timedelta
) -> PayThis | IssueAnother | Illegal:
    """Choose what to pay. An invoice with less than `least_left` to live is replaced, not handed out."""
    status = subscription.status
    if status in (Status.CANCELED, Status.EXPIRED):
        return Illegal("subscription-over", f"The subscription is {status}. Choose a plan and subscribe again.")
    if status is Status.PAUSED:
        return Illegal("subscription-paused", "The subscription is paused. Resume it first, then pay.")
    if subscription.cancel_at_period_end:
        return Illegal("cancellation-scheduled", "The subscription ends with its period. Undo that first, then pay.")
    if status in RUNNING and status is not Status.TRIALING and subscription.period_end is not None:
        opens_at = subscription.period_end - RENEWAL_WINDOW
        if now < opens_at and invoice is None:
            return Illegal(
                "paid-already",
                f"The subscription is paid until {subscription.period_end:%Y-%m-%d %H:%M} UTC; "
                f"the next period can be paid from {opens_at:%Y-%m-%d}.",
            )
    number = subscription.period_number + 1
    if invoice is None:
        return IssueAnother(number)
    if invoice.price_id == subscription.price_id and invoice.expires_at - now >= least_left:
        return PayThis(invoice.invoice_id)
    return IssueAnother(number, replaces=invoice.invoice_id)
