"""Accounts of deleted machines that the broker has not taken away yet: their codes are not free before.

Revision ID: 0004
Revises: 0003
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the list; it is empty but for a moment, or while the broker is away."""
    op.execute("""
        CREATE TABLE devices.accounts_to_revoke (
            device_id text PRIMARY KEY,
            next_try_at timestamptz NOT NULL
        )
    """)
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON devices.accounts_to_revoke TO devices")


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE devices.accounts_to_revoke")
