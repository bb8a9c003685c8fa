"""Wallets and payouts: what people asked for, who may be asked to agree, what it costs, and what is stopped.

Nothing here is money: balances and the states of payouts are the updater's (I-01). These rows say what was asked, by
whom, and the details of recipients that the updater never learns.

Revision ID: 0004
Revises: 0003
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

OPERATIONS = """
ALTER TABLE gateway.operations
    ALTER COLUMN invoice_id DROP NOT NULL,
    ADD COLUMN payout_id uuid,
    ADD COLUMN payout_attempt integer,
    DROP CONSTRAINT operations_kind_check,
    ADD CONSTRAINT operations_kind_check
        CHECK (kind IN ('refund', 'void', 'confirm', 'charge', 'payout', 'status_query')),
    ADD CONSTRAINT operations_one_subject CHECK ((kind = 'payout') = (payout_id IS NOT NULL AND invoice_id IS NULL)),
    ADD CONSTRAINT operations_payout_attempt CHECK ((payout_id IS NULL) = (payout_attempt IS NULL));
CREATE INDEX operations_payout ON gateway.operations (payout_id) WHERE payout_id IS NOT NULL;
ALTER TABLE gateway.requests ADD COLUMN payout_id uuid;
CREATE INDEX requests_payout ON gateway.requests (payout_id) WHERE payout_id IS NOT NULL;
"""

TABLES = """
-- Switches that stop something at once: `payouts`, `deposits`, `provider:<code>`. No row means that it runs.
CREATE TABLE gateway.switches (
    name text PRIMARY KEY CHECK (name ~ '^(payouts|deposits|provider:[a-z0-9_]{1,32})$'),
    stopped boolean NOT NULL,
    reason text NOT NULL,
    version integer NOT NULL,
    changed_by text NOT NULL,
    changed_at timestamptz NOT NULL
);

-- Each change is a row: the newest version counts, the others say what was charged when. A rate is in basis points.
CREATE TABLE gateway.commission_rules (
    currency text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('deposit', 'withdrawal')),
    version integer NOT NULL CHECK (version >= 1),
    rate_basis_points integer NOT NULL CHECK (rate_basis_points BETWEEN 0 AND 10000),
    minimum_minor bigint NOT NULL CHECK (minimum_minor >= 0),
    maximum_minor bigint CHECK (maximum_minor >= minimum_minor),
    changed_by text NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (currency, kind, version)
);

-- What a wallet's owner asked for. A deposit's id is its invoice's, a withdrawal's its payout's, a payment's its
-- attempt's.
CREATE TABLE gateway.wallet_payments (
    payment_id uuid PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('deposit', 'withdrawal', 'payment')),
    user_id uuid NOT NULL,
    account text NOT NULL,
    invoice_id uuid,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    commission_minor bigint NOT NULL CHECK (commission_minor >= 0),
    currency text NOT NULL,
    description text NOT NULL,
    refused_code text,
    refused_reason text,
    requested_at timestamptz NOT NULL
) WITH (fillfactor = 90);
CREATE INDEX wallet_payments_user ON gateway.wallet_payments (user_id, payment_id);

-- What was asked of a payout beside its terms, which are the updater's: above all, where the money is to go.
CREATE TABLE gateway.payout_requests (
    payout_id uuid PRIMARY KEY,
    origin text NOT NULL CHECK (origin IN ('withdrawal', 'payout', 'batch', 'compatibility')),
    account text NOT NULL,
    user_id uuid NOT NULL,
    requested_by text NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    commission_minor bigint NOT NULL CHECK (commission_minor >= 0),
    currency text NOT NULL,
    provider text NOT NULL,
    shop text NOT NULL,
    recipient_kind text NOT NULL CHECK (recipient_kind IN ('card_token', 'sbp', 'account')),
    recipient_masked text NOT NULL,
    -- Encrypted: a phone number or a card's token is read by the worker that sends the money, and by nobody else.
    recipient_sealed bytea NOT NULL,
    recipient_user_id uuid,
    description text NOT NULL,
    draft boolean NOT NULL,
    needs_approval boolean NOT NULL,
    batch_id uuid,
    batch_line integer,
    version integer NOT NULL DEFAULT 1,
    refused_code text,
    refused_reason text,
    requested_at timestamptz NOT NULL,
    deleted_at timestamptz,
    deleted_by text
) WITH (fillfactor = 80);
CREATE INDEX payout_requests_user ON gateway.payout_requests (user_id, payout_id);
CREATE INDEX payout_requests_recipient ON gateway.payout_requests (recipient_user_id, payout_id)
    WHERE recipient_user_id IS NOT NULL;
