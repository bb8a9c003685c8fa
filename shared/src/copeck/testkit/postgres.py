"""Databases of a test run: a template with all migrations, a copy for each worker, emptied before each test."""

import os
import time

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

from copeck.storage.engine import libpq_url
from copeck.storage.migrations import VERSION_TABLE, migration_trees, upgrade_all
from copeck.storage.roles import LOGINS, MIGRATOR, SCHEMAS, bootstrap

ADMIN_URL = os.environ.get("COPECK_TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/postgres")
_KEPT = "testkit"
_LOCK_KEY = 0x7465737474656D70


def password_of(role: str) -> str:
    """Return a login's password in tests."""
    return f"test-{role.replace('_', '-')}"


def database_url(database: str, role: str | None = None) -> str:
    """Return the URL of a database, as a role or as the superuser."""
    url = make_url(ADMIN_URL).set(database=database)
    if role is not None:
        url = url.set(username=role, password=password_of(role))
    return libpq_url(url.render_as_string(hide_password=False))


class TestDatabases:
    """The databases of one test run, named after it."""

    __test__ = False

    def __init__(self, run: str) -> None:
        self._run = run
        self.template = f"copeck_test_{run}_template"

    def create_template(self) -> None:
        """Create the template, unless another worker has; the others wait here for the first."""
        with psycopg.connect(libpq_url(ADMIN_URL), autocommit=True) as admin:
            admin.execute("SELECT pg_advisory_lock(%s)", [_LOCK_KEY])
            known = admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", [self.template]).fetchone()
            if known is None:
                bootstrap(database_url(self.template), {role: password_of(role) for role in LOGINS})
                if migration_trees():
                    upgrade_all(database_url(self.template, MIGRATOR))
                with psycopg.connect(database_url(self.template)) as connection:
                    _keep_seeds(connection)

    def create(self, name: str) -> str:
        """Copy the template for a worker (or a test that wants a database of its own); returns the name."""
        database = f"copeck_test_{self._run}_{name}"
        with psycopg.connect(libpq_url(ADMIN_URL), autocommit=True) as admin:
            # Copying needs the template without connections; two workers copy one after the other.
            admin.execute("SELECT pg_advisory_lock(%s)", [_LOCK_KEY])
            _drop(admin, database)
            admin.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(database), sql.Identifier(self.template)
                )
            )
            # A copy has the template's tables but not its rights on the database itself.
            admin.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(database)))
            roles = sql.SQL(", ").join(sql.Identifier(role) for role in LOGINS)
            admin.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(sql.Identifier(database), roles))
        return database

    def drop(self, database: str) -> None:
        """Drop one database, whoever is connected."""
        with psycopg.connect(libpq_url(ADMIN_URL), autocommit=True) as admin:
            _drop(admin, database)

    def drop_all(self) -> None:
        """Drop everything that the run made."""
        with psycopg.connect(libpq_url(ADMIN_URL), autocommit=True) as admin:
            rows = admin.execute(
                "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [f"copeck_test_{self._run}_"]
            ).fetchall()
            for (database,) in rows:
                _drop(admin, database)


def urls_of(database: str) -> dict[str, str]:
    """Return the URL of every role, and `admin` for the superuser."""
    return {"admin": database_url(database), **{role: database_url(database, role) for role in LOGINS}}


def truncate(connection: psycopg.Connection, *tables: str) -> None:
    """Give tables new files, for a test of plans: what others left behind in them would change the planner's mind."""
    with connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        for table in tables:
            connection.execute(sql.SQL("TRUNCATE {} CASCADE").format(sql.Identifier(*table.split("."))))


def empty(database: str) -> None:
    """Empty every table that has rows, set sequences back; what migrations had put into a table is put back.

    The few rows of a test are deleted: to truncate makes new files for each table and index, which takes far longer.
    """
    with psycopg.connect(database_url(database), autocommit=True) as connection:
        connection.execute("SET lock_timeout = '10s'")
        # Append-only tables have triggers against what follows, and the order of deletion is nobody's concern.
        connection.execute("SET session_replication_role = replica")
        used = _with_rows(connection)
        if not used:
            return
        seeds = {(row[0], row[1]) for row in connection.execute(f"SELECT schema, name FROM {_KEPT}.seeds").fetchall()}
        with connection.transaction():
            for table in used:
                connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(*table)))
            for schema, name in seeds:
                connection.execute(
                    sql.SQL("INSERT INTO {} OVERRIDING SYSTEM VALUE SELECT * FROM {}").format(
                        sql.Identifier(schema, name), sql.Identifier(_KEPT, f"{schema}__{name}")
                    )
                )
            connection.execute(_SEQUENCES_BACK, [list(SCHEMAS)])


_SEQUENCES_BACK = """
SELECT setval(format('%%I.%%I', schemaname, sequencename)::regclass, start_value, false)
FROM pg_sequences WHERE schemaname = ANY(%s) AND last_value IS NOT NULL
"""


def _keep_seeds(connection: psycopg.Connection) -> None:
    connection.execute(f"CREATE SCHEMA {_KEPT}")
    connection.execute(f"CREATE TABLE {_KEPT}.seeds (schema text, name text)")
    for schema, name in _with_rows(connection):
        copy = sql.SQL("CREATE TABLE {} AS TABLE {}")
        connection.execute(copy.format(sql.Identifier(_KEPT, f"{schema}__{name}"), sql.Identifier(schema, name)))
        connection.execute(f"INSERT INTO {_KEPT}.seeds VALUES (%s, %s)", [schema, name])


def _with_rows(connection: psycopg.Connection) -> list[tuple[str, str]]:
    tables = connection.execute(
        "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname = ANY(%s) AND c.relname <> %s "
        "ORDER BY 1, 2",
        [list(SCHEMAS), VERSION_TABLE],
    ).fetchall()
    questions = (
        sql.SQL("SELECT {}::int WHERE EXISTS (SELECT 1 FROM {})").format(number, sql.Identifier(schema, name))
        for number, (schema, name) in enumerate(tables)
    )
    used = connection.execute(sql.SQL(" UNION ALL ").join(questions)).fetchall() if tables else []
    return [(str(tables[number][0]), str(tables[number][1])) for (number,) in used]


def _drop(admin: psycopg.Connection, database: str) -> None:
    for attempt in range(5):
        try:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database)))
            return
        except psycopg.errors.ObjectInUse:
            if attempt == 4:
                raise
            time.sleep(0.1)
