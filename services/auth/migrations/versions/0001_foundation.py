"""Users and roles, sessions, refresh tokens, API keys, signing keys, login failures, challenges, audit, outbox."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

PEOPLE = """
CREATE TABLE auth.users (
    id uuid PRIMARY KEY,
    email text NOT NULL CHECK (length(email) <= 254),
    email_key text NOT NULL UNIQUE,
    password_hash text NOT NULL,
    status text NOT NULL CHECK (status IN ('active', 'blocked')),
    version integer NOT NULL CHECK (version > 0),
    created_at timestamptz NOT NULL
);

CREATE TABLE auth.user_roles (
    user_id uuid NOT NULL REFERENCES auth.users,
    role text NOT NULL CHECK (role IN ('customer', 'recipient', 'merchant', 'manager', 'operator')),
    granted_by uuid,
    granted_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, role)
);

CREATE TABLE auth.audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    subject_id uuid NOT NULL,
    details jsonb NOT NULL
);
CREATE INDEX audit_of_subject ON auth.audit (subject_id, id);
"""

CREDENTIALS = """
CREATE TABLE auth.sessions (
    id uuid PRIMARY KEY,
    token_hash bytea NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    user_id uuid NOT NULL REFERENCES auth.users,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    revoked_at timestamptz,
    address text NOT NULL,
    agent text NOT NULL
);
CREATE INDEX sessions_of_user ON auth.sessions (user_id);
CREATE INDEX sessions_by_expiry ON auth.sessions (expires_at);

CREATE TABLE auth.refresh_families (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES auth.users,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    revoked_reason text,
    address text NOT NULL,
    agent text NOT NULL
);
CREATE INDEX refresh_families_of_user ON auth.refresh_families (user_id);
CREATE INDEX refresh_families_by_expiry ON auth.refresh_families (expires_at);

CREATE TABLE auth.refresh_tokens (
    token_hash bytea PRIMARY KEY CHECK (length(token_hash) = 32),
    family_id uuid NOT NULL REFERENCES auth.refresh_families ON DELETE CASCADE,
    issued_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at timestamptz
);
CREATE INDEX refresh_tokens_of_family ON auth.refresh_tokens (family_id);

CREATE TABLE auth.api_keys (
    id text PRIMARY KEY CHECK (id ~ '^ck_[0-9a-f]{20}$'),
    secret_hash bytea NOT NULL CHECK (length(secret_hash) = 32),
    user_id uuid NOT NULL REFERENCES auth.users,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    roles text[] NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    used_at timestamptz
);
CREATE INDEX api_keys_of_user ON auth.api_keys (user_id, created_at, id);

CREATE TABLE auth.signing_keys (
    kid text PRIMARY KEY,
    algorithm text NOT NULL CHECK (algorithm IN ('ES256', 'EdDSA')),
    public_jwk jsonb NOT NULL,
    private_sealed bytea NOT NULL,
    state text NOT NULL CHECK (state IN ('published', 'active', 'retiring', 'retired')),
    published_at timestamptz NOT NULL,
    activated_at timestamptz,
    retiring_at timestamptz,
    retired_at timestamptz
);
CREATE UNIQUE INDEX signing_keys_one_active ON auth.signing_keys (state) WHERE state = 'active';
CREATE UNIQUE INDEX signing_keys_one_next ON auth.signing_keys (state) WHERE state = 'published';
"""

DEFENCES = """
CREATE TABLE auth.login_failures (
    subject bytea PRIMARY KEY CHECK (length(subject) = 32),
    failures integer NOT NULL,
    since timestamptz NOT NULL,
    locked_until timestamptz
);
CREATE INDEX login_failures_by_age ON auth.login_failures (since);

CREATE TABLE auth.challenges (
    id uuid PRIMARY KEY,
    kind text NOT NULL,
    action text NOT NULL,
    answer_hash bytea NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at timestamptz
);
CREATE INDEX challenges_by_expiry ON auth.challenges (expires_at);

CREATE TABLE auth.outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id uuid NOT NULL,
    exchange text NOT NULL,
    routing_key text NOT NULL,
    headers jsonb NOT NULL,
    body bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01);
"""

# The service has no right to change or delete what it has written into the audit, nor to delete users.
GRANTS = """
GRANT SELECT, INSERT ON auth.users, auth.audit TO auth;
GRANT UPDATE (email, email_key, password_hash, status, version) ON auth.users TO auth;
GRANT SELECT, INSERT, DELETE ON auth.user_roles TO auth;
GRANT SELECT, INSERT, DELETE ON auth.sessions, auth.refresh_families, auth.refresh_tokens TO auth;
GRANT UPDATE (seen_at, revoked_at) ON auth.sessions TO auth;
GRANT UPDATE (revoked_at, revoked_reason) ON auth.refresh_families TO auth;
GRANT UPDATE (used_at) ON auth.refresh_tokens TO auth;
GRANT SELECT, INSERT ON auth.api_keys TO auth;
GRANT UPDATE (revoked_at, used_at) ON auth.api_keys TO auth;
GRANT SELECT, INSERT ON auth.signing_keys TO auth;
GRANT UPDATE (state, private_sealed, activated_at, retiring_at, retired_at) ON auth.signing_keys TO auth;
GRANT SELECT, INSERT, UPDATE, DELETE ON auth.login_failures, auth.challenges TO auth;
GRANT SELECT, INSERT, DELETE ON auth.outbox TO auth;
"""


def upgrade() -> None:
    for statements in (PEOPLE, CREDENTIALS, DEFENCES, GRANTS):
        op.execute(statements)


def downgrade() -> None:
    raise NotImplementedError("the first revision is not undone: drop the schema instead")
