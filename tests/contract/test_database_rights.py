"""I-01: only `state_updater` writes the State Storage, and no service writes another's tables. By Postgres, not by us.

Every login is tried against every table that exists, so a table that is added is covered by itself.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest
from psycopg import sql

pytestmark = pytest.mark.integration

# Written by hand, not taken from the code under test.
OWN_SCHEMA = {
    "auth": "auth",
    "subscriptions": "subscriptions",
    "state_updater": "state",
    "gateway": "gateway",
    "devices": "devices",
    "reminders": "reminders",
    "operator": None,
    "copeck_migrator": None,
}
SCHEMAS = ("auth", "subscriptions", "state", "state_api", "gateway", "devices", "reminders")
BUSINESS_TABLES = {
    "invoices", "transitions", "payments", "refunds", "payouts", "accounts", "transfers", "bookings", "inbox", "outbox",
    "quarantine", "shards",
}  # fmt: skip
DENIED = psycopg.errors.InsufficientPrivilege
OPERATOR_FUNCTIONS = {
    "state_api.record_operator_action",
    "state_api.begin_quarantine_replay",
    "state_api.resolve_quarantine",
}
OPERATOR_TABLES = {"quarantine", "operator_actions"}
# How many messages wait, for `copeck outbox status`: a number and a time, nothing of what they say.
OPERATOR_VIEWS = {("auth", "outbox_status")}
# A view over a join cannot be written at all, and none can be truncated: refused before rights are looked at.
REFUSED_VIEW = {"denied", "WrongObjectType", "ObjectNotInPrerequisiteState"}


@dataclass(frozen=True)
class Table:
    """A table or a view, and the column that statements name."""

    schema: str
    name: str
    kind: str
    column: str

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)


def tables(admin: psycopg.Connection) -> list[Table]:
    rows = admin.execute(
        "SELECT n.nspname, c.relname, c.relkind::text, "
        "(SELECT attname FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND attidentity = '' "
        " AND NOT attisdropped ORDER BY attnum LIMIT 1) "
        "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = ANY(%s) AND c.relkind IN ('r', 'p', 'v') ORDER BY 1, 2",
        [list(SCHEMAS)],
    ).fetchall()
    return [Table(*row) for row in rows]


def writes(table: Table) -> Iterator[tuple[str, sql.Composed]]:
    column = sql.Identifier(table.column)
    yield "insert", sql.SQL("INSERT INTO {} DEFAULT VALUES").format(table.identifier)
    yield "update", sql.SQL("UPDATE {} SET {} = {} WHERE false").format(table.identifier, column, column)
    yield "delete", sql.SQL("DELETE FROM {} WHERE false").format(table.identifier)
    yield "truncate", sql.SQL("TRUNCATE {}").format(table.identifier)
    for lock in ("UPDATE", "NO KEY UPDATE", "SHARE", "KEY SHARE"):
        yield f"for {lock.lower()}", sql.SQL("SELECT 1 FROM {} LIMIT 1 FOR " + lock).format(table.identifier)


def refused(table: Table, outcome: str) -> bool:
    return outcome in REFUSED_VIEW if table.kind == "v" else outcome == "denied"


def attempt(connection: psycopg.Connection, statement: sql.Composed) -> str:
    """Say what Postgres said: `denied`, or what else happened; nothing stays changed."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(statement)
    except DENIED:
        return "denied"
    except psycopg.Error as error:
        return type(error).__name__
    return "allowed"


@pytest.fixture
def admin(database_urls: dict[str, str]) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_urls["admin"]) as connection:
        yield connection


def test_the_tables_are_there(admin: psycopg.Connection) -> None:
    """A walk over nothing would prove nothing."""
    state = {table.name for table in tables(admin) if table.schema == "state"}
    assert state >= BUSINESS_TABLES


