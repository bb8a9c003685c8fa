"""Refunds by the moment at which they were asked for, which their ids do not tell when a late payment caused them.

Revision ID: 0006
Revises: 0005
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add an index over a column that never changes. Writers of refunds wait while it is built."""
    op.execute("SET lock_timeout = '5s'")
    op.execute("CREATE INDEX refunds_created ON state.refunds (created_at)")


def downgrade() -> None:
    """Drop it; no row is lost."""
    op.execute("SET lock_timeout = '5s'")
    op.execute("DROP INDEX state.refunds_created")
