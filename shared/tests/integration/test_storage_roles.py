"""Preparing a database: roles and schemas, any number of times and at the same time; migrations, two jobs at once."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from copeck.storage.engine import driver_url
from copeck.storage.migrations import migration_trees, pending, services_root, tree_of, upgrade_all
from copeck.storage.roles import LOGINS, MIGRATOR, OWNER, ROLES, SCHEMAS, bootstrap
from copeck.testkit.postgres import TestDatabases, database_url, empty, password_of

pytestmark = pytest.mark.integration
PASSWORDS = {role: password_of(role) for role in LOGINS}


@pytest.fixture
def fresh(test_databases: TestDatabases, worker_name: str) -> Iterator[str]:
    """The name of a database that does not exist yet."""
    name = f"{test_databases.template}_{worker_name}_fresh"
    yield name
    test_databases.drop(name)


def test_bootstrap_creates_all_and_may_be_repeated_at_the_same_time(fresh: str) -> None:
    bootstrap(database_url(fresh), PASSWORDS)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: bootstrap(database_url(fresh), PASSWORDS), range(4)))
    with psycopg.connect(database_url(fresh)) as admin:
        rows = admin.execute(
            "SELECT nspname, pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = ANY(%s)", [list(SCHEMAS)]
        ).fetchall()
        assert dict(rows) == dict.fromkeys(SCHEMAS, OWNER)
        hashes = admin.execute("SELECT rolpassword FROM pg_authid WHERE rolname = ANY(%s)", [list(LOGINS)]).fetchall()
    assert all(row[0].startswith("SCRAM-SHA-256$") for row in hashes)


def test_bootstrap_refuses_a_password_for_nobody(fresh: str) -> None:
    with pytest.raises(ValueError, match="nobody"):
        bootstrap(database_url(fresh), {"nobody": "x"})


def test_two_migration_jobs_at_once_leave_every_schema_at_its_head(fresh: str) -> None:
    bootstrap(database_url(fresh), PASSWORDS)
    environment = {**os.environ, "COPECK_DATABASE_URL": database_url(fresh, MIGRATOR)}
    command = [sys.executable, "-m", "copeck.storage", "migrate"]
    jobs = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for job in jobs:
        _, errors = job.communicate(timeout=120)
        assert job.returncode == 0, errors
    engine = sa.create_engine(driver_url(database_url(fresh)))
    schemas = {
        "billing-state-updater": "state",
        "device-bridge": "devices",
        "payments-gateway": "gateway",
        "reminder-cron": "reminders",
    }
    with engine.connect() as connection:
        for tree in migration_trees():
            service = tree.parent.name
            assert not pending(tree, schemas.get(service, service), connection), service
        owners = connection.execute(
            sa.text("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = ANY(:names)"),
            {"names": list(SCHEMAS)},
        ).scalars()
        assert set(owners) == {OWNER}
    engine.dispose()
    assert upgrade_all(database_url(fresh, MIGRATOR)) == [tree.parent.name for tree in migration_trees()]


def test_a_service_cannot_migrate(fresh: str) -> None:
    bootstrap(database_url(fresh), PASSWORDS)
    for role in ROLES:
        with psycopg.connect(database_url(fresh, role.name)) as connection:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"SET ROLE {OWNER}")
            connection.rollback()


def test_the_state_comes_first_and_every_service_is_found() -> None:
    names = [tree.parent.name for tree in migration_trees()]
    assert names[0] == "billing-state-updater"
    on_disk = {path.parent.parent.name for path in services_root().glob("*/migrations/env.py")}
    assert set(names) == on_disk
    assert tree_of("reminder-cron").is_dir()
    with pytest.raises(FileNotFoundError, match="no-such-service"):
        tree_of("no-such-service")


def test_services_are_found_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one" / "migrations").mkdir(parents=True)
    (tmp_path / "one" / "migrations" / "env.py").touch()
    monkeypatch.setenv("COPECK_SERVICES_DIR", str(tmp_path))
    assert [tree.parent.name for tree in migration_trees()] == ["one"]
    monkeypatch.setenv("COPECK_SERVICES_DIR", str(tmp_path / "one"))
    with pytest.raises(FileNotFoundError):
        upgrade_all("postgresql://nobody@127.0.0.1:1/none")


def test_tables_are_emptied_and_seeds_put_back(database_urls: dict[str, str], worker_database: str) -> None:
    with psycopg.connect(database_urls["admin"], autocommit=True) as admin:
        before = admin.execute("SELECT shard, epoch FROM state.shards ORDER BY 1").fetchall()
        assert len(before) == 16
        admin.execute("UPDATE state.shards SET epoch = 7")
        admin.execute("INSERT INTO reminders.ticks (kind, scanned_to, last_run_at) VALUES ('x', now(), now())")
        empty(worker_database)
        assert admin.execute("SELECT shard, epoch FROM state.shards ORDER BY 1").fetchall() == before
        assert admin.execute("SELECT count(*) FROM reminders.ticks").fetchone() == (0,)
