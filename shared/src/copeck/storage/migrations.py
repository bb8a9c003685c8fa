"""Alembic, one tree a service, run as the migrator in the owner's role; versions are kept in the service's schema."""

import os
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command, context
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from copeck.storage.engine import Timeouts, connect_args, driver_url
from copeck.storage.roles import OWNER

VERSION_TABLE = "alembic_version"
# The state's tree goes first: what the others read of it must be there.
_FIRST = ("billing-state-updater",)
_ADVISORY_KEY = 0x636F7065636B
_TIMEOUTS = Timeouts(statement_ms=300_000, lock_ms=120_000, idle_in_transaction_ms=300_000)
_LOCK_TIMEOUT = "5s"


def services_root() -> Path:
    """Return the folder of the services: COPECK_SERVICES_DIR, or `services` beside `shared`, or below where we are."""
    named = os.environ.get("COPECK_SERVICES_DIR")
    if named:
        return Path(named)
    beside = Path(__file__).resolve().parents[4] / "services"
    return beside if beside.is_dir() else Path.cwd() / "services"


def migration_trees(root: Path | None = None) -> list[Path]:
    """Return every service's migration folder, in the order in which they are upgraded."""
    found = [path.parent for path in (root or services_root()).glob("*/migrations/env.py")]
    return sorted(found, key=lambda path: (path.parent.name not in _FIRST, path.parent.name))


def tree_of(service: str) -> Path:
    """Return one service's migration folder by the name of the service's folder."""
    tree = services_root() / service / "migrations"
    if not (tree / "env.py").is_file():
        raise FileNotFoundError(f"{service} has no migrations at {tree}")
    return tree


def config_for(tree: Path, database_url: str) -> Config:
    """Return Alembic's configuration of one tree; nothing is read from an ini file."""
    config = Config()
    config.set_main_option("script_location", str(tree).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["database_url"] = database_url
    return config


def upgrade(tree: Path, database_url: str, revision: str = "head") -> None:
    """Bring one service's schema to a revision."""
    command.upgrade(config_for(tree, database_url), revision)


def upgrade_all(database_url: str) -> list[str]:
    """Bring every service's schema to its head; returns the names of the services' folders."""
    trees = migration_trees()
    if not trees:
        raise FileNotFoundError(f"no migrations were found below {services_root()}")
    for tree in trees:
        upgrade(tree, database_url)
    return [tree.parent.name for tree in trees]


def pending(tree: Path, schema: str, connection: sa.Connection) -> bool:
    """Tell whether a schema is behind its tree."""
    script = ScriptDirectory.from_config(config_for(tree, ""))
    found = MigrationContext.configure(connection, opts={"version_table_schema": schema})
    return set(found.get_current_heads()) != set(script.get_heads())


def run_env(schema: str, metadata: sa.MetaData) -> None:
    """Run the migrations of the tree whose `env.py` calls this."""
    options: dict[str, Any] = {
        "target_metadata": metadata,
        "version_table": VERSION_TABLE,
        "version_table_schema": schema,
        "include_schemas": True,
        "include_name": lambda name, kind, _parents: kind != "schema" or name == schema,
        "transaction_per_migration": True,
        "compare_type": True,
    }
    if context.is_offline_mode():
        context.configure(dialect_name="postgresql", literal_binds=True, **options)
        with context.begin_transaction():
            context.run_migrations()
        return
    url: str = context.config.attributes.get("database_url") or os.environ["COPECK_DATABASE_URL"]
    engine = sa.create_engine(
        driver_url(url), poolclass=sa.pool.NullPool, connect_args=connect_args(f"migrations:{schema}", _TIMEOUTS)
    )
    with engine.connect() as connection:
        # Two jobs at once: the second waits for the first and then finds nothing to do.
        connection.execute(sa.text("SELECT pg_advisory_lock(:key)"), {"key": _ADVISORY_KEY})
        connection.execute(sa.text(f"SET ROLE {OWNER}"))
        # A migration that cannot have its lock soon gives up, instead of making every reader queue behind it.
        connection.execute(sa.text(f"SET lock_timeout = '{_LOCK_TIMEOUT}'"))
        connection.commit()
        context.configure(connection=connection, **options)
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()
    engine.dispose()
