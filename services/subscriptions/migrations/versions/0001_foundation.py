"""Products, plans, prices, subscriptions with their history and entitlements, audit, and the tables of the bus."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

CATALOGUE = """
CREATE TABLE subscriptions.products (
    code text PRIMARY KEY CHECK (code ~ '^[a-z][a-z0-9_-]{0,31}$'),
    title_ru text NOT NULL,
    title_en text NOT NULL,
    late_policy text NOT NULL CHECK (late_policy IN ('refund', 'wallet', 'accept')),
    version integer NOT NULL CHECK (version > 0),
    created_at timestamptz NOT NULL
);

CREATE TABLE subscriptions.plans (
    id uuid PRIMARY KEY,
    code text NOT NULL UNIQUE CHECK (code ~ '^[a-z][a-z0-9_-]{0,31}$'),
    product text NOT NULL REFERENCES subscriptions.products,
    title_ru text NOT NULL,
    title_en text NOT NULL,
    description_ru text NOT NULL,
    description_en text NOT NULL,
    on_sale boolean NOT NULL,
    version integer NOT NULL CHECK (version > 0),
    created_at timestamptz NOT NULL
);

CREATE TABLE subscriptions.prices (
    id uuid PRIMARY KEY,
    plan_id uuid NOT NULL REFERENCES subscriptions.plans,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    period_unit text NOT NULL CHECK (period_unit IN ('day', 'week', 'month', 'year')),
    period_count smallint NOT NULL CHECK (period_count BETWEEN 1 AND 366),
    trial_days smallint NOT NULL CHECK (trial_days BETWEEN 0 AND 366),
    active_from timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    created_by text NOT NULL,
    CONSTRAINT prices_one_a_moment UNIQUE (plan_id, active_from)
);
"""

SUBSCRIPTIONS = """
CREATE TABLE subscriptions.subscriptions (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL,
    plan_id uuid NOT NULL REFERENCES subscriptions.plans,
    price_id uuid NOT NULL REFERENCES subscriptions.prices,
    product text NOT NULL REFERENCES subscriptions.products,
    status text NOT NULL
        CHECK (status IN ('incomplete', 'trialing', 'active', 'past_due', 'paused', 'canceled', 'expired')),
    version integer NOT NULL CHECK (version > 0),
    created_at timestamptz NOT NULL,
    period_number integer NOT NULL CHECK (period_number >= 0),
    anchor_at timestamptz,
    anchor_count integer NOT NULL,
    period_start timestamptz,
    period_end timestamptz,
    trial_ends_at timestamptz,
    cancel_at_period_end boolean NOT NULL,
    deadline_at timestamptz,
    paused_at timestamptz,
    ended_at timestamptz,
    reason text NOT NULL,
    CHECK (status NOT IN ('trialing', 'active', 'paused') OR period_end IS NOT NULL),
    CHECK ((status = 'paused') = (paused_at IS NOT NULL)),
    CHECK ((status IN ('canceled', 'expired')) = (ended_at IS NOT NULL))
) WITH (fillfactor = 70);

-- A customer has one subscription to a product at a time; what is over does not count.
CREATE UNIQUE INDEX subscriptions_one_live ON subscriptions.subscriptions (user_id, product)
    WHERE status NOT IN ('canceled', 'expired');
CREATE INDEX subscriptions_by_user ON subscriptions.subscriptions (user_id, id);

CREATE TABLE subscriptions.subscription_events (
    subscription_id uuid NOT NULL REFERENCES subscriptions.subscriptions,
    version integer NOT NULL,
    event text NOT NULL,
    status_before text,
    status text NOT NULL,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    cause_id uuid,
    data jsonb NOT NULL,
    PRIMARY KEY (subscription_id, version)
);

CREATE TABLE subscriptions.period_invoices (
    invoice_id uuid PRIMARY KEY,
    subscription_id uuid NOT NULL REFERENCES subscriptions.subscriptions,
    user_id uuid NOT NULL,
    period_number integer NOT NULL CHECK (period_number > 0),
    price_id uuid NOT NULL REFERENCES subscriptions.prices,
    late_policy text NOT NULL CHECK (late_policy IN ('refund', 'wallet', 'accept')),
    state text NOT NULL CHECK (state IN ('open', 'paid', 'annulled', 'dead', 'returned', 'refused')),
    seen_version integer NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    starts_at timestamptz,
    ends_at timestamptz,
    CHECK (state <> 'paid' OR (starts_at IS NOT NULL AND ends_at > starts_at))
);

