"""Where the servers are: from the environment, else from the stack that runs on this machine."""

import contextlib
import getpass
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from pydantic import ValidationError

from copeck.kernel.settings import Settings
from copeck.operator.errors import OperatorError, UnreachableError

_STATEMENT_TIMEOUT_MS = 600_000
_CONNECT_TIMEOUT_S = 5

Connection = psycopg.Connection[tuple[Any, ...]]


class OperatorSettings(Settings):
    """`COPECK_DATABASE_URL` (role operator), `COPECK_BROKER_URL` (user operator), both also as `…_FILE`."""

    operator_name: str = ""
    """Who is at the keyboard, for the record; the login name of the machine when it is not set."""


def settings() -> OperatorSettings:
    """Read the settings; UnreachableError names what is wrong with them."""
    try:
        read = OperatorSettings()
    except (ValidationError, OSError) as error:
        raise UnreachableError(f"the settings cannot be read: {error}") from error
    if read.database_url and read.broker_url:
        return read
    stack = _stack()
    return read.model_copy(
        update={
            "database_url": read.database_url or stack.get("databases", {}).get("operator", ""),
            "broker_url": read.broker_url or stack.get("brokers", {}).get("operator", ""),
        }
    )


def _stack() -> dict[str, Any]:
    """Return the state file of a running stack: COPECK_STACK_FILE, or `.devstack/stack.json` here or above."""
    named = os.environ.get("COPECK_STACK_FILE")
    folders = (Path.cwd(), *Path.cwd().parents)
    candidates = [Path(named)] if named else [folder / ".devstack" / "stack.json" for folder in folders]
    for path in candidates:
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        return found
    return {}


def actor() -> str:
    """Return who is at the keyboard: COPECK_OPERATOR_NAME, else the login name."""
    named = settings().operator_name
    if named:
        return named[:120]
    try:
        return getpass.getuser()[:120]
    except (KeyError, OSError):
        return "unknown"


def broker_url() -> str:
    """Return the broker's URL as user operator."""
    url = settings().broker_url
    if not url:
        raise UnreachableError("no broker: set COPECK_BROKER_URL (user operator), or start a stack with make up")
    return url


@contextlib.contextmanager
def database(*, writes: bool = False) -> Iterator[Connection]:
    """Connect as role operator. Everything is read in one snapshot, so that a check sees books that stand still.

    `writes` is for the few recorded deeds; the role can still write nothing but through the functions granted to it.
    """
    url = settings().database_url
    if not url:
        raise UnreachableError("no database: set COPECK_DATABASE_URL (role operator), or start a stack with make up")
    options = f"-c statement_timeout={_STATEMENT_TIMEOUT_MS} -c lock_timeout=5000 -c timezone=UTC"
    if not writes:
        options += " -c default_transaction_read_only=on -c default_transaction_isolation=repeatable\\ read"
    try:
        connection = psycopg.connect(
            url, connect_timeout=_CONNECT_TIMEOUT_S, application_name="copeck-operator", options=options
        )
    except psycopg.OperationalError as error:
        raise UnreachableError(f"the database is not reached: {_first_line(error)}") from error
    try:
        with connection:
            yield connection
    except psycopg.errors.InsufficientPrivilege as error:
        raise OperatorError(f"the database refuses: {_first_line(error)}; is this the role operator?") from error
    except psycopg.errors.UndefinedTable as error:
        raise OperatorError(f"the database is behind: {_first_line(error)}; run make migrate") from error
    except psycopg.OperationalError as error:
        raise UnreachableError(f"the database was lost: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
