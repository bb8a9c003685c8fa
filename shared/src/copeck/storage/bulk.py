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


class BulkInsert:
    """Inserts rows into some columns of a table. `on_conflict` and `returning` are SQL of ours, never data."""

    def __init__(self, table: sa.Table, columns: Sequence[str], *, on_conflict: str = "", returning: str = "") -> None:
        # Plain text: the names that a table's columns carry are of a class of their own, which orjson refuses as keys.
        self._columns = tuple(name.encode().decode() for name in columns)
        self._bytes = tuple(name for name in self._columns if isinstance(table.c[name].type, sa.LargeBinary))
        names = ", ".join(self._columns)
        values = ", ".join(
            f"decode(row.{name}, 'base64')" if name in self._bytes else f"row.{name}" for name in self._columns
        )
        types = ", ".join(f"{name} {self._type(table, name)}" for name in self._columns)
        self._statement = sa.text(
            f"INSERT INTO {table.fullname} ({names}) SELECT {values} "  # noqa: S608 - names of ours alone
            f"FROM json_to_recordset(CAST(:rows AS json)) AS row({types}) "
            f"{f'ON CONFLICT {on_conflict} ' if on_conflict else ''}{f'RETURNING {returning}' if returning else ''}"
        )

    def _type(self, table: sa.Table, name: str) -> str:
        return "text" if name in self._bytes else str(table.c[name].type.compile(_DIALECT))

    async def __call__(self, tx: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> Sequence[sa.Row[Any]]:
        """Insert; return the rows of `returning`, if something is to be returned."""
        if not rows:
            return []
        document = orjson.dumps([self._row(row) for row in rows]).decode()
        result = await tx.execute(self._statement, {"rows": document})
        return result.all() if result.returns_rows else []

    def _row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        values = {name: row[name] for name in self._columns}
        for name in self._bytes:
            values[name] = b64encode(values[name]).decode() if values[name] is not None else None
        return values
