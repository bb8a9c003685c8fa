"""The State Storage: tables, partitions, views for readers, and who may write what.

Revision ID: 0001
Revises:
"""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_SQL = Path(__file__).resolve().parents[1] / "sql"


def upgrade() -> None:
    """Run the scripts in order: tables, then views, then rights."""
    with op.get_bind().connection.cursor() as cursor:
        for name in ("0001_tables.sql", "0001_views.sql", "0001_rights.sql"):
            cursor.execute((_SQL / name).read_text(encoding="utf-8"))


def downgrade() -> None:
    """Refuse: the books are not to be dropped by a command that is easy to type."""
    raise NotImplementedError("the State Storage is not dropped; restore a backup instead")
