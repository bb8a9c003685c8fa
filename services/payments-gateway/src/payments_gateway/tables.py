"""The tables of schema `gateway`. What changes carries no index; what grows is partitioned by time and append-only."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from copeck.storage.tables import dead_letter_table, idempotency_table, inbox_table, outbox_table

metadata = sa.MetaData(schema="gateway")

_uuid = pg.UUID(as_uuid=True)
_moment = sa.DateTime(timezone=True)

invoices = sa.Table(
    "invoices",
    metadata,
    sa.Column("invoice_id", _uuid, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("product", sa.Text, nullable=False),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("payer", sa.Text, nullable=False),
    sa.Column("amount_minor", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("capture", sa.Text, nullable=False),
    sa.Column("expires_at", _moment, nullable=False),
    sa.Column("failure_code", sa.Text, nullable=False),
    sa.Column("failure_reason", sa.Text, nullable=False),
    sa.Column("correlation_id", sa.Text),
    sa.Column("updated_at", _moment, nullable=False),
    sa.Column("titles", pg.JSONB, nullable=False),
    sa.Column("beneficiary", sa.Text, nullable=False, server_default=""),
)

merchant_shops = sa.Table(
    "merchant_shops",
    metadata,
    sa.Column("shop", sa.Text, primary_key=True),
    sa.Column("merchant_id", _uuid, nullable=False),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("public_id", sa.Text, nullable=False),
    sa.Column("secret_sealed", sa.LargeBinary, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("created_at", _moment, nullable=False),
    sa.Column("updated_at", _moment, nullable=False),
    sa.Column("updated_by", sa.Text, nullable=False),
    sa.Column("retired_at", _moment),
)

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("payment_id", _uuid, primary_key=True),
    sa.Column("invoice_id", _uuid, nullable=False, index=True),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("shop", sa.Text, nullable=False),
    sa.Column("idempotency_key", sa.Text, nullable=False),
    sa.Column("amount_minor", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("transaction_id", sa.Text),
    sa.Column("method", sa.Text, nullable=False),
    sa.Column("failure_code", sa.Text, nullable=False),
    sa.Column("failure_reason", sa.Text, nullable=False),
    sa.Column("decline", sa.Text),
    sa.Column("created_at", _moment, nullable=False),
    sa.Column("updated_at", _moment, nullable=False),
)

attempts_due = sa.Table(
    "attempts_due",
    metadata,
    sa.Column("due_at", _moment, primary_key=True),
    sa.Column("payment_id", _uuid, primary_key=True),
)

transactions = sa.Table(
    "transactions",
    metadata,
    sa.Column("provider", sa.Text, primary_key=True),
    sa.Column("shop", sa.Text, primary_key=True),
    sa.Column("transaction_id", sa.Text, primary_key=True),
    sa.Column("payment_id", _uuid, nullable=False),
    sa.Column("invoice_id", _uuid, nullable=False),
)

facts = sa.Table(
    "facts",
    metadata,
    sa.Column("provider", sa.Text, primary_key=True),
    sa.Column("shop", sa.Text, primary_key=True),
    sa.Column("transaction_id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("learned_at", _moment, nullable=False),
)

callbacks = sa.Table(
    "callbacks",
    metadata,
    sa.Column("received_at", _moment, primary_key=True),
    sa.Column("id", _uuid, primary_key=True),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("shop", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("method", sa.Text, nullable=False),
    sa.Column("headers", pg.JSONB, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("sealed", sa.LargeBinary),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("answer", sa.SmallInteger),
    sa.Column("reason", sa.Text),
    sa.Column("invoice_id", _uuid),
    sa.Column("payment_id", _uuid),
    sa.Column("transaction_id", sa.Text),
    sa.Column("report_id", _uuid),
)

forged_callbacks = sa.Table(
    "forged_callbacks",
    metadata,
    sa.Column("id", _uuid, primary_key=True),
    sa.Column("received_at", _moment, nullable=False),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("shop", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("method", sa.Text, nullable=False),
    sa.Column("peer", sa.Text, nullable=False),
    sa.Column("headers", pg.JSONB, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("skipped", sa.Integer, nullable=False),
)

operations = sa.Table(
    "operations",
    metadata,
    sa.Column("id", _uuid, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("invoice_id", _uuid, index=True),
    sa.Column("payment_id", _uuid),
    sa.Column("refund_id", _uuid),
    sa.Column("payout_id", _uuid),
    sa.Column("payout_attempt", sa.Integer),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("shop", sa.Text, nullable=False),
    sa.Column("transaction_id", sa.Text),
    sa.Column("amount_minor", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("idempotency_key", sa.Text, nullable=False, unique=True),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("lease_token", _uuid),
    sa.Column("leased_until", _moment),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("next_at", _moment, nullable=False),
    sa.Column("first_sent_at", _moment),
    sa.Column("result_transaction_id", sa.Text),
    sa.Column("outcome", sa.Text),
    sa.Column("failure_code", sa.Text, nullable=False),
    sa.Column("failure_reason", sa.Text, nullable=False),
    sa.Column("reported", sa.Text),
    sa.Column("cause_id", _uuid),
    sa.Column("correlation_id", sa.Text),
    sa.Column("created_at", _moment, nullable=False),
    sa.Column("updated_at", _moment, nullable=False),
)

operations_due = sa.Table(
    "operations_due",
    metadata,
    sa.Column("due_at", _moment, primary_key=True),
    sa.Column("operation_id", _uuid, primary_key=True),
)

requests = sa.Table(
    "requests",
    metadata,
    sa.Column("at", _moment, primary_key=True),
    sa.Column("id", _uuid, primary_key=True),
    sa.Column("operation_id", _uuid),
    sa.Column("invoice_id", _uuid),
    sa.Column("payout_id", _uuid),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("shop", sa.Text, nullable=False),
    sa.Column("idempotency_key", sa.Text),
    sa.Column("method", sa.Text, nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("request", pg.JSONB, nullable=False),
    sa.Column("response", pg.JSONB),
    sa.Column("status_code", sa.SmallInteger),
    sa.Column("error", sa.Text),
    sa.Column("duration_ms", sa.Integer, nullable=False),
)

reconciled = sa.Table(
    "reconciled",
    metadata,
    sa.Column("provider", sa.Text, primary_key=True),
    sa.Column("shop", sa.Text, primary_key=True),
    sa.Column("reconciled_to", _moment),
    sa.Column("tried_at", _moment),
)

switches = sa.Table(
    "switches",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("stopped", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("changed_by", sa.Text, nullable=False),
    sa.Column("changed_at", _moment, nullable=False),
)

commission_rules = sa.Table(
    "commission_rules",
    metadata,
    sa.Column("currency", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("rate_basis_points", sa.Integer, nullable=False),
    sa.Column("minimum_minor", sa.BigInteger, nullable=False),
    sa.Column("maximum_minor", sa.BigInteger),
    sa.Column("changed_by", sa.Text, nullable=False),
    sa.Column("changed_at", _moment, nullable=False),
)

wallet_payments = sa.Table(
    "wallet_payments",
    metadata,
    sa.Column("payment_id", _uuid, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("user_id", _uuid, nullable=False),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("invoice_id", _uuid),
    sa.Column("amount_minor", sa.BigInteger, nullable=False),
    sa.Column("commission_minor", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("refused_code", sa.Text),
    sa.Column("refused_reason", sa.Text),
    sa.Column("requested_at", _moment, nullable=False),
)

payout_requests = sa.Table(
    "payout_requests",
    metadata,
    sa.Column("payout_id", _uuid, primary_key=True),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("user_id", _uuid, nullable=False),
    sa.Column("requested_by", sa.Text, nullable=False),
    sa.Column("amount_minor", sa.BigInteger, nullable=False),
    sa.Column("commission_minor", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("shop", sa.Text, nullable=False),
    sa.Column("recipient_kind", sa.Text, nullable=False),
    sa.Column("recipient_masked", sa.Text, nullable=False),
    sa.Column("recipient_sealed", sa.LargeBinary, nullable=False),
    sa.Column("recipient_user_id", _uuid),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("draft", sa.Boolean, nullable=False),
    sa.Column("needs_approval", sa.Boolean, nullable=False),
    sa.Column("batch_id", _uuid),
    sa.Column("batch_line", sa.Integer),
    sa.Column("version", sa.Integer, nullable=False, server_default="1"),
    sa.Column("refused_code", sa.Text),
    sa.Column("refused_reason", sa.Text),
    sa.Column("requested_at", _moment, nullable=False),
    sa.Column("deleted_at", _moment),
    sa.Column("deleted_by", sa.Text),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("subject_kind", sa.Text, nullable=False),
    sa.Column("subject_id", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("detail", pg.JSONB, nullable=False),
    sa.Column("at", _moment, nullable=False),
)

payout_batches = sa.Table(
    "payout_batches",
    metadata,
    sa.Column("id", _uuid, primary_key=True),
    sa.Column("sha256", sa.Text, nullable=False, unique=True),
    sa.Column("file_name", sa.Text, nullable=False),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("lines", sa.Integer, nullable=False),
    sa.Column("bad_lines", sa.Integer, nullable=False),
    sa.Column("sent_lines", sa.Integer, nullable=False),
    sa.Column("amount_minor", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("uploaded_by", sa.Text, nullable=False),
    sa.Column("approved_by", sa.Text),
    sa.Column("uploaded_at", _moment, nullable=False),
    sa.Column("updated_at", _moment, nullable=False),
)

payout_batch_lines = sa.Table(
    "payout_batch_lines",
    metadata,
    sa.Column("batch_id", _uuid, primary_key=True),
    sa.Column("line", sa.Integer, primary_key=True),
    sa.Column("payout_id", _uuid),
    sa.Column("reasons", sa.Text),
    sa.Column("raw", sa.Text, nullable=False),
)

corrections = sa.Table(
    "corrections",
    metadata,
    sa.Column("id", _uuid, primary_key=True),
    sa.Column("debit", sa.Text, nullable=False),
    sa.Column("credit", sa.Text, nullable=False),
    sa.Column("amount_minor", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("requested_by", sa.Text, nullable=False),
    sa.Column("decided_by", sa.Text),
    sa.Column("refused_code", sa.Text),
    sa.Column("refused_reason", sa.Text),
    sa.Column("requested_at", _moment, nullable=False),
    sa.Column("decided_at", _moment),
)

compatibility_ids = sa.Table(
    "compatibility_ids",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True),
    sa.Column("id", _uuid, nullable=False),
)

outbox = outbox_table(metadata)
inbox = inbox_table(metadata)
idempotency = idempotency_table(metadata)
dead_letter_reasons = dead_letter_table(metadata)
