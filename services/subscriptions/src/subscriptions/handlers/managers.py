"""What managers do with customers' subscriptions and invoices. Invoices change over the bus only."""

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from copeck.contracts.base import CaptureMode
from copeck.contracts.commands import InvoiceCancel, InvoiceCapture, InvoiceCommand, InvoiceIssue, InvoiceRefund
from copeck.kernel.errors import DomainError, InvalidValueError, NotFoundError
from copeck.kernel.ids import new_id
from copeck.kernel.money import Money
from copeck.web.etag import check_if_match
from subscriptions.domain import decisions
from subscriptions.domain.model import Outcome, Subscription
from subscriptions.handlers.context import Work
from subscriptions.handlers.steps import account_of, carry_out, require
from subscriptions.handlers.subscriptions import locked
from subscriptions.store import catalogue, commands, refunds, state
from subscriptions.store.commands import SentCommand

REFUNDABLE = frozenset({"paid", "partially_refunded"})
CANCELABLE = frozenset({"issued", "pending", "authorized"})


class InvoiceStateError(DomainError):
    """The invoice is in a status in which this makes no sense."""

    type = "invoice-status"
    title = "The invoice's status does not allow this"


class RefundNotFailedError(DomainError):
    """Only a refund that finally failed is asked for again."""

    type = "refund-not-failed"
    title = "The refund did not fail"


class RefundRetriedError(DomainError):
    """The refund was asked for again already; the retry has an id of its own, and is retried by it."""

    type = "refund-retried"
    title = "The refund was asked for again already"


class NothingToRefundError(DomainError):
    """What is left of the invoice's money is less than the refund."""

    type = "nothing-to-refund"
    title = "The invoice has not so much left to refund"


@dataclass(frozen=True)
class Change:
    """What a manager wants changed; None leaves it as it is."""

    price_id: UUID | None = None
    extend_days: int | None = None
    cancel_at_period_end: bool | None = None
    paused: bool | None = None
    reason: str = ""


def _state(subscription: Subscription) -> dict[str, Any]:
    return {
        name: value if value is None or isinstance(value, str | int | bool) else str(value)
        for name, value in asdict(subscription).items()
    }


async def change_subscription(work: Work, subscription_id: UUID, if_match: str, change: Change) -> Subscription:
    """Change a customer's subscription: its price from the next period on, its length, its end, its pause."""
    before = await locked(work, subscription_id, None)
    check_if_match(if_match, before.version)
    current = before
    if change.price_id is not None:
        price = await catalogue.find_price(work.tx, change.price_id)
        plan = await catalogue.find_plan(work.tx, price.plan_id, work.now) if price else None
        if price is None or plan is None:
            raise NotFoundError(f"There is no price {change.price_id}.", "price_id")
        if plan.product != before.product:
            raise InvalidValueError("The price is of another product. Create another subscription.", "price_id")
        current = await _take(work, current, decisions.change_price(current, plan.id, price.id, change.reason))
    if change.extend_days is not None:
        current = await _take(work, current, decisions.extend(current, change.extend_days, work.now, change.reason))
    if change.cancel_at_period_end is True:
        current = await _take(work, current, decisions.cancel_at_period_end(current, work.now, change.reason))
    if change.cancel_at_period_end is False and current.cancel_at_period_end:
        current = await _take(work, current, decisions.undo_cancellation(current))
    if change.paused is True and current.paused_at is None:
        current = await _take(work, current, decisions.pause(current, work.now, change.reason))
    if change.paused is False and current.paused_at is not None:
        current = await _take(work, current, decisions.resume(current, work.now))
    await work.note(
        "subscription.change",
        "subscription",
        subscription_id,
        reason=change.reason,
        before=_state(before),
        after=_state(current),
    )
    return current


async def _take(work: Work, subscription: Subscription, outcome: Outcome) -> Subscription:
    applied = require(outcome)
    return await carry_out(work, subscription, applied) if applied else subscription


async def issue_invoice(
    work: Work,
    *,
    user_id: UUID,
    product: str,
    amount: Money,
    description: str,
    lifetime: timedelta,
    capture: CaptureMode,
) -> SentCommand:
    """Issue an invoice to a customer that no subscription asked for."""
    known = await catalogue.find_product(work.tx, product)
    if known is None:
        raise NotFoundError(f"There is no product {product}.", "product")
    if amount.minor <= 0:
        raise InvalidValueError("An invoice is for more than zero.", "amount")
    command = InvoiceIssue(
        account=account_of(user_id),
        invoice_id=new_id(),
        actor=work.actor.name,
        kind="manual",
        product=known.code,
        payer=str(user_id),
        beneficiary=f"revenue:{known.code}",
        amount_minor=amount.minor,
        currency=amount.currency,
        description=description,
        late_policy=known.late_policy,
        late_wallet=f"wallet:{user_id}" if known.late_policy == "wallet" else None,
        capture=capture,
        expires_at=work.now + lifetime,
    )
    return await _send(work, command, "", {"amount": str(amount), "description": description, "user": str(user_id)})


