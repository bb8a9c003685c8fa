"""Approval of drafts, and the commission of refunds that were made after all.

Revision ID: 0003
Revises: 0002
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column with a default: code of the revision before goes on writing rows without it."""
    op.execute("SET lock_timeout = '5s'")
    op.execute("ALTER TABLE state.payouts ADD COLUMN needs_approval boolean NOT NULL DEFAULT false")
    op.execute("GRANT UPDATE (commission_minor) ON state.refunds TO state_updater")


def downgrade() -> None:
    """Drop the column; drafts forget that they need approval."""
    op.execute("SET lock_timeout = '5s'")
    op.execute("REVOKE UPDATE (commission_minor) ON state.refunds FROM state_updater")
    op.execute("ALTER TABLE state.payouts DROP COLUMN needs_approval")
