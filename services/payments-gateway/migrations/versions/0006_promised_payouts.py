"""What of a provider's balance is promised already is looked up before another payout is announced.

Revision ID: 0006
Revises: 0005
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the indexes; code that does not know them goes on as before."""
    op.execute("""
-- Few rows at any moment: a payout leaves it when its call is over.
CREATE INDEX operations_announced ON gateway.operations (provider, shop, currency)
    WHERE kind = 'payout' AND reported = 'processing' AND status IN ('ready', 'calling')
""")
    op.execute("""
CREATE INDEX operations_payouts_sent ON gateway.operations (provider, shop, currency, first_sent_at)
    WHERE kind = 'payout' AND first_sent_at IS NOT NULL
""")


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP INDEX gateway.operations_announced")
    op.execute("DROP INDEX gateway.operations_payouts_sent")
