"""Refunds: asked for by us, reported by the provider, or made in the provider's own cabinet; and disputes."""

from dataclasses import replace
from uuid import UUID

from billing_state_updater.domain import books
from billing_state_updater.domain.aggregates import Changes, Invoice, Refund
from billing_state_updater.domain.invoices.payments import refund_snapshot, source_of
from billing_state_updater.domain.machines import REFUND
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

_REFUNDABLE = frozenset({"paid", "partially_refunded"})
_UNFINISHED = frozenset({"requested", "pending", "unknown"})
_ANNOUNCE: dict[str, type[Message]] = {
    "pending": events.RefundPending,
    "succeeded": events.RefundSucceeded,
    "failed": events.RefundFailed,
    "unknown": events.RefundOutcomeUnknown,
}


def remaining(invoice: Invoice) -> int:
    """Return what of the invoice's money neither went back nor is on its way back."""
    return invoice.amount_minor - invoice.refunded_minor - invoice.refunding_minor


def request(invoice: Invoice, command: commands.InvoiceRefund, balance: books.Balance) -> Outcome:
    """Begin a refund of all that remains, or of a part; or ask again, whole, for one that failed."""
    if command.refund_id in invoice.refunds:
        if command.retry_of is None:
            return Duplicate()
        # Whoever retries one refund names the retry alike: here somebody else was first, and the sender has to know.
        return Illegal("already_retried", f"the refund was asked for again as {command.refund_id}")
    failed = invoice.refunds.get(command.retry_of) if command.retry_of is not None else None
    if command.retry_of is not None and (failed is None or failed.status != "failed"):
        return Illegal("nothing_to_retry", "only a refund that failed can be tried again")
    if failed is not None and failed.origin == "late_payment":
        return _retry_late(invoice, command, failed)
    if invoice.status not in _REFUNDABLE:
        return Illegal("not_refundable", f"an invoice that is {invoice.status} has nothing to refund")
    wanted = failed.amount_minor if failed is not None else command.amount_minor
    amount = wanted if wanted is not None else remaining(invoice)
    if not 0 < amount <= remaining(invoice):
        return Illegal("exceeds_remaining", f"{remaining(invoice)} minor units can still be refunded")
    refund, changes = _open(invoice, command.refund_id, amount, "requested", command.reason)
    opened = books.refund_opened(refund.source, amount, refund.commission_minor, refund.currency)
    if not books.affordable(opened, balance):
        return Illegal("insufficient_funds", f"{refund.source} has less than the refund takes")
    steps = (Step("refund_requested", changes | {"refund": refund_snapshot(refund)}),)
    if invoice.provider != books.OWN_BALANCE:
        asked = (Announcement(events.RefundRequested, refund=refund),)
        return Applied(steps, opened, (), (refund,), asked)
    # A wallet is our own: nobody has to be asked, and the money is back in the same commit.
    done = replace(refund, status="succeeded", version=2)
    settled = books.refund_settled(refund.source, invoice.shop, amount, refund.currency)
    after = replace(invoice, refunding_minor=invoice.refunding_minor + amount)
    return Applied(
        (*steps, _finished(after, done)),
        (*opened, *settled),
        (),
        (done,),
        (Announcement(events.RefundSucceeded, refund=done),),
    )


def _retry_late(invoice: Invoice, command: commands.InvoiceRefund, failed: Refund) -> Outcome:
    """Send late money on its way again, after a refund of it failed: it must not stay in suspense (I-09)."""
    for other in invoice.refunds.values():
        if other.payment_id == failed.payment_id and other.status != "failed":
            return Illegal("refund_under_way", f"refund {other.id} of the same payment is {other.status}")
    refund = replace(
        failed,
        id=command.refund_id,
        status="requested",
        refund_transaction="",
        reason=command.reason or failed.reason,
        failure_code="",
        failure_reason="",
        version=1,
    )
    return Applied(
        (Step("refund_noted", {"refund": refund_snapshot(refund)}),),
        books.refund_opened(refund.source, refund.amount_minor, refund.commission_minor, refund.currency),
        (),
        (refund,),
        (Announcement(events.RefundRequested, refund=refund),),
    )


def _open(invoice: Invoice, id: UUID, amount: int, origin: str, reason: str) -> tuple[Refund, Changes]:
    total = invoice.refunded_minor + invoice.refunding_minor + amount
    commission = books.commission_share(
        invoice.commission_minor, invoice.amount_minor, total, invoice.commission_returned_minor
    )
    refund = Refund(
        id=id,
        invoice_id=invoice.id,
        status="requested",
        origin=origin,
        source=invoice.beneficiary,
        amount_minor=amount,
        commission_minor=commission,
        currency=invoice.currency,
        payment_id=invoice.payment_id,
        provider=invoice.provider,
        shop=invoice.shop,
        transaction=invoice.transaction,
        reason=reason,
        version=1,
    )
    changes: Changes = {
        "refunding_minor": invoice.refunding_minor + amount,
        "commission_returned_minor": invoice.commission_returned_minor + commission,
    }
    return refund, changes


