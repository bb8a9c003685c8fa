"""What an operator may do to the State Storage, and its record.

Revision ID: 0002
Revises: 0001
"""

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_SQL = Path(__file__).resolve().parents[1] / "sql"


def upgrade() -> None:
    """Add columns, the record and the functions; code of revision 0001 runs on it unchanged."""
    op.execute("SET lock_timeout = '5s'")
    with op.get_bind().connection.cursor() as cursor:
        cursor.execute((_SQL / "0002_operators.sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    """Refuse: the record of what people did is not to be dropped."""
    raise NotImplementedError("the record of operators' actions is not dropped")
