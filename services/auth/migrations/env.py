"""Alembic's entry; the work is in copeck.storage.migrations."""

from auth.tables import SCHEMA, metadata
from copeck.storage.migrations import run_env

run_env(schema=SCHEMA, metadata=metadata)
