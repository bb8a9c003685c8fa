"""Reports on payment attempts: money, holds, failures; money that comes too late or twice (I-09); own balance."""

from dataclasses import replace
from typing import Any
from uuid import UUID

from billing_state_updater.domain import books
from billing_state_updater.domain.aggregates import Changes, Invoice, Payment, Refund
from billing_state_updater.domain.machines import OPEN, PAYMENT
from billing_state_updater.domain.outcomes import (
    Announcement,
    Applied,
    Duplicate,
    Illegal,
    Outcome,
    Poison,
    Stale,
    Step,
    Transfer,
)
from copeck.contracts import commands, events
from copeck.contracts.base import Message
from copeck.kernel.ids import derived_id

_NEVER_PAID = frozenset({"canceled", "expired", "voided"})


def snapshot(payment: Payment) -> dict[str, Any]:
    """Return what the event chain keeps of an attempt; folding the chain rebuilds the attempts from it."""
    return {
        "id": payment.id,
        "provider": payment.provider,
        "shop": payment.shop,
        "transaction": payment.transaction,
        "status": payment.status,
        "amount_minor": payment.amount_minor,
        "currency": payment.currency,
        "method": payment.method,
        "failure_code": payment.failure_code,
        "failure_reason": payment.failure_reason,
        "late": payment.late,
    }


def report(invoice: Invoice, command: commands.PaymentReport, cause: UUID) -> Outcome:
    """Take a provider's word on an attempt."""
    if not invoice.version:
        return Poison("the invoice is not known")
    if command.provider == books.OWN_BALANCE:
        return Poison("no provider speaks for our own wallets")
    known = _find(invoice, command)
    if known is not None and known.transaction and command.transaction not in ("", known.transaction):
        return Poison("the attempt belongs to another transaction of the provider")
    before = known.status if known else "created"
    after = PAYMENT.get((before, command.status))
    if after is None:
        return Duplicate() if before == command.status else Stale(f"the attempt is {before}")
    payment = Payment(
        id=known.id if known else command.payment_id,
        invoice_id=invoice.id,
        provider=command.provider,
        shop=command.shop,
        transaction=command.transaction or (known.transaction if known else ""),
        status=after,
        amount_minor=command.amount_minor,
        currency=command.currency,
        method=command.method or (known.method if known else ""),
        failure_code=command.failure_code,
        failure_reason=command.failure_reason,
        late=known.late if known else False,
    )
    if after == "succeeded":
        return _money(invoice, payment, cause)
    if after == "authorized":
        return _hold(invoice, payment)
    if after in ("failed", "canceled"):
        return _ended(invoice, payment)
    return _started(invoice, payment)


def _find(invoice: Invoice, command: commands.PaymentReport) -> Payment | None:
    known = invoice.payments.get(command.payment_id)
    if known is not None or not command.transaction:
        return known
    identity = (command.provider, command.shop, command.transaction)
    for payment in invoice.payments.values():
        if (payment.provider, payment.shop, payment.transaction) == identity:
            return payment
    return None


def _fits(invoice: Invoice, payment: Payment) -> bool:
    return payment.amount_minor == invoice.amount_minor and payment.currency == invoice.currency


def _is_held(invoice: Invoice, payment: Payment) -> bool:
    """Tell whether the invoice waits for just this attempt's money, which the provider holds."""
    return invoice.status == "authorized" and invoice.payment_id == payment.id


def _own(payment: Payment) -> Changes:
    return {
        "payment_id": payment.id,
        "provider": payment.provider,
        "shop": payment.shop,
        "transaction": payment.transaction,
        "method": payment.method,
        "failure_code": "",
        "failure_reason": "",
        "attempt": snapshot(payment),
    }


def source_of(payment_provider: str, shop: str) -> str:
    """Return the account that money came from: a wallet names itself as its shop."""
    return shop if payment_provider == books.OWN_BALANCE else books.provider_account(payment_provider, shop)


def _money(invoice: Invoice, payment: Payment, cause: UUID) -> Outcome:
    if not ((invoice.status in OPEN or _is_held(invoice, payment)) and _fits(invoice, payment)):
        return _late(invoice, replace(payment, late=True), cause)
    transfers = books.received(
        source_of(payment.provider, payment.shop),
        invoice.beneficiary,
        invoice.amount_minor,
        invoice.commission_minor,
        invoice.currency,
    )
    return Applied((Step("paid", _own(payment), events.InvoicePaid),), transfers, (payment,))