CREATE INDEX payout_requests_account ON gateway.payout_requests (account, payout_id);
CREATE UNIQUE INDEX payout_requests_batch ON gateway.payout_requests (batch_id, batch_line)
    WHERE batch_id IS NOT NULL;

-- Who changed what of a payout, an approval, a switch, a commission or a correction.
CREATE TABLE gateway.audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subject_kind text NOT NULL,
    subject_id text NOT NULL,
    action text NOT NULL,
    actor text NOT NULL,
    detail jsonb NOT NULL,
    at timestamptz NOT NULL
);
CREATE INDEX audit_subject ON gateway.audit (subject_kind, subject_id, id);

CREATE TABLE gateway.payout_batches (
    id uuid PRIMARY KEY,
    sha256 text NOT NULL UNIQUE,
    file_name text NOT NULL,
    account text NOT NULL,
    status text NOT NULL CHECK (status IN ('awaiting_approval', 'accepted', 'sent', 'canceled')),
    lines integer NOT NULL,
    bad_lines integer NOT NULL,
    sent_lines integer NOT NULL DEFAULT 0,
    amount_minor bigint NOT NULL,
    currency text NOT NULL,
    uploaded_by text NOT NULL,
    approved_by text,
    uploaded_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

-- Every line of a file: a good one has the id of the payout that it becomes, a bad one its reasons.
CREATE TABLE gateway.payout_batch_lines (
    batch_id uuid NOT NULL,
    line integer NOT NULL,
    payout_id uuid,
    reasons text,
    raw text NOT NULL,
    PRIMARY KEY (batch_id, line)
);

CREATE TABLE gateway.corrections (
    id uuid PRIMARY KEY,
    debit text NOT NULL,
    credit text NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    currency text NOT NULL,
    reason text NOT NULL,
    status text NOT NULL CHECK (status IN ('requested', 'approved', 'rejected', 'refused')),
    requested_by text NOT NULL,
    decided_by text,
    refused_code text,
    refused_reason text,
    requested_at timestamptz NOT NULL,
    decided_at timestamptz,
    CONSTRAINT corrections_two_people CHECK (decided_by IS DISTINCT FROM requested_by OR status = 'rejected')
);

-- The small numbers under which callers of the services that were replaced know users, payments and payouts.
CREATE TABLE gateway.compatibility_ids (
    kind text NOT NULL CHECK (kind IN ('user', 'payment', 'payout')),
    number bigint NOT NULL,
    id uuid NOT NULL,
    PRIMARY KEY (kind, number),
    UNIQUE (kind, id)
);
CREATE SEQUENCE gateway.compatibility_users AS bigint;
CREATE SEQUENCE gateway.compatibility_payments AS bigint;
CREATE SEQUENCE gateway.compatibility_payouts AS bigint;
"""

GRANTS = """
GRANT SELECT, INSERT, UPDATE ON gateway.switches, gateway.wallet_payments, gateway.payout_requests,
    gateway.payout_batches, gateway.corrections TO gateway;
GRANT SELECT, INSERT ON gateway.commission_rules, gateway.audit, gateway.payout_batch_lines,
    gateway.compatibility_ids TO gateway;
GRANT USAGE ON SEQUENCE gateway.compatibility_users, gateway.compatibility_payments, gateway.compatibility_payouts
    TO gateway;
GRANT SELECT ON ALL TABLES IN SCHEMA gateway TO operator;
"""


def upgrade() -> None:
    """Add tables and columns; code that does not know them goes on as before."""
    op.execute(OPERATIONS)
    op.execute(TABLES)
    op.execute(GRANTS)


def downgrade() -> None:
    """Drop what was added; refused by the constraints while there are payout operations."""
    for table in (
        "compatibility_ids", "corrections", "payout_batch_lines", "payout_batches", "audit", "payout_requests",
        "wallet_payments", "commission_rules", "switches",
    ):  # fmt: skip
        op.execute(f"DROP TABLE gateway.{table}")
    for sequence in ("compatibility_users", "compatibility_payments", "compatibility_payouts"):
        op.execute(f"DROP SEQUENCE gateway.{sequence}")
    op.execute("""
ALTER TABLE gateway.requests DROP COLUMN payout_id;
ALTER TABLE gateway.operations
    DROP CONSTRAINT operations_payout_attempt,
    DROP CONSTRAINT operations_one_subject,
    DROP CONSTRAINT operations_kind_check,
    ADD CONSTRAINT operations_kind_check CHECK (kind IN ('refund', 'void', 'confirm', 'status_query')),
    DROP COLUMN payout_attempt,
    DROP COLUMN payout_id,
    ALTER COLUMN invoice_id SET NOT NULL;
""")
