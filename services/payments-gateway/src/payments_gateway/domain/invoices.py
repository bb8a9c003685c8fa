"""The gateway's copy of an invoice, and the answers it gives without asking others: payable? acceptable to charge?"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from copeck.kernel.errors import DomainError
from copeck.kernel.money import Money, MoneyError
from payments_gateway.domain.provider import AttemptStatus, CheckAnswer, Notification

PAYABLE = frozenset({"issued", "pending"})
ATTEMPTS_MAX = 50

# What Check is answered in each status of an invoice, once number, account and amount are right.
CHECK_BY_STATUS: dict[str, CheckAnswer] = {
    "issued": CheckAnswer.OK,
    "pending": CheckAnswer.OK,
    "authorized": CheckAnswer.NOT_ACCEPTED,
    "paid": CheckAnswer.NOT_ACCEPTED,
    "partially_refunded": CheckAnswer.NOT_ACCEPTED,
    "refunded": CheckAnswer.NOT_ACCEPTED,
    "canceled": CheckAnswer.NOT_ACCEPTED,
    "expired": CheckAnswer.EXPIRED,
    "voided": CheckAnswer.NOT_ACCEPTED,
    "disputed": CheckAnswer.NOT_ACCEPTED,
    "charged_back": CheckAnswer.NOT_ACCEPTED,
}


@dataclass(frozen=True, slots=True)
class Invoice:
    """What the gateway knows of an invoice from the updater's events."""

    invoice_id: UUID
    version: int
    status: str
    kind: str
    product: str
    account: str
    payer: str
    amount: Money
    description: str
    capture: str
    expires_at: datetime
    failure_code: str = ""
    failure_reason: str = ""
    correlation_id: str | None = None
    titles: Mapping[str, str] = field(default_factory=dict)
    """What it is for, by language, as far as its issuer said."""
    beneficiary: str = ""

    @property
    def own_shop_of(self) -> str:
        """The merchant at whose own shop it is paid; nothing when it is paid at one of ours."""
        family, _, merchant = self.beneficiary.partition(":")
        return merchant if family == "receivable" else ""

    def title(self, language: str) -> str:
        """What the invoice is for, in the payer's language if there is such a title."""
        return self.titles.get(language) or self.description

    def status_at(self, now: datetime) -> str:
        """The status as a payer should see it: one whose time is over is expired, even before the updater said so."""
        return "expired" if self.status in PAYABLE and self.expires_at <= now else self.status

    def payable_at(self, now: datetime) -> bool:
        """Tell whether a payment may be started."""
        return self.status_at(now) in PAYABLE


class NotPayableError(DomainError):
    """The invoice takes no payment any more."""

    type = "invoice-not-payable"
    title = "The invoice cannot be paid"
    status = 409


class TooManyAttemptsError(DomainError):
    """So many payments were started for one invoice that something must be wrong."""

    type = "too-many-attempts"
    title = "Too many payments were started for this invoice"
    status = 409


def check(
    invoice: Invoice | None, notification: Notification, others: frozenset[AttemptStatus], now: datetime
) -> CheckAnswer:
    """Decide what a provider is told that asks before it charges.

    `others` are the statuses of the invoice's other attempts: one that has succeeded or holds money refuses a second
    payment, even if the updater's event has not arrived yet.
    """
    if invoice is None:
        return CheckAnswer.BAD_INVOICE
    if notification.account_ref and invoice.payer and notification.account_ref != invoice.payer:
        return CheckAnswer.BAD_ACCOUNT
    if money_of(notification, invoice.amount.currency) != invoice.amount:
        return CheckAnswer.WRONG_AMOUNT
    if others & {AttemptStatus.SUCCEEDED, AttemptStatus.AUTHORIZED}:
        return CheckAnswer.NOT_ACCEPTED
    return CHECK_BY_STATUS.get(invoice.status_at(now), CheckAnswer.NOT_ACCEPTED)


def money_of(notification: Notification, default_currency: str) -> Money | None:
    """Return the exact money of a callback; None when it is no money. Some callbacks name no currency."""
    if notification.amount is None:
        return None
    try:
        money = Money.parse(notification.amount, notification.currency or default_currency)
    except MoneyError:
        return None
    return money if money.minor > 0 else None