@pytest.mark.parametrize("role", sorted(set(OWN_SCHEMA) - {"state_updater"}))
def test_i01_nobody_but_the_updater_writes_or_locks_state(
    role: str, admin: psycopg.Connection, database_urls: dict[str, str]
) -> None:
    with psycopg.connect(database_urls[role]) as connection:
        outcomes = {
            (table, verb): attempt(connection, statement)
            for table in tables(admin)
            if table.schema in ("state", "state_api")
            for verb, statement in writes(table)
        }
    assert {key: outcome for key, outcome in outcomes.items() if not refused(key[0], outcome)} == {}
    assert len(outcomes) > 8 * len(BUSINESS_TABLES)


@pytest.mark.parametrize("role", sorted(OWN_SCHEMA))
def test_nobody_writes_anothers_tables(role: str, admin: psycopg.Connection, database_urls: dict[str, str]) -> None:
    with psycopg.connect(database_urls[role]) as connection:
        outcomes = {
            (table, verb): attempt(connection, statement)
            for table in tables(admin)
            if table.schema != OWN_SCHEMA[role]
            for verb, statement in writes(table)
        }
    assert {key: outcome for key, outcome in outcomes.items() if not refused(key[0], outcome)} == {}


@pytest.mark.parametrize("role", sorted(OWN_SCHEMA))
def test_nobody_reads_anothers_tables_but_state_through_its_views(
    role: str, admin: psycopg.Connection, database_urls: dict[str, str]
) -> None:
    may_read: set[str | None] = {OWN_SCHEMA[role]}
    if role not in ("auth", "copeck_migrator"):
        may_read.add("state_api")
    if role == "operator":
        may_read = {schema for schema in (*SCHEMAS, None) if schema != "auth"}
    with psycopg.connect(database_urls[role]) as connection:
        outcomes = {
            (table.schema, table.name): attempt(
                connection, sql.SQL("SELECT * FROM {} LIMIT 1").format(table.identifier)
            )
            for table in tables(admin)
            if table.name != "alembic_version"
        }
    forbidden = {key for key, outcome in outcomes.items() if key[0] not in may_read and outcome != "denied"}
    assert forbidden == (OPERATOR_VIEWS & set(outcomes) if role == "operator" else set())
    views = {key: outcome for key, outcome in outcomes.items() if key[0] == "state_api" and "state_api" in may_read}
    assert set(views.values()) <= {"allowed"}


def test_the_updater_itself_cannot_rewrite_history(admin: psycopg.Connection, database_urls: dict[str, str]) -> None:
    """I-02, I-03: chains and transfers are only added to; what an invoice was issued with never changes."""
    with psycopg.connect(database_urls["state_updater"]) as connection:
        for name in ("transfers", "transitions"):
            table = next(table for table in tables(admin) if (table.schema, table.name) == ("state", name))
            for verb, statement in writes(table):
                if verb in ("update", "delete", "truncate"):
                    assert attempt(connection, statement) == "denied", (name, verb)
        for column in ("amount_minor", "currency", "account", "beneficiary", "payer", "kind", "issued_at"):
            statement = sql.SQL("UPDATE state.invoices SET {} = {}").format(*[sql.Identifier(column)] * 2)
            assert attempt(connection, statement) == "denied", column
        for name in ("invoices", "payments", "refunds", "payouts", "accounts", "bookings"):
            assert attempt(connection, sql.SQL("DELETE FROM state.{}").format(sql.Identifier(name))) == "denied", name
        assert attempt(connection, sql.SQL("UPDATE state.invoices SET status = status").format()) == "allowed"


def test_the_owner_cannot_rewrite_history_either(admin: psycopg.Connection) -> None:
    row = admin.execute(
        "SELECT array_agg(c.relname ORDER BY c.relname) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
        "JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = 'state' AND NOT t.tgisinternal AND t.tgname LIKE '%append_only' AND NOT c.relispartition"
    ).fetchone()
    assert row == (["transfers", "transitions"],)


