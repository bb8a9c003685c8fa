"""Merchants, devices, drinks, orders with their history, brew commands and reports, incidents, receipts, the bus."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

CATALOGUE = """
CREATE TABLE devices.merchants (
    id uuid PRIMARY KEY,
    name text NOT NULL CHECK (name <> ''),
    owner uuid UNIQUE,
    active_until timestamptz,
    mode text NOT NULL CHECK (mode IN ('platform_shop', 'own_shop')),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    commission_bps integer NOT NULL CHECK (commission_bps BETWEEN 0 AND 9000),
    order_ttl_s integer NOT NULL CHECK (order_ttl_s BETWEEN 60 AND 86400),
    brew_timeout_s integer NOT NULL CHECK (brew_timeout_s BETWEEN 5 AND 3600),
    failures_max integer NOT NULL CHECK (failures_max BETWEEN 1 AND 1000),
    selling boolean NOT NULL,
    payout_details jsonb NOT NULL,
    version integer NOT NULL CHECK (version > 0),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE devices.devices (
    id text PRIMARY KEY CHECK (id ~ '^[A-Za-z0-9_-]{3,40}$'),
    merchant_id uuid NOT NULL REFERENCES devices.merchants,
    name text NOT NULL,
    location text NOT NULL,
    time_zone text NOT NULL,
    model text NOT NULL,
    driver jsonb NOT NULL,
    payment_scenario text NOT NULL,
    texts jsonb NOT NULL,
    selling boolean NOT NULL,
    stopped_reason text,
    stopped_by text,
    stopped_at timestamptz,
    failures_in_row integer NOT NULL CHECK (failures_in_row >= 0),
    price_rule text NOT NULL CHECK
        (price_rule IN ('catalogue', 'telemetry', 'catalogue_then_telemetry', 'telemetry_then_catalogue')),
    key_number integer NOT NULL CHECK (key_number > 0),
    version integer NOT NULL CHECK (version > 0),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CHECK (selling OR stopped_at IS NOT NULL)
);
CREATE INDEX devices_by_merchant ON devices.devices (merchant_id, id);
-- What a foreign broker or a telemetry says of one of its machines is said of one of ours. By a digest: an index has
-- no room for a long id.
CREATE UNIQUE INDEX devices_one_an_address ON devices.devices
    ((CASE WHEN model = 'tmetr' THEN 'tmetr' ELSE 'yandex' END), md5(driver ->> 'id'))
    WHERE driver ->> 'id' IS NOT NULL AND model <> 'mqtt-v1';

CREATE TABLE devices.device_states (
    device_id text PRIMARY KEY REFERENCES devices.devices,
    online boolean NOT NULL,
    state text NOT NULL CHECK (state IN ('ready', 'busy', 'error', 'sold_out', 'off')),
    error_code text NOT NULL,
    heartbeat_at timestamptz,
    reported_at timestamptz
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

CREATE TABLE devices.drinks (
    device_id text NOT NULL REFERENCES devices.devices,
    drink_id text NOT NULL CHECK (drink_id ~ '^[A-Za-z0-9_.-]{1,64}$'),
    size text NOT NULL CHECK (size IN ('small', 'medium', 'large')),
    name text NOT NULL CHECK (name <> ''),
    price_minor bigint CHECK (price_minor > 0),
    telemetry_price_minor bigint CHECK (telemetry_price_minor >= 0),
    telemetry_at timestamptz,
    available boolean NOT NULL,
    stopped_reason text,
    sold_out boolean NOT NULL,
    vat_code smallint,
    payment_subject text,
    payment_method text,
    measure text,
    version integer NOT NULL CHECK (version > 0),
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (device_id, drink_id, size)
);
"""

ORDERS = """
CREATE TABLE devices.orders (
    id uuid PRIMARY KEY,
    device_id text NOT NULL REFERENCES devices.devices,
    merchant_id uuid NOT NULL REFERENCES devices.merchants,
    mode text NOT NULL CHECK (mode IN ('platform_shop', 'own_shop')),
    drink_id text NOT NULL,
    size text NOT NULL,
    drink_name text NOT NULL,
    price_minor bigint NOT NULL CHECK (price_minor > 0),
    commission_minor bigint NOT NULL CHECK (commission_minor >= 0 AND commission_minor < price_minor),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    fiscal jsonb NOT NULL,
    status text NOT NULL CHECK
        (status IN ('created', 'pending', 'paid', 'not_paid', 'make_pending', 'successful', 'failed')),
    reason text NOT NULL,
    receipt_address text,
    language text NOT NULL,
    machine_order_id text,
    invoice_id uuid NOT NULL UNIQUE,
    invoice_version integer NOT NULL CHECK (invoice_version >= 0),
    expires_at timestamptz NOT NULL,
    brew_timeout_s integer NOT NULL,
    paid_at timestamptz,
    brew_by timestamptz,
    refund_status text CHECK (refund_status IN ('requested', 'pending', 'succeeded', 'failed')),
    refund_id uuid,
    version integer NOT NULL CHECK (version > 0),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    -- The machine's own order, shown in a signed link, makes one order of ours, however often the link is opened.
    CONSTRAINT orders_one_a_machine_order UNIQUE (device_id, machine_order_id),
    CHECK (status NOT IN ('paid', 'make_pending', 'successful') OR (paid_at IS NOT NULL AND brew_by IS NOT NULL)),
    -- Who paid and got nothing is on the way to the money back, in the same commit.
    CHECK (status <> 'failed' OR refund_status IS NOT NULL)
) WITH (fillfactor = 70);
CREATE INDEX orders_by_device ON devices.orders (device_id, id);
CREATE INDEX orders_by_merchant ON devices.orders (merchant_id, id);
-- What something is still to happen to: few rows, looked through when events may have been missed.
CREATE INDEX orders_open ON devices.orders (id)
    WHERE status IN ('created', 'pending', 'paid', 'make_pending') OR refund_status IN ('requested', 'pending');

CREATE TABLE devices.order_history (
    order_id uuid NOT NULL REFERENCES devices.orders,
    n integer NOT NULL,
    at timestamptz NOT NULL,
    event text NOT NULL,
    status text NOT NULL,
    reason text NOT NULL,
    actor text NOT NULL,
    PRIMARY KEY (order_id, n)
);

CREATE TABLE devices.brew_commands (
    id uuid PRIMARY KEY,
    -- I-10: an order is brewed by one command or by none, whatever is said twice about its payment.
    order_id uuid NOT NULL UNIQUE REFERENCES devices.orders,
    device_id text NOT NULL REFERENCES devices.devices,
    model text NOT NULL,
    state text NOT NULL CHECK (state IN ('queued', 'sent', 'accepted', 'started', 'revoking', 'done', 'failed',
        'rejected', 'revoked', 'expired')),
    issued_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    brew_by timestamptz NOT NULL,
    sent_count integer NOT NULL CHECK (sent_count >= 0),
    next_send_at timestamptz,
    decide_at timestamptz,
    accepted_at timestamptz,
    revoke_by timestamptz,
    finished_at timestamptz,
    last_code text NOT NULL,
    will_be text NOT NULL,
    -- Whatever is open has a moment at which time alone decides: nothing waits for ever.
    CHECK ((decide_at IS NULL) = (finished_at IS NOT NULL)),
    CHECK (finished_at IS NULL OR next_send_at IS NULL)
) WITH (fillfactor = 70);
CREATE INDEX brew_commands_to_send ON devices.brew_commands (next_send_at) WHERE next_send_at IS NOT NULL;
CREATE INDEX brew_commands_to_decide ON devices.brew_commands (decide_at) WHERE decide_at IS NOT NULL;
CREATE INDEX brew_commands_by_device ON devices.brew_commands (device_id, id);

CREATE TABLE devices.brew_reports (
    command_id uuid NOT NULL,
    state text NOT NULL,
    at timestamptz NOT NULL,
    device_id text NOT NULL,
    code text NOT NULL,
    received_at timestamptz NOT NULL,
    raw jsonb NOT NULL,
    PRIMARY KEY (command_id, state, at)
);

CREATE TABLE devices.incidents (
    id uuid PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('done_after_refund', 'brewed_unpaid', 'refund_failed')),
    order_id uuid REFERENCES devices.orders,
    device_id text NOT NULL,
    detail jsonb NOT NULL,
    at timestamptz NOT NULL,
    closed_at timestamptz,
    closed_by text,
    note text NOT NULL DEFAULT '',
    CHECK ((closed_at IS NULL) = (closed_by IS NULL))
);
CREATE UNIQUE INDEX incidents_one_a_kind ON devices.incidents (order_id, kind) WHERE order_id IS NOT NULL;
CREATE INDEX incidents_open ON devices.incidents (id) WHERE closed_at IS NULL;

CREATE TABLE devices.receipts (
    order_id uuid NOT NULL REFERENCES devices.orders,
    kind text NOT NULL CHECK (kind IN ('receipt', 'refund')),
    address text NOT NULL,
    status text NOT NULL CHECK (status IN ('waiting', 'sent', 'failed')),
    tries integer NOT NULL,
    next_try_at timestamptz,
    sent_at timestamptz,
    last_error text NOT NULL DEFAULT '',
    PRIMARY KEY (order_id, kind)
);
CREATE INDEX receipts_waiting ON devices.receipts (next_try_at) WHERE status = 'waiting';

CREATE TABLE devices.audit (
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
CREATE INDEX audit_by_subject ON devices.audit (subject_kind, subject_id, id);
"""

BUS = """
CREATE TABLE devices.outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id uuid NOT NULL,
    exchange text NOT NULL,
    routing_key text NOT NULL,
    headers jsonb NOT NULL,
    body bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

CREATE TABLE devices.inbox (
    day date NOT NULL,
    id uuid NOT NULL,
    PRIMARY KEY (day, id)
);

CREATE TABLE devices.idempotency (
    scope text NOT NULL,
    key text NOT NULL,
    request_hash text NOT NULL,
    status smallint,
    body json,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (scope, key)
);
CREATE INDEX idempotency_by_age ON devices.idempotency (created_at);

CREATE TABLE devices.dead_letter_reasons (
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
    devices.order_history, devices.brew_reports, devices.audit, devices.dead_letter_reasons
    TO devices;
GRANT SELECT, INSERT, UPDATE ON
    devices.merchants, devices.orders, devices.brew_commands, devices.incidents, devices.receipts
    TO devices;
-- A machine that has never sold may be removed; its orders would refuse to let it go.
GRANT SELECT, INSERT, UPDATE, DELETE ON
    devices.devices, devices.device_states, devices.drinks, devices.outbox, devices.inbox, devices.idempotency
    TO devices;
GRANT SELECT ON devices.alembic_version TO devices;
"""

_TABLES = (
    "dead_letter_reasons",
    "idempotency",
    "inbox",
    "outbox",
    "audit",
    "receipts",
    "incidents",
    "brew_reports",
    "brew_commands",
    "order_history",
    "orders",
    "drinks",
    "device_states",
    "devices",
    "merchants",
)


def upgrade() -> None:
    for script in (CATALOGUE, ORDERS, BUS, GRANTS):
        op.execute(script)


def downgrade() -> None:
    for table in _TABLES:
        op.execute(f"DROP TABLE devices.{table}")
