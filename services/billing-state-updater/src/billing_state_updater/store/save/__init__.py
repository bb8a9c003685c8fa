"""Writing what a batch brought about: one set-based statement a table, columns through `unnest`."""

from billing_state_updater.store.save.book_rows import accounts, bookings, transfers
from billing_state_updater.store.save.chain_rows import refusals, transitions
from billing_state_updater.store.save.invoice_rows import invoices, payments, refunds
from billing_state_updater.store.save.message_rows import cursors, outbox, quarantine
from billing_state_updater.store.save.payout_rows import payouts

__all__ = [
    "accounts",
    "bookings",
    "cursors",
    "invoices",
    "outbox",
    "payments",
    "payouts",
    "quarantine",
    "refunds",
    "refusals",
    "transfers",
    "transitions",
]
