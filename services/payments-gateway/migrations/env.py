"""Alembic's entry; the work is in copeck.storage.migrations."""

from copeck.storage.migrations import run_env
from payments_gateway.tables import metadata

run_env(schema="gateway", metadata=metadata)
