"""Let an operator see that the outbox is not stuck, and nothing else of this schema.

Revision ID: 0002
Revises: 0001
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a view of two figures; the tables stay closed to everybody but this service."""
    op.execute("SET lock_timeout = '5s'")
    op.execute(
        "CREATE VIEW auth.outbox_status AS SELECT count(*) AS waiting, min(created_at) AS oldest_at FROM auth.outbox"
    )
    op.execute("GRANT USAGE ON SCHEMA auth TO operator")
    op.execute("GRANT SELECT ON auth.outbox_status TO operator")


def downgrade() -> None:
    """Take the view away."""
    op.execute("REVOKE USAGE ON SCHEMA auth FROM operator")
    op.execute("DROP VIEW auth.outbox_status")
