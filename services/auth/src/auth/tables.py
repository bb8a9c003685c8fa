"""The tables of the schema `auth`."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from copeck.storage.tables import outbox_table

SCHEMA = "auth"

metadata = sa.MetaData(schema=SCHEMA)

_UUID = pg.UUID(as_uuid=True)
_MOMENT = sa.DateTime(timezone=True)

users = sa.Table(
    "users",
    metadata,
    sa.Column("id", _UUID, primary_key=True),
    sa.Column("email", sa.Text, nullable=False),
    sa.Column("email_key", sa.Text, nullable=False, unique=True),
    sa.Column("password_hash", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("created_at", _MOMENT, nullable=False),
)

user_roles = sa.Table(
    "user_roles",
    metadata,
    sa.Column("user_id", _UUID, sa.ForeignKey(users.c.id), primary_key=True),
    sa.Column("role", sa.Text, primary_key=True),
    sa.Column("granted_by", _UUID),
    sa.Column("granted_at", _MOMENT, nullable=False),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("at", _MOMENT, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("subject_id", _UUID, nullable=False),
    sa.Column("details", pg.JSONB, nullable=False),
    sa.Index("audit_of_subject", "subject_id", "id"),
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("id", _UUID, primary_key=True),
    sa.Column("token_hash", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("user_id", _UUID, sa.ForeignKey(users.c.id), nullable=False),
    sa.Column("created_at", _MOMENT, nullable=False),
    sa.Column("expires_at", _MOMENT, nullable=False),
    sa.Column("seen_at", _MOMENT, nullable=False),
    sa.Column("revoked_at", _MOMENT),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("agent", sa.Text, nullable=False),
    sa.Index("sessions_of_user", "user_id"),
    sa.Index("sessions_by_expiry", "expires_at"),
)

refresh_families = sa.Table(
    "refresh_families",
    metadata,
    sa.Column("id", _UUID, primary_key=True),
    sa.Column("user_id", _UUID, sa.ForeignKey(users.c.id), nullable=False),
    sa.Column("created_at", _MOMENT, nullable=False),
    sa.Column("expires_at", _MOMENT, nullable=False),
    sa.Column("revoked_at", _MOMENT),
    sa.Column("revoked_reason", sa.Text),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("agent", sa.Text, nullable=False),
    sa.Index("refresh_families_of_user", "user_id"),
    sa.Index("refresh_families_by_expiry", "expires_at"),
)

refresh_tokens = sa.Table(
    "refresh_tokens",
    metadata,
    sa.Column("token_hash", sa.LargeBinary, primary_key=True),
    sa.Column("family_id", _UUID, sa.ForeignKey(refresh_families.c.id, ondelete="CASCADE"), nullable=False),
    sa.Column("issued_at", _MOMENT, nullable=False),
    sa.Column("expires_at", _MOMENT, nullable=False),
    sa.Column("used_at", _MOMENT),
    sa.Index("refresh_tokens_of_family", "family_id"),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("secret_hash", sa.LargeBinary, nullable=False),
    sa.Column("user_id", _UUID, sa.ForeignKey(users.c.id), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("roles", pg.ARRAY(sa.Text), nullable=False),
    sa.Column("created_at", _MOMENT, nullable=False),
    sa.Column("expires_at", _MOMENT),
    sa.Column("revoked_at", _MOMENT),
    sa.Column("used_at", _MOMENT),
    sa.Index("api_keys_of_user", "user_id", "created_at", "id"),
)

signing_keys = sa.Table(
    "signing_keys",
    metadata,
    sa.Column("kid", sa.Text, primary_key=True),
    sa.Column("algorithm", sa.Text, nullable=False),
    sa.Column("public_jwk", pg.JSONB, nullable=False),
    sa.Column("private_sealed", sa.LargeBinary, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("published_at", _MOMENT, nullable=False),
    sa.Column("activated_at", _MOMENT),
    sa.Column("retiring_at", _MOMENT),
    sa.Column("retired_at", _MOMENT),
    sa.Index("signing_keys_one_active", "state", unique=True, postgresql_where=sa.text("state = 'active'")),
    sa.Index("signing_keys_one_next", "state", unique=True, postgresql_where=sa.text("state = 'published'")),
)

login_failures = sa.Table(
    "login_failures",
    metadata,
    sa.Column("subject", sa.LargeBinary, primary_key=True),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("since", _MOMENT, nullable=False),
    sa.Column("locked_until", _MOMENT),
    sa.Index("login_failures_by_age", "since"),
)

# The place of captcha and its kind: see the service's README.
challenges = sa.Table(
    "challenges",
    metadata,
    sa.Column("id", _UUID, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("answer_hash", sa.LargeBinary, nullable=False),
    sa.Column("created_at", _MOMENT, nullable=False),
    sa.Column("expires_at", _MOMENT, nullable=False),
    sa.Column("used_at", _MOMENT),
    sa.Index("challenges_by_expiry", "expires_at"),
)

outbox = outbox_table(metadata)
