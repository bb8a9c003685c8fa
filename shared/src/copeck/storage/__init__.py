"""Postgres: connections, roles, migrations, and the tables that every service has (outbox, inbox, idempotency keys)."""
