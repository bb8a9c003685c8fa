"""Alembic's entry; the work is in copeck.storage.migrations."""

from copeck.storage.migrations import run_env
from device_bridge.tables import SCHEMA, metadata

run_env(schema=SCHEMA, metadata=metadata)