async def cancel_invoice(work: Work, invoice_id: UUID, reason: str) -> SentCommand:
    """Annul an invoice that is not paid."""
    invoice = await _invoice(work, invoice_id, CANCELABLE, "Only an unpaid invoice can be canceled; refund a paid one.")
    return await _send(
        work,
        InvoiceCancel(account=invoice.account, invoice_id=invoice_id, actor=work.actor.name, reason=reason),
        reason,
    )


async def refund_invoice(
    work: Work, invoice_id: UUID, amount: Money | None, reason: str, retry_of: UUID | None = None
) -> SentCommand:
    """Return the money of a paid invoice, or a part of it; or ask for a failed refund again."""
    if retry_of is not None:
        if amount is not None:
            raise InvalidValueError("A refund that is tried again is tried whole: leave the amount out.", "amount")
        return await retry_refund(work, retry_of, reason, invoice_id)
    invoice = await _invoice(work, invoice_id, REFUNDABLE, "Only a paid invoice can be refunded.")
    left = invoice.amount - invoice.refunded - invoice.refunding
    if amount is not None:
        if amount.currency != left.currency:
            raise InvalidValueError(f"The invoice is in {left.currency}.", "amount.currency")
        if amount.minor <= 0 or left < amount:
            raise InvalidValueError(f"A refund is more than zero and at most {left}.", "amount.value")
    command = InvoiceRefund(
        account=invoice.account,
        invoice_id=invoice_id,
        actor=work.actor.name,
        refund_id=new_id(),
        amount_minor=amount.minor if amount else None,
        reason=reason,
    )
    return await _send(work, command, reason, {"amount": str(amount or left)})


async def retry_refund(work: Work, refund_id: UUID, reason: str, invoice_id: UUID | None = None) -> SentCommand:
    """Ask again, whole, for a refund that failed; `invoice_id` is whose it must be, None for any.

    What is refused here is an early word to the manager; the updater has the last one.
    """
    failed = await refunds.find(work.tx, refund_id)
    if failed is None or invoice_id not in (None, failed.invoice_id):
        raise NotFoundError("There is no such refund.")
    if failed.status != "failed":
        raise RefundNotFailedError(f"The refund is {failed.status}.")
    if failed.retried_as is not None:
        raise RefundRetriedError(f"It was asked for again as {failed.retried_as}.")
    # Late money belongs to no invoice's amount: it goes back whatever became of the invoice.
    statuses = None if failed.origin == "late_payment" else REFUNDABLE
    invoice = await _invoice(work, failed.invoice_id, statuses, "Only a paid invoice can be refunded.")
    left = invoice.amount - invoice.refunded - invoice.refunding
    if statuses is not None and left < failed.amount:
        raise NothingToRefundError(f"The refund was of {failed.amount}; {left} of the invoice can still be refunded.")
    command = InvoiceRefund(
        account=invoice.account,
        invoice_id=invoice.id,
        actor=work.actor.name,
        refund_id=refunds.retry_id(refund_id),
        reason=reason,
        retry_of=refund_id,
    )
    return await _send(work, command, reason, {"retry_of": str(refund_id), "amount": str(failed.amount)})


async def capture_invoice(work: Work, invoice_id: UUID) -> SentCommand:
    """Take the money that is held for an invoice."""
    invoice = await _invoice(
        work, invoice_id, frozenset({"authorized"}), "Only an invoice whose money is held can be captured."
    )
    return await _send(work, InvoiceCapture(account=invoice.account, invoice_id=invoice_id, actor=work.actor.name), "")


async def _invoice(work: Work, invoice_id: UUID, statuses: frozenset[str] | None, otherwise: str) -> state.Invoice:
    """Find an invoice in one of these statuses (None: any): an early word to the manager; the updater has the last."""
    invoice = await state.find_invoice(work.tx, invoice_id)
    if invoice is None:
        raise NotFoundError("There is no such invoice.")
    if statuses is not None and invoice.status not in statuses:
        raise InvoiceStateError(f"The invoice is {invoice.status}. {otherwise}")
    return invoice


async def _send(work: Work, command: InvoiceCommand, reason: str, details: dict[str, Any] | None = None) -> SentCommand:
    [envelope] = await work.send(command)
    sent = SentCommand(envelope.id, command.TYPE, command.invoice_id, work.actor.name, work.now)
    await commands.insert(work.tx, sent)
    await work.note(
        command.TYPE,
        "invoice",
        command.invoice_id,
        reason=reason,
        after={"command_id": str(envelope.id), **(details or {})},
    )
    return sent
