"""The gateway's schema: projection of invoices, attempts, callbacks, operations, what was said to providers.

Revision ID: 0001
Revises:
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE gateway.invoices (
    invoice_id uuid PRIMARY KEY,
    version integer NOT NULL CHECK (version >= 1),
    status text NOT NULL,
    kind text NOT NULL,
    product text NOT NULL,
    account text NOT NULL,
    payer text NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    currency text NOT NULL,
    description text NOT NULL,
    capture text NOT NULL,
    expires_at timestamptz NOT NULL,
    failure_code text NOT NULL,
    failure_reason text NOT NULL,
    correlation_id text,
    updated_at timestamptz NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE gateway.attempts (
    payment_id uuid PRIMARY KEY,
    invoice_id uuid NOT NULL,
    account text NOT NULL,
    provider text NOT NULL,
    shop text NOT NULL,
    idempotency_key text NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    currency text NOT NULL,
    status text NOT NULL
        CHECK (status IN ('created', 'pending', 'authorized', 'succeeded', 'failed', 'canceled', 'unknown')),
    transaction_id text,
    method text NOT NULL DEFAULT '',
    failure_code text NOT NULL DEFAULT '',
    failure_reason text NOT NULL DEFAULT '',
    decline text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX attempts_invoice ON gateway.attempts (invoice_id);

CREATE TABLE gateway.attempts_due (
    due_at timestamptz NOT NULL,
    payment_id uuid NOT NULL,
    PRIMARY KEY (due_at, payment_id)
);

CREATE TABLE gateway.transactions (
    provider text NOT NULL,
    shop text NOT NULL,
    transaction_id text NOT NULL,
    payment_id uuid NOT NULL,
    invoice_id uuid NOT NULL,
    PRIMARY KEY (provider, shop, transaction_id)
);

-- What a provider said once, for ever: the second time it has no effect (permanent keys, beyond any inbox).
CREATE TABLE gateway.facts (
    provider text NOT NULL,
    shop text NOT NULL,
    transaction_id text NOT NULL,
    kind text NOT NULL,
    source text NOT NULL,
    learned_at timestamptz NOT NULL,
    PRIMARY KEY (provider, shop, transaction_id, kind)
);

CREATE TABLE gateway.callbacks (
    received_at timestamptz NOT NULL,
    id uuid NOT NULL,
    provider text NOT NULL,
    shop text NOT NULL,
    kind text NOT NULL,
    method text NOT NULL,
    headers jsonb NOT NULL,
    body bytea NOT NULL,
    sealed bytea,
    verdict text NOT NULL,
    answer smallint,
    reason text,
    invoice_id uuid,
    payment_id uuid,
    transaction_id text,
    report_id uuid,
    PRIMARY KEY (received_at, id)
) PARTITION BY RANGE (received_at);
CREATE INDEX callbacks_invoice ON gateway.callbacks (invoice_id);
CREATE TABLE gateway.callbacks_default PARTITION OF gateway.callbacks DEFAULT;

CREATE TABLE gateway.forged_callbacks (
    id uuid PRIMARY KEY,
    received_at timestamptz NOT NULL,
    provider text NOT NULL,
    shop text NOT NULL,
    kind text NOT NULL,
    method text NOT NULL,
    peer text NOT NULL,
    headers jsonb NOT NULL,
    body bytea NOT NULL,
    skipped integer NOT NULL
);

CREATE TABLE gateway.operations (
    id uuid PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('refund', 'void', 'confirm', 'status_query')),
    invoice_id uuid NOT NULL,
    payment_id uuid,
    refund_id uuid,
    account text NOT NULL,
    provider text NOT NULL,
    shop text NOT NULL,
    transaction_id text,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    currency text NOT NULL,
    idempotency_key text NOT NULL UNIQUE,
    status text NOT NULL CHECK (status IN ('ready', 'calling', 'pending', 'unknown', 'succeeded', 'failed')),
    lease_token uuid,
    leased_until timestamptz,
    attempts integer NOT NULL DEFAULT 0,
    next_at timestamptz NOT NULL,
    first_sent_at timestamptz,
    result_transaction_id text,
    outcome text,
    failure_code text NOT NULL DEFAULT '',
    failure_reason text NOT NULL DEFAULT '',
    reported text,
    cause_id uuid,
    correlation_id text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX operations_invoice ON gateway.operations (invoice_id);

CREATE TABLE gateway.operations_due (
    due_at timestamptz NOT NULL,
    operation_id uuid NOT NULL,
    PRIMARY KEY (due_at, operation_id)
);

CREATE TABLE gateway.requests (
    at timestamptz NOT NULL,
    id uuid NOT NULL,
    operation_id uuid,
    invoice_id uuid,
    provider text NOT NULL,
    shop text NOT NULL,
    idempotency_key text,
    method text NOT NULL,
    path text NOT NULL,
    request jsonb NOT NULL,
    response jsonb,
    status_code smallint,
    error text,
    duration_ms integer NOT NULL,
    PRIMARY KEY (at, id)
) PARTITION BY RANGE (at);
CREATE INDEX requests_invoice ON gateway.requests (invoice_id);
CREATE TABLE gateway.requests_default PARTITION OF gateway.requests DEFAULT;

CREATE TABLE gateway.outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id uuid NOT NULL,
    exchange text NOT NULL,
    routing_key text NOT NULL,
    headers jsonb NOT NULL,
    body bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);

CREATE TABLE gateway.inbox (
    day date NOT NULL,
    id uuid NOT NULL,
    PRIMARY KEY (day, id)
) PARTITION BY RANGE (day);
CREATE TABLE gateway.inbox_default PARTITION OF gateway.inbox DEFAULT;

CREATE TABLE gateway.idempotency (
    scope text NOT NULL,
    key text NOT NULL,
    request_hash text NOT NULL,
    status smallint,
    body json,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (scope, key)
);

CREATE TABLE gateway.dead_letter_reasons (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id text NOT NULL,
    queue text NOT NULL,
    type text NOT NULL DEFAULT '',
    reason text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
"""

