"""The tables of the schema `devices`."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from copeck.storage.tables import dead_letter_table, idempotency_table, inbox_table, outbox_table

SCHEMA = "devices"

metadata = sa.MetaData(schema=SCHEMA)

_UUID = pg.UUID(as_uuid=True)
_MOMENT = sa.DateTime(timezone=True)

merchants = sa.Table(
    "merchants",
    metadata,
    sa.Column("id", _UUID, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("owner", _UUID, unique=True),
    sa.Column("active_until", _MOMENT),
    sa.Column("mode", sa.Text, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("commission_bps", sa.Integer, nullable=False),
    sa.Column("order_ttl_s", sa.Integer, nullable=False),
    sa.Column("brew_timeout_s", sa.Integer, nullable=False),
    sa.Column("failures_max", sa.Integer, nullable=False),
    sa.Column("selling", sa.Boolean, nullable=False),
    sa.Column("payout_details", pg.JSONB, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("created_at", _MOMENT, nullable=False),
    sa.Column("updated_at", _MOMENT, nullable=False),
)

key_numbers = sa.Sequence("key_numbers", schema=SCHEMA)

devices = sa.Table(
    "devices",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("merchant_id", _UUID, sa.ForeignKey(merchants.c.id), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("location", sa.Text, nullable=False),
    sa.Column("time_zone", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("driver", pg.JSONB, nullable=False),
    sa.Column("payment_scenario", sa.Text, nullable=False),
    sa.Column("texts", pg.JSONB, nullable=False),
    sa.Column("selling", sa.Boolean, nullable=False),
    sa.Column("stopped_reason", sa.Text),
    sa.Column("stopped_by", sa.Text),
    sa.Column("stopped_at", _MOMENT),
    sa.Column("failures_in_row", sa.Integer, nullable=False),
    sa.Column("price_rule", sa.Text, nullable=False),
    # Which of the machine's keys is in use; the key itself is derived from the service's secret and never stored. No
    # number is used twice, so that a code which is taken again has another key than its first machine.
    sa.Column("key_number", sa.Integer, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("created_at", _MOMENT, nullable=False),
    sa.Column("updated_at", _MOMENT, nullable=False),
)

# Codes of deleted machines whose account the broker still has; nobody else is given such a code.
accounts_to_revoke = sa.Table(
    "accounts_to_revoke",
    metadata,
    sa.Column("device_id", sa.Text, primary_key=True),
    sa.Column("next_try_at", _MOMENT, nullable=False),
)

# Written at each heartbeat: narrow, half empty, and without an index beside its key.
device_states = sa.Table(
    "device_states",
    metadata,
    sa.Column("device_id", sa.Text, sa.ForeignKey(devices.c.id), primary_key=True),
    sa.Column("online", sa.Boolean, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("error_code", sa.Text, nullable=False),
    sa.Column("heartbeat_at", _MOMENT),
    sa.Column("reported_at", _MOMENT),
)

drinks = sa.Table(
    "drinks",
    metadata,
    sa.Column("device_id", sa.Text, sa.ForeignKey(devices.c.id), primary_key=True),
    sa.Column("drink_id", sa.Text, primary_key=True),
    sa.Column("size", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("price_minor", sa.BigInteger),
    sa.Column("telemetry_price_minor", sa.BigInteger),
    sa.Column("telemetry_at", _MOMENT),
    sa.Column("available", sa.Boolean, nullable=False),
    sa.Column("stopped_reason", sa.Text),
    sa.Column("sold_out", sa.Boolean, nullable=False),
    sa.Column("vat_code", sa.SmallInteger),
    sa.Column("payment_subject", sa.Text),
    sa.Column("payment_method", sa.Text),
    sa.Column("measure", sa.Text),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("updated_at", _MOMENT, nullable=False),
)

orders = sa.Table(
    "orders",
    metadata,
    sa.Column("id", _UUID, primary_key=True),
    sa.Column("device_id", sa.Text, sa.ForeignKey(devices.c.id), nullable=False),
    sa.Column("merchant_id", _UUID, sa.ForeignKey(merchants.c.id), nullable=False),
    sa.Column("mode", sa.Text, nullable=False),
    sa.Column("drink_id", sa.Text, nullable=False),
    sa.Column("size", sa.Text, nullable=False),
    sa.Column("drink_name", sa.Text, nullable=False),
    sa.Column("price_minor", sa.BigInteger, nullable=False),
    sa.Column("commission_minor", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("fiscal", pg.JSONB, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("receipt_address", sa.Text),
    sa.Column("language", sa.Text, nullable=False),
    sa.Column("machine_order_id", sa.Text),
    sa.Column("invoice_id", _UUID, nullable=False, unique=True),
    sa.Column("invoice_version", sa.Integer, nullable=False),
    sa.Column("expires_at", _MOMENT, nullable=False),
    sa.Column("brew_timeout_s", sa.Integer, nullable=False),
    sa.Column("paid_at", _MOMENT),
    sa.Column("brew_by", _MOMENT),
    sa.Column("refund_status", sa.Text),
    sa.Column("refund_id", _UUID),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("created_at", _MOMENT, nullable=False),
    sa.Column("updated_at", _MOMENT, nullable=False),
    sa.UniqueConstraint("device_id", "machine_order_id", name="orders_one_a_machine_order"),
)

order_history = sa.Table(
    "order_history",
    metadata,
    sa.Column("order_id", _UUID, sa.ForeignKey(orders.c.id), primary_key=True),
    sa.Column("n", sa.Integer, primary_key=True),
    sa.Column("at", _MOMENT, nullable=False),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
)

brew_commands = sa.Table(
    "brew_commands",
    metadata,
    sa.Column("id", _UUID, primary_key=True),
    sa.Column("order_id", _UUID, sa.ForeignKey(orders.c.id), nullable=False, unique=True),
    sa.Column("device_id", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("issued_at", _MOMENT, nullable=False),
    sa.Column("expires_at", _MOMENT, nullable=False),
    sa.Column("brew_by", _MOMENT, nullable=False),
    sa.Column("sent_count", sa.Integer, nullable=False),
    sa.Column("next_send_at", _MOMENT),
    sa.Column("decide_at", _MOMENT),
    sa.Column("accepted_at", _MOMENT),
    sa.Column("revoke_by", _MOMENT),
    sa.Column("finished_at", _MOMENT),
    sa.Column("last_code", sa.Text, nullable=False),
    sa.Column("will_be", sa.Text, nullable=False),
)

brew_reports = sa.Table(
    "brew_reports",
    metadata,
    sa.Column("command_id", _UUID, primary_key=True),
    sa.Column("state", sa.Text, primary_key=True),
    sa.Column("at", _MOMENT, primary_key=True),
    sa.Column("device_id", sa.Text, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("received_at", _MOMENT, nullable=False),
    sa.Column("raw", pg.JSONB, nullable=False),
)

incidents = sa.Table(
    "incidents",
    metadata,
    sa.Column("id", _UUID, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("order_id", _UUID, sa.ForeignKey(orders.c.id)),
    sa.Column("device_id", sa.Text, nullable=False),
    sa.Column("detail", pg.JSONB, nullable=False),
    sa.Column("at", _MOMENT, nullable=False),
    sa.Column("closed_at", _MOMENT),
    sa.Column("closed_by", sa.Text),
    sa.Column("note", sa.Text, nullable=False, server_default=""),
)

receipts = sa.Table(
    "receipts",
    metadata,
    sa.Column("order_id", _UUID, sa.ForeignKey(orders.c.id), primary_key=True),
    # receipt: the coffee was made. refund: the money is on its way back.
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("next_try_at", _MOMENT),
    sa.Column("sent_at", _MOMENT),
    sa.Column("last_error", sa.Text, nullable=False, server_default=""),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("at", _MOMENT, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("client", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("subject_kind", sa.Text, nullable=False),
    sa.Column("subject_id", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("before", pg.JSONB),
    sa.Column("after", pg.JSONB),
    sa.Column("correlation_id", sa.Text),
)

outbox = outbox_table(metadata)
inbox = inbox_table(metadata)
idempotency = idempotency_table(metadata)
dead_letter_reasons = dead_letter_table(metadata)
