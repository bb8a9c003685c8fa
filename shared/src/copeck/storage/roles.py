"""Who may log in to Postgres and which schema is whose; everything finer is granted by the services' migrations."""

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

from copeck.storage.engine import libpq_url

log = logging.getLogger(__name__)

OWNER = "copeck_owner"
"""Owns every table. No service logs in as it: migrations take it on by SET ROLE."""

MIGRATOR = "copeck_migrator"
"""The migration job's login."""

OPERATOR = "operator"
"""Reads everything but passwords and sessions, writes nothing."""


@dataclass(frozen=True, slots=True)
class Role:
    """A service's login, its own schema, and whether it may see the State Storage's views."""

    name: str
    schema: str
    reads_state: bool


ROLES: tuple[Role, ...] = (
    Role("auth", "auth", reads_state=False),
    Role("subscriptions", "subscriptions", reads_state=True),
    Role("state_updater", "state", reads_state=True),
    Role("gateway", "gateway", reads_state=True),
    Role("devices", "devices", reads_state=True),
    Role("reminders", "reminders", reads_state=True),
)

STATE_SCHEMA = "state"
STATE_API_SCHEMA = "state_api"
SCHEMAS: tuple[str, ...] = (*(role.schema for role in ROLES), STATE_API_SCHEMA)

# An operator has no business with password hashes, sessions and API keys.
_OPERATOR_SCHEMAS = tuple(schema for schema in SCHEMAS if schema != "auth")

LOGINS: tuple[str, ...] = (MIGRATOR, OPERATOR, *(role.name for role in ROLES))
"""Every role that logs in; `bootstrap` wants a password for each."""

_ATTEMPTS_MAX = 20


def bootstrap(admin_url: str, passwords: dict[str, str]) -> None:
    """Create what is missing of the database, roles, schemas and their rights; safe to run again at any time.

    `admin_url` is a superuser's URL of the database of the services. A login without an entry in `passwords` keeps
    the password that it has.
    """
    unknown = sorted(set(passwords) - set(LOGINS))
    if unknown:
        raise ValueError(f"passwords are given for roles that do not exist: {', '.join(unknown)}")
    _create_database(admin_url)
    for attempt in range(_ATTEMPTS_MAX):
        try:
            with psycopg.connect(libpq_url(admin_url), connect_timeout=5) as connection:
                _create_roles(connection, passwords)
                _create_schemas(connection)
            return
        except (psycopg.errors.InternalError_, psycopg.errors.UniqueViolation, psycopg.errors.DuplicateObject):
            # Roles belong to the whole server: another bootstrap, for another database, changes them now.
            if attempt == _ATTEMPTS_MAX - 1:
                raise
            time.sleep(0.05 * (attempt + 1))


def _create_database(admin_url: str) -> None:
    url = make_url(admin_url)
    try:
        psycopg.connect(libpq_url(admin_url), connect_timeout=5).close()
    except psycopg.OperationalError as error:
        if "does not exist" not in str(error) or url.database is None:
            raise
        maintenance = libpq_url(url.set(database="postgres").render_as_string(hide_password=False))
        with psycopg.connect(maintenance, autocommit=True, connect_timeout=5) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(url.database)))


def _create_roles(connection: psycopg.Connection, passwords: dict[str, str]) -> None:
    rows = connection.execute("SELECT rolname FROM pg_roles").fetchall()
    known = {row[0] for row in rows}
    if OWNER not in known:
        connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(OWNER)))
    for name in LOGINS:
        if name not in known:
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
        attributes = sql.SQL("ALTER ROLE {} NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS")
        connection.execute(attributes.format(sql.Identifier(name)))
        if passwords.get(name):
            # Hashed here, so that the password never reaches the server's log.
            hashed = connection.pgconn.encrypt_password(
                passwords[name].encode(), name.encode(), b"scram-sha-256"
            ).decode()
            change = sql.SQL("ALTER ROLE {} PASSWORD {}")
            connection.execute(change.format(sql.Identifier(name), sql.Literal(hashed)))
    # The owner's rights are the migrator's only after SET ROLE: a slip in another session of its own writes nothing.
    connection.execute(sql.SQL("ALTER ROLE {} NOINHERIT").format(sql.Identifier(MIGRATOR)))
    connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(OWNER), sql.Identifier(MIGRATOR)))
    database = sql.Identifier(connection.info.dbname)
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
    connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, _identifiers((OWNER, *LOGINS))))
    connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")


def _create_schemas(connection: psycopg.Connection) -> None:
    owner = sql.Identifier(OWNER)
    connection.execute(
        sql.SQL("ALTER DEFAULT PRIVILEGES FOR ROLE {} REVOKE ALL ON FUNCTIONS FROM PUBLIC").format(owner)
    )
    for schema in SCHEMAS:
        name = sql.Identifier(schema)
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {} AUTHORIZATION {}").format(name, owner))
        connection.execute(sql.SQL("REVOKE ALL ON SCHEMA {} FROM PUBLIC").format(name))
    for role in ROLES:
        _grant_usage(connection, role.schema, (role.name,))
    readers = tuple(role.name for role in ROLES if role.reads_state)
    _grant_usage(connection, STATE_API_SCHEMA, readers)
    _grant_usage_and_reading(connection, STATE_API_SCHEMA, readers)
    for schema in _OPERATOR_SCHEMAS:
        _grant_usage(connection, schema, (OPERATOR,))
        _grant_usage_and_reading(connection, schema, (OPERATOR,))


def _grant_usage(connection: psycopg.Connection, schema: str, roles: Iterable[str]) -> None:
    connection.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(schema), _identifiers(roles)))


def _grant_usage_and_reading(connection: psycopg.Connection, schema: str, roles: Iterable[str]) -> None:
    """Let roles read every table or view that the owner has made, or will ever make, in a schema."""
    name, names = sql.Identifier(schema), _identifiers(roles)
    connection.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA {} TO {}").format(name, names))
    connection.execute(
        sql.SQL("ALTER DEFAULT PRIVILEGES FOR ROLE {} IN SCHEMA {} GRANT SELECT ON TABLES TO {}").format(
            sql.Identifier(OWNER), name, names
        )
    )


def _identifiers(names: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(name) for name in names)
