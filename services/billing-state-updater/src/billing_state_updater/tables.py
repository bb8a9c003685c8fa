"""Names and columns of the State Storage. Its tables are written in SQL (`migrations/sql`): the hot path has no ORM."""

from typing import Final

import sqlalchemy as sa

SCHEMA: Final = "state"
metadata = sa.MetaData(schema=SCHEMA)

INVOICE_HOT: Final = (
    "version",
    "status",
    "refunded_minor",
    "refunding_minor",
    "commission_returned_minor",
    "payment_id",
    "provider",
    "shop",
    "transaction",
    "method",
    "failure_code",
    "failure_reason",
    "reason",
)
"""Columns of an invoice that change."""

INVOICE_TERMS: Final = (
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
"""Columns of an invoice that are fixed at its issue."""

PAYOUT: Final = (
    "version",
    "status",
    "attempt",
    "outcome_unknown",
    "transaction",
    "last_error",
    "approved_by",
    "account",
    "amount_minor",
    "commission_minor",
    "currency",
    "provider",
    "shop",
    "recipient",
    "description",
    "requested_by",
    "needs_approval",
    "references",
)

STATE_TABLES: Final = (
    "invoices",
    "invoices_due",
    "transitions",
    "payments",
    "refunds",
    "payouts",
    "accounts",
    "transfers",
    "bookings",
    "refusals",
    "inbox",
    "outbox",
    "outbox_cursors",
    "quarantine",
    "shards",
    "shard_leases",
    "shard_owners",
)
"""Every table that only the role `state_updater` may write (I-01)."""
