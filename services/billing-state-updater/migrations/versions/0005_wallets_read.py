"""What is read of wallets and payouts: a wallet's top-ups and history, and payouts by their last debit.

Revision ID: 0005
Revises: 0004
"""

from pathlib import Path

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_SQL = Path(__file__).resolve().parents[1] / "sql"


def upgrade() -> None:
    """Add two indexes and five views. Writers of invoices and transfers wait while the indexes are built."""
    op.execute("SET lock_timeout = '5s'")
    with op.get_bind().connection.cursor() as cursor:
        cursor.execute((_SQL / "0005_wallets_read.sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    """Drop them; no row is lost."""
    op.execute("SET lock_timeout = '5s'")
    for view in (
        "payouts_debited_v1",
        "wallet_transfers_v1",
        "wallet_credits_v1",
        "wallet_debits_v1",
        "wallet_topups_v1",
    ):
        op.execute(f"DROP VIEW state_api.{view}")
    op.execute("DROP INDEX state.transfers_payouts")
    op.execute("DROP INDEX state.invoices_wallet")