def _finished(invoice: Invoice, refund: Refund) -> Step:
    """Return the step of a refund that is done; `invoice` counts it among those on their way."""
    note: Changes = {"refund": refund_snapshot(refund)}
    if refund.origin == "late_payment":
        return Step("refund_noted", note)
    note["refunding_minor"] = invoice.refunding_minor - refund.amount_minor
    note["refunded_minor"] = invoice.refunded_minor + refund.amount_minor
    if invoice.status not in _REFUNDABLE:
        return Step("refund_noted", note)
    if note["refunded_minor"] == invoice.amount_minor:
        return Step("refunded", note, events.InvoiceRefunded)
    return Step("partially_refunded", note, events.InvoicePartiallyRefunded)


def report(invoice: Invoice, command: commands.RefundReport, cause: UUID, balance: books.Balance) -> Outcome:
    """Take a provider's word on a refund."""
    if not invoice.version:
        return Poison("the invoice is not known")
    refund = _find(invoice, command)
    if refund is None:
        return _made_elsewhere(invoice, command, cause, balance)
    after = REFUND.get((refund.status, command.status))
    if after is None:
        return Duplicate() if refund.status == command.status else Stale(f"the refund is {refund.status}")
    if after == "succeeded" and (refund.amount_minor, refund.currency) != (command.amount_minor, command.currency):
        return Poison("the provider returned another amount than it was asked for")
    told = replace(
        refund,
        status=after,
        refund_transaction=command.transaction or refund.refund_transaction,
        failure_code=command.failure_code,
        failure_reason=command.failure_reason,
        version=refund.version + 1,
    )
    announced = (Announcement(_ANNOUNCE[after], refund=told),)
    note: Changes = {"refund": refund_snapshot(told)}
    if refund.status == "failed":
        return _made_after_all(invoice, told, balance)
    if after == "succeeded":
        return Applied((_finished(invoice, told),), _settled(told), (), (told,), announced)
    if after == "failed":
        if refund.origin != "late_payment":
            note["refunding_minor"] = invoice.refunding_minor - refund.amount_minor
            note["commission_returned_minor"] = invoice.commission_returned_minor - refund.commission_minor
        transfers = books.refund_reversed(refund.source, refund.amount_minor, refund.commission_minor, refund.currency)
        return Applied((Step("refund_noted", note),), transfers, (), (told,), announced)
    return Applied((Step("refund_noted", note),), (), (), (told,), announced)


def _settled(refund: Refund) -> tuple[Transfer, ...]:
    provider = source_of(refund.provider, refund.shop)
    return books.refund_settled(refund.source, provider, refund.amount_minor, refund.currency)


def _gone(refund: Refund, balance: books.Balance) -> tuple[Transfer, ...]:
    """Return the transfers of a refund that nobody asked us for: the money is gone, if the source has it or not."""
    back = books.commission_returned(refund.source, refund.commission_minor, refund.currency)

    def with_commission(name: str, currency: str) -> int:
        return balance(name, currency) + refund.commission_minor

    left = books.taken_back(
        refund.source, books.REFUNDS_IN_TRANSIT, refund.amount_minor, refund.currency, "refund", with_commission
    )
    return (*back, *left, *_settled(refund))


def _made_after_all(invoice: Invoice, told: Refund, balance: books.Balance) -> Outcome:
    """Book a refund that was taken for failed, and that the provider made."""
    announced = (Announcement(events.RefundSucceeded, refund=told),)
    if told.origin == "late_payment":
        return Applied((_finished(invoice, told),), _gone(told, balance), (), (told,), announced)
    if told.amount_minor > remaining(invoice):
        return Poison("a refund that had failed was made after all, and exceeds what was paid")
    total = invoice.refunded_minor + invoice.refunding_minor + told.amount_minor
    commission = books.commission_share(
        invoice.commission_minor, invoice.amount_minor, total, invoice.commission_returned_minor
    )
    told = replace(told, commission_minor=commission)
    step = _finished(replace(invoice, refunding_minor=invoice.refunding_minor + told.amount_minor), told)
    returned: Changes = {"commission_returned_minor": invoice.commission_returned_minor + commission}
    step = replace(step, changes=returned | step.changes)
    announced = (Announcement(events.RefundSucceeded, refund=told),)
    return Applied((step,), _gone(told, balance), (), (told,), announced)


def _find(invoice: Invoice, command: commands.RefundReport) -> Refund | None:
    if command.refund_id is not None and command.refund_id in invoice.refunds:
        return invoice.refunds[command.refund_id]
    for refund in invoice.refunds.values():
        same_shop = (refund.provider, refund.shop) == (command.provider, command.shop)
        if same_shop and command.transaction and refund.refund_transaction == command.transaction:
            return refund
    # The provider may tell of our own refund before it answers our request: then only the payment and the
    # amount say which one it is.
    for refund in invoice.refunds.values():
        if (
            refund.status in _UNFINISHED
            and not refund.refund_transaction
            and (refund.provider, refund.shop) == (command.provider, command.shop)
            and refund.transaction == command.payment_transaction
            and refund.amount_minor == command.amount_minor
        ):
            return refund
    return _late_one_that_failed(invoice, command)


