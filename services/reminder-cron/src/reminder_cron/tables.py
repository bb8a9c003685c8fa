"""The service's own tables, and the views of the State Storage that it reads."""

import sqlalchemy as sa

from copeck.storage.tables import outbox_table

SCHEMA = "reminders"
metadata = sa.MetaData(schema=SCHEMA)

claims = sa.Table(
    "claims",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("subject", sa.Uuid, primary_key=True),
    sa.Column("due_at", sa.DateTime(timezone=True), primary_key=True),
    sa.Column("message_id", sa.Uuid, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="1"),
    sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=False),
)

ticks = sa.Table(
    "ticks",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("scanned_to", sa.DateTime(timezone=True), nullable=False),
    sa.Column("last_run_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("last_claimed", sa.Integer, nullable=False, server_default="0"),
    sa.Column("rechecked_at", sa.DateTime(timezone=True)),
)

outbox = outbox_table(metadata)

# Not in the metadata: the view belongs to the state updater, and only its migrations change it.
invoices_due = sa.table(
    "invoices_due_v1",
    sa.column("due_at", sa.DateTime(timezone=True)),
    sa.column("invoice_id", sa.Uuid),
    sa.column("account", sa.Text),
    sa.column("status", sa.Text),
    schema="state_api",
)
