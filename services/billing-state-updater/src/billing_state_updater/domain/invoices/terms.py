"""Issue, cancel, expire, capture: commands about the invoice itself."""

from datetime import datetime

from billing_state_updater.domain import books
from billing_state_updater.domain.aggregates import Changes, Invoice
from billing_state_updater.domain.machines import OPEN
from billing_state_updater.domain.outcomes import Applied, Duplicate, Illegal, Outcome, Stale, Step
from copeck.contracts import commands, events

_TERMS = (
    "account",
    "kind",
    "product",
    "payer",
    "beneficiary",
    "amount_minor",
    "commission_minor",
    "currency",
    "description",
    "late_policy",
    "late_wallet",
    "capture",
    "expires_at",
    "references",
)
_ENDED = {"canceled": "invoice.cancel", "voided": "invoice.cancel", "expired": "invoice.expire"}


def issue(invoice: Invoice, command: commands.InvoiceIssue) -> Outcome:
    """Make the invoice. The same terms again are a duplicate, other terms under the same id are refused."""
    terms: Changes = {name: getattr(command, name) for name in _TERMS}
    if invoice.version:
        same = all(getattr(invoice, name) == value for name, value in terms.items())
        return Duplicate() if same else Illegal("already_issued", "an invoice with this id and other terms exists")
    return _refusal(command) or Applied((Step("issued", terms, events.InvoiceIssued),))


def _refusal(command: commands.InvoiceIssue) -> Illegal | None:
    """Say what is wrong with the terms of a new invoice."""
    beneficiary = books.family(command.beneficiary)
    if beneficiary not in books.BENEFICIARIES:
        return Illegal("unknown_account", f"{command.beneficiary} cannot be credited by an invoice")
    if command.commission_minor >= command.amount_minor:
        return Illegal("commission_too_high", "the commission takes the whole amount")
    if command.late_policy == "wallet" and not (command.late_wallet and books.is_wallet(command.late_wallet)):
        return Illegal("late_wallet_missing", "the late-payment policy needs a wallet to pay to")
    if command.late_policy != "refund" and command.kind == "coffee":
        return Illegal("late_policy_not_allowed", "late money for a coffee always goes back (I-09)")
    if command.late_policy == "wallet" and beneficiary == "receivable":
        return Illegal("late_policy_not_allowed", "money at the merchant's own shop cannot go to a wallet of ours")
    return None


def cancel(invoice: Invoice, command: commands.InvoiceCancel) -> Outcome:
    """Annul what is not paid; ask for the release of money that is only held."""
    if invoice.status in OPEN:
        return Applied((Step("canceled", {"reason": command.reason}, events.InvoiceCanceled),))
    if invoice.status == "authorized":
        if invoice.capture == "automatic":
            return Illegal("capture_in_progress", "the held money is being taken; refund the invoice instead")
        return Applied((Step("void_requested", {"reason": command.reason}, events.InvoiceVoidRequested),))
    if _ENDED.get(invoice.status or "") == command.TYPE:
        return Duplicate()
    return Illegal("not_cancelable", f"an invoice that is {invoice.status} cannot be canceled")


def expire(invoice: Invoice, command: commands.InvoiceExpire, now: datetime) -> Outcome:
    """End an invoice whose time is over, by the clock of the one who decides."""
    if invoice.status in OPEN:
        if invoice.expires_at is not None and now < invoice.expires_at:
            return Illegal("not_due", f"the invoice can be paid until {invoice.expires_at.isoformat()}")
        return Applied((Step("expired", {}, events.InvoiceExpired),))
    if _ENDED.get(invoice.status or "") == command.TYPE:
        return Duplicate()
    return Stale(f"the invoice is {invoice.status}")


def capture(invoice: Invoice) -> Outcome:
    """Ask for money that is held; for automatic capture too, as it may have been refused the first time."""
    if invoice.status != "authorized":
        return Illegal("not_authorized", f"no money is held for an invoice that is {invoice.status}")
    return Applied((Step("capture_requested", {}, events.InvoiceCaptureRequested),))
