"""How far each shop's list is compared with what was heard, so that an outage of any length leaves no gap.

Revision ID: 0003
Revises: 0002
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table; code that does not know it goes on as before."""
    op.execute("""
CREATE TABLE gateway.reconciled (
    provider text NOT NULL,
    shop text NOT NULL,
    reconciled_to timestamptz,
    -- When somebody set out to compare it; a shop whose list cannot be had must not stand before the others for ever.
    tried_at timestamptz,
    PRIMARY KEY (provider, shop)
)
""")
    op.execute("GRANT SELECT, INSERT, UPDATE ON gateway.reconciled TO gateway")
    op.execute("GRANT SELECT ON gateway.reconciled TO operator")


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE gateway.reconciled")
