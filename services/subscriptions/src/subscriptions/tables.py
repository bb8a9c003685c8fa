"""The tables of the schema `subscriptions`."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from copeck.storage.tables import dead_letter_table, idempotency_table, inbox_table, outbox_table

SCHEMA = "subscriptions"

metadata = sa.MetaData(schema=SCHEMA)

_UUID = pg.UUID(as_uuid=True)
_MOMENT = sa.DateTime(timezone=True)

products = sa.Table(
    "products",
    metadata,
    sa.Column("code", sa.Text, primary_key=True),
    sa.Column("title_ru", sa.Text, nullable=False),
    sa.Column("title_en", sa.Text, nullable=False),
    sa.Column("late_policy", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("created_at", _MOMENT, nullable=False),
)

plans = sa.Table(
    "plans",
    metadata,
    sa.Column("id", _UUID, primary_key=True),
    sa.Column("code", sa.Text, nullable=False, unique=True),
    sa.Column("product", sa.Text, sa.ForeignKey(products.c.code), nullable=False),
    sa.Column("title_ru", sa.Text, nullable=False),
    sa.Column("title_en", sa.Text, nullable=False),
    sa.Column("description_ru", sa.Text, nullable=False),
    sa.Column("description_en", sa.Text, nullable=False),
    sa.Column("on_sale", sa.Boolean, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("created_at", _MOMENT, nullable=False),
)

# The service's role may only SELECT and INSERT here: that a price is never edited is a fact of the database.
prices = sa.Table(
    "prices",
    metadata,
    sa.Column("id", _UUID, primary_key=True),
    sa.Column("plan_id", _UUID, sa.ForeignKey(plans.c.id), nullable=False),
    sa.Column("amount_minor", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("period_unit", sa.Text, nullable=False),
    sa.Column("period_count", sa.SmallInteger, nullable=False),
    sa.Column("trial_days", sa.SmallInteger, nullable=False),
    sa.Column("active_from", _MOMENT, nullable=False),
    sa.Column("created_at", _MOMENT, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.UniqueConstraint("plan_id", "active_from", name="prices_one_a_moment"),
)

subscriptions = sa.Table(
    "subscriptions",
    metadata,
    sa.Column("id", _UUID, primary_key=True),
    sa.Column("user_id", _UUID, nullable=False),
    sa.Column("plan_id", _UUID, sa.ForeignKey(plans.c.id), nullable=False),
    sa.Column("price_id", _UUID, sa.ForeignKey(prices.c.id), nullable=False),
    sa.Column("product", sa.Text, sa.ForeignKey(products.c.code), nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("created_at", _MOMENT, nullable=False),
    sa.Column("period_number", sa.Integer, nullable=False),
    sa.Column("anchor_at", _MOMENT),
    sa.Column("anchor_count", sa.Integer, nullable=False),
    sa.Column("period_start", _MOMENT),
    sa.Column("period_end", _MOMENT),
    sa.Column("trial_ends_at", _MOMENT),
    sa.Column("cancel_at_period_end", sa.Boolean, nullable=False),
    sa.Column("deadline_at", _MOMENT),
    sa.Column("paused_at", _MOMENT),
    sa.Column("ended_at", _MOMENT),
    sa.Column("reason", sa.Text, nullable=False),
)

subscription_events = sa.Table(
    "subscription_events",
    metadata,
    sa.Column("subscription_id", _UUID, sa.ForeignKey(subscriptions.c.id), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("status_before", sa.Text),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("at", _MOMENT, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("cause_id", _UUID),
    sa.Column("data", pg.JSONB, nullable=False),
)

period_invoices = sa.Table(
    "period_invoices",
    metadata,
    sa.Column("invoice_id", _UUID, primary_key=True),
    sa.Column("subscription_id", _UUID, sa.ForeignKey(subscriptions.c.id), nullable=False),
    sa.Column("user_id", _UUID, nullable=False),
    sa.Column("period_number", sa.Integer, nullable=False),
    sa.Column("price_id", _UUID, sa.ForeignKey(prices.c.id), nullable=False),
    sa.Column("late_policy", sa.Text, nullable=False),
    # open: waits for payment. paid: bought the period. annulled: we took it back and issued another, or none.
    # dead: canceled or expired. returned: refunded in full or charged back. refused: paid, and sent back by us.
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("seen_version", sa.Integer, nullable=False),
    sa.Column("created_at", _MOMENT, nullable=False),
    sa.Column("expires_at", _MOMENT, nullable=False),
    sa.Column("starts_at", _MOMENT),
    sa.Column("ends_at", _MOMENT),
)

entitlements = sa.Table(
    "entitlements",
    metadata,
    sa.Column("id", _UUID, primary_key=True),
    sa.Column("subscription_id", _UUID, sa.ForeignKey(subscriptions.c.id), nullable=False),
    sa.Column("user_id", _UUID, nullable=False),
    sa.Column("product", sa.Text, nullable=False),
    sa.Column("invoice_id", _UUID),
    sa.Column("starts_at", _MOMENT, nullable=False),
    sa.Column("ends_at", _MOMENT, nullable=False),
    sa.Column("cut_at", _MOMENT),
    sa.Column("cut_reason", sa.Text, nullable=False, server_default=""),
)

# Append-only: a row says "look at this subscription then". Rows are deleted once looked at, never changed.
subscriptions_due = sa.Table(
    "subscriptions_due",
    metadata,
    sa.Column("due_at", _MOMENT, primary_key=True),
    sa.Column("subscription_id", _UUID, primary_key=True),
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

commands = sa.Table(
    "commands",
    metadata,
    sa.Column("id", _UUID, primary_key=True),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("invoice_id", _UUID, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("sent_at", _MOMENT, nullable=False),
)

outbox = outbox_table(metadata)
inbox = inbox_table(metadata)
idempotency = idempotency_table(metadata)
dead_letter_reasons = dead_letter_table(metadata)
