"""Which faults of Postgres go away by themselves."""

import psycopg
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

UNIQUE_VIOLATION = "23505"
FOREIGN_KEY_VIOLATION = "23503"
# Deadlock, serialization failure, lock not available, query canceled by a time-out.
_TRANSIENT_CODES = frozenset({"40P01", "40001", "40003", "55P03", "57014", "25P03", "25006"})
# Connection faults, lack of resources, operator intervention, system errors.
_TRANSIENT_CLASSES = frozenset({"08", "53", "57", "58"})


def sqlstate_of(error: BaseException) -> str | None:
    """Return the SQLSTATE of an error of psycopg or of SQLAlchemy around it, if it has one."""
    origin = error.orig if isinstance(error, DBAPIError) else error
    return origin.sqlstate if isinstance(origin, psycopg.Error) else None


def is_transient(error: BaseException) -> bool:
    """Tell whether the same transaction may succeed if it is simply tried again.

    True for a lost connection, a restart, a deadlock, a time-out or a full server; false for every error that the
    data caused, which comes back however often it is tried.
    """
    if isinstance(error, PoolTimeoutError):
        return True
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    code = sqlstate_of(error)
    if code is not None:
        return code in _TRANSIENT_CODES or code[:2] in _TRANSIENT_CLASSES
    # Without a SQLSTATE the server did not speak at all: the connection broke, or was never made.
    return isinstance(error, OperationalError | InterfaceError | psycopg.OperationalError | psycopg.InterfaceError)
