"""Many rows in one statement: they travel as one document, so that the statement is the same whatever their number is.

A document is written by compiled code in one go; arrays, a parameter a column, took ten times as long in the driver.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncConnection

_DIALECT = pg.dialect()  # type: ignore[no-untyped-call]


class _Rows:
    """Rows of some columns of a table, as one document and as SQL that reads it."""

    def __init__(self, table: sa.Table, columns: Sequence[str]) -> None:
        # Plain text: the names that a table's columns carry are of a class of their own, which orjson refuses as keys.
        self.columns = tuple(name.encode().decode() for name in columns)
        self._bytes = tuple(name for name in self.columns if isinstance(table.c[name].type, sa.LargeBinary))
        types = ", ".join(f"{name} {self._type(table, name)}" for name in self.columns)
        self.source = f"json_to_recordset(CAST(:rows AS json)) AS row({types})"

    def _type(self, table: sa.Table, name: str) -> str:
        return "text" if name in self._bytes else str(table.c[name].type.compile(_DIALECT))

    def value(self, name: str) -> str:
        """Return the SQL of a column's value."""
        return f"decode(row.{name}, 'base64')" if name in self._bytes else f"row.{name}"

    def document(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
        """Return the parameter of the statement."""
        return {"rows": orjson.dumps([self._row(row) for row in rows]).decode()}

    def _row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        values = {name: row[name] for name in self.columns}
        for name in self._bytes:
            values[name] = b64encode(values[name]).decode() if values[name] is not None else None
        return values


class BulkInsert:
    """Inserts rows into some columns of a table. `on_conflict` and `returning` are SQL of ours, never data."""

    def __init__(self, table: sa.Table, columns: Sequence[str], *, on_conflict: str = "", returning: str = "") -> None:
        self._rows = rows = _Rows(table, columns)
        names = ", ".join(rows.columns)
        values = ", ".join(rows.value(name) for name in rows.columns)
        self._statement = sa.text(
            f"INSERT INTO {table.fullname} ({names}) SELECT {values} FROM {rows.source} "  # noqa: S608 - names of ours alone
            f"{f'ON CONFLICT {on_conflict} ' if on_conflict else ''}{f'RETURNING {returning}' if returning else ''}"
        )

    async def __call__(self, tx: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> Sequence[sa.Row[Any]]:
        """Insert; return the rows of `returning`, if something is to be returned."""
        if not rows:
            return []
        result = await tx.execute(self._statement, self._rows.document(rows))
        return result.all() if result.returns_rows else []


class BulkUpdate:
    """Changes some columns of rows that are found by their key; each key is named at most once."""

    def __init__(self, table: sa.Table, key: str, columns: Sequence[str]) -> None:
        self._rows = rows = _Rows(table, (key, *columns))
        values = ", ".join(f"{name} = {rows.value(name)}" for name in rows.columns[1:])
        self._statement = sa.text(
            f"UPDATE {table.fullname} AS kept SET {values} FROM {rows.source} "  # noqa: S608 - names of ours alone
            f"WHERE kept.{rows.columns[0]} = row.{rows.columns[0]}"
        )

    async def __call__(self, tx: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Change the rows; nothing is returned, so that it may be pipelined."""
        if rows:
            await tx.execute(self._statement, self._rows.document(rows))