def _late(invoice: Invoice, payment: Payment, cause: UUID) -> Outcome:
    """Book money that the invoice cannot take, and send it on its way by the policy."""
    arrived = Transfer(
        source_of(payment.provider, payment.shop), books.LATE, payment.amount_minor, payment.currency, "late_payment"
    )
    note: Changes = {"attempt": snapshot(payment)}
    if _accepts_late(invoice) and invoice.status in _NEVER_PAID and _fits(invoice, payment):
        accepted = books.received(
            books.LATE, invoice.beneficiary, invoice.amount_minor, invoice.commission_minor, invoice.currency
        )
        steps = (
            Step("late_payment_received", note, events.InvoiceLatePaymentReceived),
            Step("late_accepted", _own(payment), events.InvoicePaid),
        )
        # At the merchant's own shop nothing of ours arrived: only the commission is booked.
        ours = () if books.family(invoice.beneficiary) == "receivable" else (arrived,)
        return Applied(steps, (*ours, *accepted), (payment,))
    # A capture of another amount than was held ends the hold; the invoice has nothing to wait for any more.
    ended = (Step("voided", {}, events.InvoiceVoided),) if _is_held(invoice, payment) else ()
    if invoice.late_policy == "wallet" and invoice.late_wallet:
        moved = Transfer(books.LATE, invoice.late_wallet, payment.amount_minor, payment.currency, "late_to_wallet")
        step = Step("late_payment_received", note, events.InvoiceLatePaymentReceived)
        return Applied((step, *ended), (arrived, moved), (payment,))
    refund = Refund(
        id=derived_id(cause, "late_refund"),
        invoice_id=invoice.id,
        status="requested",
        origin="late_payment",
        source=books.LATE,
        amount_minor=payment.amount_minor,
        commission_minor=0,
        currency=payment.currency,
        payment_id=payment.id,
        provider=payment.provider,
        shop=payment.shop,
        transaction=payment.transaction,
        reason=f"the money came when the invoice was {invoice.status}",
        version=1,
    )
    note["refund"] = refund_snapshot(refund)
    step = Step("late_payment_received", note, events.InvoiceLatePaymentReceived)
    opened = books.refund_opened(books.LATE, refund.amount_minor, 0, refund.currency)
    asked = (Announcement(events.RefundRequested, refund=refund),)
    return Applied((step, *ended), (arrived, *opened), (payment,), (refund,), asked)


def _accepts_late(invoice: Invoice) -> bool:
    """Tell whether late money may still pay the invoice.

    Money that goes to the very wallet it was meant to fill is a deposit, late or not: it costs its commission.
    """
    own_wallet = invoice.late_policy == "wallet" and invoice.late_wallet == invoice.beneficiary
    return invoice.late_policy == "accept" or own_wallet


def refund_snapshot(refund: Refund) -> dict[str, Any]:
    """Return what the event chain keeps of a refund."""
    return {
        "id": refund.id,
        "status": refund.status,
        "origin": refund.origin,
        "source": refund.source,
        "amount_minor": refund.amount_minor,
        "commission_minor": refund.commission_minor,
        "currency": refund.currency,
        "payment_id": refund.payment_id,
        "provider": refund.provider,
        "shop": refund.shop,
        "transaction": refund.transaction,
        "refund_transaction": refund.refund_transaction,
        "reason": refund.reason,
        "failure_code": refund.failure_code,
        "failure_reason": refund.failure_reason,
        "version": refund.version,
    }


def _hold(invoice: Invoice, payment: Payment) -> Outcome:
    if invoice.status in OPEN and _fits(invoice, payment):
        steps = [Step("authorized", _own(payment), events.InvoiceAuthorized)]
        if invoice.capture == "automatic":
            steps.append(Step("capture_requested", {}, events.InvoiceCaptureRequested))
        return Applied(tuple(steps), (), (payment,))
    if _is_held(invoice, payment):
        # The hold whose capture or release was in doubt is still there; whoever was told to act on it goes on.
        return Applied((Step("attempt_noted", {"attempt": snapshot(payment)}),), (), (payment,))
    released = replace(payment, late=True)
    return Applied(
        (Step("hold_release_requested", {"attempt": snapshot(released)}),),
        (),
        (released,),
        (),
        (Announcement(events.InvoiceVoidRequested, payment=released),),
    )


def _ended(invoice: Invoice, payment: Payment) -> Outcome:
    if _is_held(invoice, payment):
        return Applied((Step("voided", {"attempt": snapshot(payment)}, events.InvoiceVoided),), (), (payment,))
    if invoice.status in OPEN:
        changes: Changes = {
            "failure_code": payment.failure_code,
            "failure_reason": payment.failure_reason,
            "attempt": snapshot(payment),
        }
        return Applied((Step("attempt_failed", changes, events.InvoicePaymentFailed),), (), (payment,))
    return Applied((Step("attempt_noted", {"attempt": snapshot(payment)}),), (), (payment,))


def _started(invoice: Invoice, payment: Payment) -> Outcome:
    announce: type[Message] | None = None
    if invoice.status in OPEN:
        event = "attempt_unknown" if payment.status == "unknown" else "attempt_started"
        announce = events.InvoicePending if invoice.status == "issued" else None
    else:
        event = "attempt_noted"
    return Applied((Step(event, {"attempt": snapshot(payment)}, announce),), (), (payment,))


def pay_from_wallet(invoice: Invoice, command: commands.WalletPay, balance: books.Balance) -> Outcome:
    """Pay an invoice from a wallet, whole or not at all."""
    if not invoice.version:
        return Poison("the invoice is not known")
    if command.payment_id in invoice.payments:
        return Duplicate()
    if invoice.status not in OPEN:
        return Illegal("not_payable", f"an invoice that is {invoice.status} cannot be paid")
    if not books.is_wallet(command.wallet) or command.wallet == invoice.beneficiary:
        return Illegal("not_a_wallet", f"{command.wallet} cannot pay this invoice")
    if books.family(invoice.beneficiary) == "receivable":
        return Illegal("not_payable_from_wallet", "this invoice is paid at the merchant's own shop")
    payment = Payment(
        id=command.payment_id,
        invoice_id=invoice.id,
        provider=books.OWN_BALANCE,
        shop=command.wallet,
        transaction=str(command.payment_id),
        status="succeeded",
        amount_minor=invoice.amount_minor,
        currency=invoice.currency,
        method="balance",
    )
    transfers = books.received(
        command.wallet, invoice.beneficiary, invoice.amount_minor, invoice.commission_minor, invoice.currency
    )
    if not books.affordable(transfers, balance):
        return Illegal("insufficient_funds", "the wallet has less than the invoice asks")
    return Applied((Step("paid", _own(payment), events.InvoicePaid),), transfers, (payment,))
