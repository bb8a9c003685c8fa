"""Commands about accounts themselves: opening a wallet, correcting the books by hand, settlements to the bank."""

from collections.abc import Callable

from billing_state_updater.domain import books
from billing_state_updater.domain.aggregates import Account
from billing_state_updater.domain.outcomes import Applied, Duplicate, Illegal, Outcome, Transfer
from copeck.contracts import commands


def open_wallet(command: commands.WalletOpen, account: Callable[[str, str], Account]) -> Outcome:
    """Open a wallet or a merchant's balance, with an opening balance where one is given."""
    if not books.is_materialised(command.account):
        return Illegal("not_a_wallet", f"{command.account} is not an account that can be opened")
    if account(command.account, command.currency).opened:
        return Duplicate()
    if not command.opening_minor:
        return Applied()
    source = f"opening:{command.opening_source}"
    return Applied((), (Transfer(source, command.account, command.opening_minor, command.currency, "opening"),))


def correct(command: commands.LedgerCorrect, booked: bool, balance: books.Balance) -> Outcome:
    """Move money by hand between two accounts of the chart, on the word of two people."""
    if booked:
        return Duplicate()
    if command.requested_by == command.approved_by:
        return Illegal("own_correction", "a correction is approved by somebody else than the one who asked for it")
    for account in (command.debit, command.credit):
        if not books.is_account(account):
            return Illegal("unknown_account", f"{account} is not in the chart of accounts")
    if command.debit == command.credit:
        return Illegal("same_account", "a transfer needs two accounts")
    transfer = Transfer(command.debit, command.credit, command.amount_minor, command.currency, "correction")
    if not books.affordable((transfer,), balance):
        return Illegal("insufficient_funds", f"{command.debit} has less than the correction takes")
    return Applied((), (transfer,))


def settle(command: commands.SettlementReport, booked: bool) -> Outcome:
    """Book what the acquirer paid to our bank, and what it kept."""
    if booked:
        return Duplicate()
    provider = books.provider_account(command.provider, command.shop)
    transfers = []
    if command.amount_minor:
        transfers.append(Transfer(books.BANK, provider, command.amount_minor, command.currency, "settlement"))
    if command.fee_minor:
        transfers.append(Transfer(books.ACQUIRING, provider, command.fee_minor, command.currency, "acquiring_fee"))
    return Applied((), tuple(transfers))
