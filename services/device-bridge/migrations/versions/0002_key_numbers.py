"""A number for each key of a machine that no key had before: a code that is taken again begins with a new key.

Revision ID: 0002
Revises: 0001
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the sequence; it begins above every number that was counted up from one."""
    op.execute("CREATE SEQUENCE devices.key_numbers AS integer START WITH 1000000")
    op.execute("GRANT USAGE ON SEQUENCE devices.key_numbers TO devices")


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP SEQUENCE devices.key_numbers")