-- I-11: one invoice per (subscription, period): the one that waits for payment, or the one that was paid.
CREATE UNIQUE INDEX period_invoices_one_a_period ON subscriptions.period_invoices (subscription_id, period_number)
    WHERE state IN ('open', 'paid');
CREATE INDEX period_invoices_by_subscription ON subscriptions.period_invoices (subscription_id);
CREATE INDEX period_invoices_by_user ON subscriptions.period_invoices (user_id);

CREATE TABLE subscriptions.entitlements (
    id uuid PRIMARY KEY,
    subscription_id uuid NOT NULL REFERENCES subscriptions.subscriptions,
    user_id uuid NOT NULL,
    product text NOT NULL,
    invoice_id uuid UNIQUE,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    cut_at timestamptz,
    cut_reason text NOT NULL DEFAULT '',
    CHECK (ends_at >= starts_at)
);
CREATE INDEX entitlements_by_user ON subscriptions.entitlements (user_id, product, starts_at);
CREATE INDEX entitlements_by_subscription ON subscriptions.entitlements (subscription_id);

CREATE TABLE subscriptions.subscriptions_due (
    due_at timestamptz NOT NULL,
    subscription_id uuid NOT NULL,
    PRIMARY KEY (due_at, subscription_id)
);

CREATE TABLE subscriptions.audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    client text NOT NULL,
    action text NOT NULL,
    subject_kind text NOT NULL,
    subject_id text NOT NULL,
    reason text NOT NULL,
    before jsonb,
    after jsonb,
    correlation_id text
);
CREATE INDEX audit_by_subject ON subscriptions.audit (subject_kind, subject_id, id);

CREATE TABLE subscriptions.commands (
    id uuid PRIMARY KEY,
    type text NOT NULL,
    invoice_id uuid NOT NULL,
    actor text NOT NULL,
    sent_at timestamptz NOT NULL
);
"""

BUS = """
CREATE TABLE subscriptions.outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id uuid NOT NULL,
    exchange text NOT NULL,
    routing_key text NOT NULL,
    headers jsonb NOT NULL,
    body bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

CREATE TABLE subscriptions.inbox (
    day date NOT NULL,
    id uuid NOT NULL,
    PRIMARY KEY (day, id)
);

CREATE TABLE subscriptions.idempotency (
    scope text NOT NULL,
    key text NOT NULL,
    request_hash text NOT NULL,
    status smallint,
    body json,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (scope, key)
);
CREATE INDEX idempotency_by_age ON subscriptions.idempotency (created_at);

CREATE TABLE subscriptions.dead_letter_reasons (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id text NOT NULL,
    queue text NOT NULL,
    type text NOT NULL DEFAULT '',
    reason text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
"""

# What is a record of the past may be added to and read; nobody may change or delete it.
GRANTS = """
GRANT SELECT, INSERT ON
    subscriptions.prices, subscriptions.subscription_events, subscriptions.audit, subscriptions.commands,
    subscriptions.dead_letter_reasons
    TO subscriptions;
GRANT SELECT, INSERT, UPDATE ON
    subscriptions.products, subscriptions.plans, subscriptions.subscriptions, subscriptions.period_invoices,
    subscriptions.entitlements
    TO subscriptions;
GRANT SELECT, INSERT, UPDATE, DELETE ON
    subscriptions.subscriptions_due, subscriptions.outbox, subscriptions.inbox, subscriptions.idempotency
    TO subscriptions;
GRANT SELECT ON subscriptions.alembic_version TO subscriptions;
"""


def upgrade() -> None:
    for script in (CATALOGUE, SUBSCRIPTIONS, BUS, GRANTS):
        op.execute(script)


def downgrade() -> None:
    for table in (
        "dead_letter_reasons",
        "idempotency",
        "inbox",
        "outbox",
        "commands",
        "audit",
        "subscriptions_due",
        "entitlements",
        "period_invoices",
        "subscription_events",
        "subscriptions",
        "prices",
        "plans",
        "products",
    ):
        op.execute(f"DROP TABLE subscriptions.{table}")
