"""The one entry to all decisions: `decide(command, world, cause, now) -> Outcome`, pure."""

from collections.abc import Callable
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID

from billing_state_updater.domain import payouts, wallets
from billing_state_updater.domain.aggregates import Account, Invoice, Payout
from billing_state_updater.domain.invoices import payments, refunds, terms
from billing_state_updater.domain.outcomes import Illegal, Outcome, Poison
from copeck.contracts import commands
from copeck.contracts.base import Message


class World(Protocol):
    """What a decision may look at. An aggregate that does not exist comes back with version 0."""

    def invoice(self, id: UUID) -> Invoice:
        """Return an invoice."""
        ...

    def payout(self, id: UUID) -> Payout:
        """Return a payout."""
        ...

    def account(self, name: str, currency: str) -> Account:
        """Return a materialised account."""
        ...

    def balance(self, name: str, currency: str) -> int:
        """Return a materialised account's balance in minor units."""
        ...

    def is_booked(self, id: UUID) -> bool:
        """Tell whether a correction or a settlement is in the books."""
        ...


_UNKNOWN: Final = Illegal("unknown_aggregate", "nothing with this id exists")
Decide = Callable[[Message, World, UUID, datetime], Outcome]


def _on_invoice(command: commands.InvoiceCommand, world: World, cause: UUID, now: datetime) -> Outcome:
    invoice = world.invoice(command.invoice_id)
    match command:
        case commands.PaymentReport():
            return payments.report(invoice, command, cause)
        case commands.InvoiceIssue():
            return terms.issue(invoice, command)
        case commands.RefundReport():
            return refunds.report(invoice, command, cause, world.balance)
        case commands.DisputeReport():
            return refunds.dispute(invoice, command, world.balance)
        case commands.WalletPay():
            return payments.pay_from_wallet(invoice, command, world.balance)
    return _on_known_invoice(command, invoice, world, now) if invoice.version else _UNKNOWN


def _on_known_invoice(command: commands.InvoiceCommand, invoice: Invoice, world: World, now: datetime) -> Outcome:
    match command:
        case commands.InvoiceCancel():
            return terms.cancel(invoice, command)
        case commands.InvoiceExpire():
            return terms.expire(invoice, command, now)
        case commands.InvoiceCapture():
            return terms.capture(invoice)
        case commands.InvoiceRefund():
            return refunds.request(invoice, command, world.balance)
    return Poison(f"{command.TYPE} has no decision")


def _on_payout(command: commands.PayoutCommand, world: World) -> Outcome:
    payout = world.payout(command.payout_id)
    match command:
        case commands.PayoutRequest():
            return payouts.request(payout, command, world.balance)
        case commands.PayoutReport():
            return payouts.report(payout, command, world.balance)
    if not payout.version:
        return _UNKNOWN
    match command:
        case commands.PayoutSubmit():
            return payouts.submit(payout, world.balance)
        case commands.PayoutApprove():
            return payouts.approve(payout, command, world.balance)
        case commands.PayoutCancel():
            return payouts.cancel(payout, command)
        case commands.PayoutRetry():
            return payouts.retry(payout, world.balance)
    return Poison(f"{command.TYPE} has no decision")


def decide(command: Message, world: World, cause: UUID, now: datetime) -> Outcome:
    """Say what a command does in this world; `cause` is its message id, and ids of what it makes follow from it."""
    match command:
        case commands.InvoiceCommand():
            return _on_invoice(command, world, cause, now)
        case commands.PayoutCommand():
            return _on_payout(command, world)
        case commands.WalletOpen():
            return wallets.open_wallet(command, world.account)
        case commands.LedgerCorrect():
            return wallets.correct(command, world.is_booked(command.correction_id), world.balance)
        case commands.SettlementReport():
            return wallets.settle(command, world.is_booked(command.settlement_id))
    return Poison(f"{type(command).__name__} is not a command of the state updater")