# The service may not create tables; this function, which runs as the owner, lets it keep its partitions in order.
PARTITIONS = """
CREATE FUNCTION gateway.maintain_partitions(callbacks_kept_days integer, inbox_kept_days integer)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    parent text;
    first_day date;
    kept_days integer;
    child record;
    changed integer := 0;
BEGIN
    IF callbacks_kept_days < 7 OR inbox_kept_days < 7 THEN
        RAISE EXCEPTION 'nothing younger than 7 days is dropped';
    END IF;
    FOREACH parent IN ARRAY ARRAY['callbacks', 'requests', 'inbox'] LOOP
        FOR month IN 0..2 LOOP
            first_day := (date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => month))::date;
            IF to_regclass(format('gateway.%I', parent || to_char(first_day, '_YYYY_MM'))) IS NULL THEN
                EXECUTE format('CREATE TABLE gateway.%I PARTITION OF gateway.%I FOR VALUES FROM (%L) TO (%L)',
                    parent || to_char(first_day, '_YYYY_MM'), parent, first_day,
                    (first_day + interval '1 month')::date);
                changed := changed + 1;
            END IF;
        END LOOP;
        kept_days := CASE parent WHEN 'inbox' THEN inbox_kept_days ELSE callbacks_kept_days END;
        FOR child IN
            SELECT c.relname FROM pg_inherits i
            JOIN pg_class c ON c.oid = i.inhrelid
            WHERE i.inhparent = format('gateway.%I', parent)::regclass AND c.relname ~ '_[0-9]{4}_[0-9]{2}$'
        LOOP
            first_day := to_date(right(child.relname, 7), 'YYYY_MM');
            IF (first_day + interval '1 month') < (now() AT TIME ZONE 'UTC') - make_interval(days => kept_days) THEN
                EXECUTE format('DROP TABLE gateway.%I', child.relname);
                changed := changed + 1;
            END IF;
        END LOOP;
    END LOOP;
    RETURN changed;
END $$;
"""

GRANTS = """
GRANT SELECT, INSERT, UPDATE ON gateway.invoices, gateway.attempts, gateway.operations, gateway.idempotency TO gateway;
GRANT SELECT, INSERT ON gateway.transactions, gateway.facts, gateway.callbacks, gateway.requests, gateway.inbox,
    gateway.dead_letter_reasons TO gateway;
GRANT SELECT, INSERT, DELETE ON gateway.attempts_due, gateway.operations_due, gateway.outbox, gateway.forged_callbacks
    TO gateway;
GRANT DELETE ON gateway.idempotency TO gateway;
GRANT EXECUTE ON FUNCTION gateway.maintain_partitions(integer, integer) TO gateway;
GRANT SELECT ON ALL TABLES IN SCHEMA gateway TO operator;
"""


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(PARTITIONS)
    op.execute("SELECT gateway.maintain_partitions(400, 30)")
    op.execute(GRANTS)


def downgrade() -> None:
    op.execute("DROP FUNCTION gateway.maintain_partitions(integer, integer)")
    for table in (
        "dead_letter_reasons", "idempotency", "inbox", "outbox", "requests", "operations_due", "operations",
        "forged_callbacks", "callbacks", "facts", "transactions", "attempts_due", "attempts", "invoices",
    ):  # fmt: skip
        op.execute(f"DROP TABLE gateway.{table}")
