"""Claims of due work, the ticks that look for it, and the outbox."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        -- One row a piece of due work, by whoever is first: the primary key is what keeps it from being done twice.
        CREATE TABLE reminders.claims (
            kind text NOT NULL CHECK (kind ~ '^[a-z]+([._][a-z]+)*$'),
            subject uuid NOT NULL,
            due_at timestamptz NOT NULL,
            message_id uuid NOT NULL,
            attempts integer NOT NULL DEFAULT 1 CHECK (attempts > 0),
            claimed_at timestamptz NOT NULL,
            PRIMARY KEY (kind, subject, due_at)
        ) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
        CREATE INDEX claims_claimed_at ON reminders.claims USING brin (claimed_at);

        -- One row a kind of work: up to where it was looked for, and when that last happened.
        CREATE TABLE reminders.ticks (
            kind text PRIMARY KEY,
            scanned_to timestamptz NOT NULL,
            last_run_at timestamptz NOT NULL,
            last_claimed integer NOT NULL DEFAULT 0
        ) WITH (fillfactor = 50);

        CREATE TABLE reminders.outbox (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            message_id uuid NOT NULL,
            exchange text NOT NULL,
            routing_key text NOT NULL,
            headers jsonb NOT NULL,
            body bytea NOT NULL,
            created_at timestamptz NOT NULL DEFAULT clock_timestamp()
        ) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 500);

        GRANT SELECT, INSERT, UPDATE (message_id, attempts, claimed_at), DELETE ON reminders.claims TO reminders;
        GRANT SELECT, INSERT, UPDATE (scanned_to, last_run_at, last_claimed) ON reminders.ticks TO reminders;
        GRANT SELECT, INSERT, DELETE ON reminders.outbox TO reminders;
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE reminders.outbox, reminders.ticks, reminders.claims")
