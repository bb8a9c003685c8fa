"""When a kind of due work was last looked for far back."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE reminders.ticks ADD COLUMN rechecked_at timestamptz;
        GRANT UPDATE (rechecked_at) ON reminders.ticks TO reminders;
        """
    )


def downgrade() -> None:
    op.execute("ALTER TABLE reminders.ticks DROP COLUMN rechecked_at")
