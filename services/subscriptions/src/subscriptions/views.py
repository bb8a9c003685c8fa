"""The views of the State Storage that this service reads; their tables it never sees."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

metadata = sa.MetaData(schema="state_api")

_UUID = pg.UUID(as_uuid=True)
_MOMENT = sa.DateTime(timezone=True)

invoices = sa.Table(
    "invoices_v1",
    metadata,
    sa.Column("id", _UUID),
    sa.Column("version", sa.Integer),
    sa.Column("status", sa.Text),
    sa.Column("kind", sa.Text),
    sa.Column("product", sa.Text),
    sa.Column("account", sa.Text),
    sa.Column("payer", sa.Text),
    sa.Column("amount_minor", sa.BigInteger),
    sa.Column("refunded_minor", sa.BigInteger),
    sa.Column("refunding_minor", sa.BigInteger),
    sa.Column("currency", sa.Text),
    sa.Column("description", sa.Text),
    sa.Column("late_policy", sa.Text),
    sa.Column("capture", sa.Text),
    sa.Column("expires_at", _MOMENT),
    sa.Column("references", pg.JSONB),
    sa.Column("method", sa.Text),
    sa.Column("failure_code", sa.Text),
    sa.Column("failure_reason", sa.Text),
    sa.Column("reason", sa.Text),
    sa.Column("issued_at", _MOMENT),
    sa.Column("updated_at", _MOMENT),
)

invoice_events = sa.Table(
    "invoice_events_v1",
    metadata,
    sa.Column("invoice_id", _UUID),
    sa.Column("version", sa.Integer),
    sa.Column("event", sa.Text),
    sa.Column("status", sa.Text),
    sa.Column("cause_id", _UUID),
    sa.Column("cause_type", sa.Text),
    sa.Column("actor", sa.Text),
    sa.Column("at", _MOMENT),
)

payments = sa.Table(
    "payments_v1",
    metadata,
    sa.Column("invoice_id", _UUID),
    sa.Column("id", _UUID),
    sa.Column("provider", sa.Text),
    sa.Column("status", sa.Text),
    sa.Column("amount_minor", sa.BigInteger),
    sa.Column("currency", sa.Text),
    sa.Column("method", sa.Text),
    sa.Column("failure_code", sa.Text),
    sa.Column("failure_reason", sa.Text),
    sa.Column("created_at", _MOMENT),
    sa.Column("updated_at", _MOMENT),
)

refunds = sa.Table(
    "refunds_v1",
    metadata,
    sa.Column("invoice_id", _UUID),
    sa.Column("id", _UUID),
    sa.Column("status", sa.Text),
    sa.Column("origin", sa.Text),
    sa.Column("amount_minor", sa.BigInteger),
    sa.Column("currency", sa.Text),
    sa.Column("provider", sa.Text),
    sa.Column("reason", sa.Text),
    sa.Column("failure_code", sa.Text),
    sa.Column("failure_reason", sa.Text),
    sa.Column("created_at", _MOMENT),
    sa.Column("updated_at", _MOMENT),
)

transfers = sa.Table(
    "transfers_v1",
    metadata,
    sa.Column("aggregate_id", _UUID),
    sa.Column("cause_id", _UUID),
    sa.Column("n", sa.SmallInteger),
    sa.Column("debit_account", sa.Text),
    sa.Column("credit_account", sa.Text),
    sa.Column("amount_minor", sa.BigInteger),
    sa.Column("currency", sa.Text),
    sa.Column("kind", sa.Text),
    sa.Column("at", _MOMENT),
)

refusals = sa.Table(
    "refusals_v1",
    metadata,
    sa.Column("command_id", _UUID),
    sa.Column("command_type", sa.Text),
    sa.Column("code", sa.Text),
    sa.Column("detail", sa.Text),
    sa.Column("at", _MOMENT),
)
