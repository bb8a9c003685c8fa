"""What an invoice is for, in each language that its issuer gave: the pay page speaks the payer's.

Revision ID: 0002
Revises: 0001
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the titles; code that does not know them goes on as before."""
    op.execute("ALTER TABLE gateway.invoices ADD COLUMN titles jsonb NOT NULL DEFAULT '{}'")


def downgrade() -> None:
    """Drop them."""
    op.execute("ALTER TABLE gateway.invoices DROP COLUMN titles")