def test_the_catalogue_agrees_for_every_role_there_is(admin: psycopg.Connection) -> None:
    """The audit query: whoever has any right to change any column of the state, by whatever way it was granted."""
    rows = admin.execute(
        """
        SELECT DISTINCT role.rolname
        FROM pg_roles AS role
        CROSS JOIN pg_class AS class JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
        WHERE namespace.nspname = 'state' AND class.relkind IN ('r', 'p') AND NOT role.rolsuper
          AND role.rolname <> 'pg_write_all_data'
          AND (has_any_column_privilege(role.oid, class.oid, 'INSERT')
               OR has_any_column_privilege(role.oid, class.oid, 'UPDATE')
               OR has_table_privilege(role.oid, class.oid, 'DELETE')
               OR has_table_privilege(role.oid, class.oid, 'TRUNCATE'))
        """
    ).fetchall()
    # `has_…_privilege` looks at inherited rights; the migrator has the owner's only after SET ROLE.
    assert {row[0] for row in rows} == {"copeck_owner", "state_updater"}
    members = admin.execute(
        "SELECT member.rolname FROM pg_auth_members m JOIN pg_roles granted ON granted.oid = m.roleid "
        "JOIN pg_roles member ON member.oid = m.member "
        "WHERE granted.rolname IN ('pg_write_all_data', 'state_updater', 'copeck_owner')"
    ).fetchall()
    assert {row[0] for row in members} == {"copeck_migrator"}


def test_no_login_is_more_than_it_says(admin: psycopg.Connection) -> None:
    rows = admin.execute(
        "SELECT rolname, rolcanlogin, rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls "
        "FROM pg_roles WHERE rolname = ANY(%s)",
        [[*OWN_SCHEMA, "copeck_owner"]],
    ).fetchall()
    assert {row[0] for row in rows} == {*OWN_SCHEMA, "copeck_owner"}
    assert {row[0] for row in rows if not row[1]} == {"copeck_owner"}
    assert not [row[0] for row in rows if row[2]]


def test_functions_with_the_owners_rights_are_few_and_narrow(admin: psycopg.Connection) -> None:
    """Such a function may keep its own service's partitions. The State Storage has three more, for the operator:
    they settle what is in quarantine and note who did it, and touch nothing of the books. None borrows a search path.
    """
    rows = admin.execute(
        "SELECT n.nspname, p.oid, p.oid::regprocedure::text, coalesce(p.proconfig::text, ''), p.prosrc FROM pg_proc p "
        "JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.prosecdef AND n.nspname = ANY(%s)",
        [[*SCHEMAS, "public"]],
    ).fetchall()
    for schema, oid, name, options, source in rows:
        assert schema != "public", name
        assert schema != "state" or name.startswith("state.maintain_partitions("), name
        assert "search_path=" in options, f"{name} runs with its caller's search path"
        callers = {
            role
            for role in OWN_SCHEMA
            for (may,) in admin.execute("SELECT has_function_privilege(%s, %s::oid, 'EXECUTE')", [role, oid]).fetchall()
            if may
        }
        if schema == "state_api":
            assert name.partition("(")[0] in OPERATOR_FUNCTIONS, name
            assert callers == {"operator"}, name
            assert set(re.findall(r"\bstate\.(\w+)", source)) <= OPERATOR_TABLES, name
        else:
            assert callers <= {role for role, own in OWN_SCHEMA.items() if own == schema}, name


@pytest.mark.parametrize("role", sorted(OWN_SCHEMA))
def test_nobody_creates_anything(role: str, database_urls: dict[str, str]) -> None:
    with psycopg.connect(database_urls[role]) as connection:
        for schema in (*SCHEMAS, "public"):
            create = sql.SQL("CREATE TABLE {} (id int)").format(sql.Identifier(schema, "mine"))
            assert attempt(connection, create) == "denied", schema
        assert attempt(connection, sql.SQL("CREATE TEMPORARY TABLE mine (id int)").format()) == "denied"
        assert attempt(connection, sql.SQL("CREATE SCHEMA mine").format()) == "denied"
