"""Merchants' own shops, their secrets sealed; and for whom an invoice is: that decides at which shop it is paid.

Revision ID: 0005
Revises: 0004
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table and the column; code that does not know them goes on as before."""
    op.execute("ALTER TABLE gateway.invoices ADD COLUMN beneficiary text NOT NULL DEFAULT ''")
    op.execute("""
-- One row a contract: with another public id a merchant has another shop, and the earlier one still takes refunds.
CREATE TABLE gateway.merchant_shops (
    shop text PRIMARY KEY CHECK (shop ~ '^m-[0-9a-f]{32}-[0-9]{1,6}$'),
    merchant_id uuid NOT NULL,
    provider text NOT NULL,
    public_id text NOT NULL,
    -- Encrypted: whoever has it can take money back, and can tell us of payments that never were.
    secret_sealed bytea NOT NULL,
    version integer NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    updated_by text NOT NULL,
    retired_at timestamptz,
    UNIQUE (provider, public_id)
);
CREATE UNIQUE INDEX merchant_shops_current ON gateway.merchant_shops (merchant_id) WHERE retired_at IS NULL;
CREATE INDEX merchant_shops_merchant ON gateway.merchant_shops (merchant_id, created_at);
""")
    op.execute("GRANT SELECT, INSERT, UPDATE ON gateway.merchant_shops TO gateway")
    op.execute("GRANT SELECT ON gateway.merchant_shops TO operator")


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP TABLE gateway.merchant_shops")
    op.execute("ALTER TABLE gateway.invoices DROP COLUMN beneficiary")