def _late_one_that_failed(invoice: Invoice, command: commands.RefundReport) -> Refund | None:
    """Return the refund of late money that failed with us, and that a person then made in the provider's cabinet.

    Without it the money would stay on `suspense:late` although it is gone (I-09).
    """
    if command.refund_id is not None or not command.transaction or command.status != "succeeded":
        return None
    for refund in invoice.refunds.values():
        if (
            (refund.origin, refund.status) == ("late_payment", "failed")
            and (refund.provider, refund.shop) == (command.provider, command.shop)
            and refund.transaction == command.payment_transaction
            and (refund.amount_minor, refund.currency) == (command.amount_minor, command.currency)
        ):
            return refund
    return None


def _made_elsewhere(invoice: Invoice, command: commands.RefundReport, cause: UUID, balance: books.Balance) -> Outcome:
    if command.status != "succeeded" or command.refund_id is not None:
        return Poison("the refund is not known")
    if not command.transaction:
        return Poison("a refund made at the provider has no id by which its repeat could be told")
    same_shop = (command.provider, command.shop) == (invoice.provider, invoice.shop)
    same_payment = same_shop and command.payment_transaction in ("", invoice.transaction)
    if invoice.status not in _REFUNDABLE or not same_payment or invoice.provider == books.OWN_BALANCE:
        return Poison("a refund made at the provider fits no payment of the invoice")
    if command.amount_minor > remaining(invoice) or command.currency != invoice.currency:
        return Poison("a refund made at the provider exceeds what was paid")
    refund, changes = _open(
        invoice, derived_id(cause, "refund"), command.amount_minor, "provider", "made at the provider"
    )
    done = replace(refund, status="succeeded", refund_transaction=command.transaction)
    after = replace(invoice, refunding_minor=invoice.refunding_minor + refund.amount_minor)
    step = _finished(after, done)
    step = replace(step, changes={"commission_returned_minor": changes["commission_returned_minor"]} | step.changes)
    return Applied(
        (step,),
        _gone(done, balance),
        (),
        (done,),
        (Announcement(events.RefundSucceeded, refund=done),),
    )


def dispute(invoice: Invoice, command: commands.DisputeReport, balance: books.Balance) -> Outcome:
    """Take a provider's word on a chargeback; a loss that nobody announced opens and ends the dispute at once."""
    if not invoice.version:
        return Poison("the invoice is not known")
    if (command.provider, command.shop) != (invoice.provider, invoice.shop) or command.currency != invoice.currency:
        return Poison("the dispute fits no payment of the invoice")
    # The reason remembers the dispute after it was won, so that late news of its opening does not open it again.
    open_reason, won_reason = f"dispute {command.transaction}", f"dispute {command.transaction} won"
    opened = Step("dispute_opened", {"reason": open_reason}, events.InvoiceDisputed)
    if command.outcome == "opened":
        if invoice.status == "disputed" or invoice.reason == won_reason:
            return Duplicate()
        return Applied((opened,)) if invoice.status in _REFUNDABLE else Stale(f"the invoice is {invoice.status}")
    if command.outcome == "won":
        if invoice.status != "disputed":
            return Duplicate() if invoice.reason == won_reason else Stale(f"the invoice is {invoice.status}")
        return Applied((Step(_won(invoice), {"reason": won_reason}, events.InvoiceDisputeWon),))
    if invoice.status == "charged_back":
        return Duplicate()
    if invoice.status not in _REFUNDABLE and invoice.status != "disputed":
        return Poison(f"a chargeback of an invoice that is {invoice.status}")
    steps = (opened,) if invoice.status in _REFUNDABLE else ()
    return Applied((*steps, Step("charged_back", {}, events.InvoiceChargedBack)), _charged(invoice, command, balance))


def _won(invoice: Invoice) -> str:
    """Name the way back to the status that refunds, made before or meanwhile, call for."""
    if invoice.refunded_minor == invoice.amount_minor:
        return "dispute_won_refunded"
    return "dispute_won_partly_refunded" if invoice.refunded_minor else "dispute_won"


def _charged(invoice: Invoice, command: commands.DisputeReport, balance: books.Balance) -> tuple[Transfer, ...]:
    """Return the transfers of what the payer's bank took: the beneficiary's up to what it still has of the invoice."""
    if books.family(invoice.beneficiary) == "receivable":
        return ()
    provider = source_of(invoice.provider, invoice.shop)
    own = min(command.amount_minor, remaining(invoice))
    taken = books.taken_back(invoice.beneficiary, provider, own, invoice.currency, "chargeback", balance)
    return (*taken, *books.lost_to(provider, command.amount_minor - own, invoice.currency, "chargeback"))
