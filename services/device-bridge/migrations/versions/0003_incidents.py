"""Each refund that failed is an incident of its own: the second one of an order is not hidden by the first.

Revision ID: 0003
Revises: 0002
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Tell incidents of refunds apart by the refund."""
    op.execute("DROP INDEX devices.incidents_one_a_kind")
    op.execute("""
        CREATE UNIQUE INDEX incidents_one_a_kind
        ON devices.incidents (order_id, kind, coalesce(detail->>'refund_id', ''))
        WHERE order_id IS NOT NULL
    """)


def downgrade() -> None:
    """Back to one incident of a kind for each order; of those there are, the first stays."""
    op.execute("""
        DELETE FROM devices.incidents AS later USING devices.incidents AS first
        WHERE first.order_id = later.order_id AND first.kind = later.kind AND first.id < later.id
    """)
    op.execute("DROP INDEX devices.incidents_one_a_kind")
    op.execute("""
        CREATE UNIQUE INDEX incidents_one_a_kind ON devices.incidents (order_id, kind) WHERE order_id IS NOT NULL
    """)
