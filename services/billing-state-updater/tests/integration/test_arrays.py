"""Columns packed by hand arrive in Postgres as what they were: every type, nulls, empty columns, the ends of ranges."""

import struct
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from billing_state_updater.store import arrays
from copeck.kernel.ids import new_id

pytestmark = pytest.mark.integration

LAST = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
COLUMNS: list[tuple[str, Callable[[Any], arrays.Column], list[Any]]] = [
    ("boolean", arrays.bools, [True, False]),
    ("smallint", arrays.int2s, [0, -32_768, 32_767]),
    ("integer", arrays.int4s, [0, -(2**31), 2**31 - 1]),
    ("bigint", arrays.int8s, [0, -(2**63), 2**63 - 1]),
    ("bigint", arrays.nullable_int8s, [None, 0, -(2**63), None, 2**63 - 1]),
    ("text", arrays.texts, ["", "a", "копейка ₽ 🪙", 'quote " comma , brace {}', "x" * 100_000]),
    ("text", arrays.texts, [None, "", None]),
    ("uuid", arrays.uuids, [new_id(), UUID(int=0), UUID(int=2**128 - 1)]),
    ("uuid", arrays.uuids, [None, new_id()]),
    (
        "date",
        arrays.dates,
        [date(1, 1, 1), date(1999, 12, 31), date(2000, 1, 1), date(2026, 2, 28), date(9999, 12, 31)],
    ),
    (
        "timestamptz",
        arrays.moments,
        [
            datetime(2000, 1, 1, tzinfo=UTC),
            datetime(1999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
            datetime(1, 1, 1, tzinfo=UTC),
            datetime(2026, 3, 1, 12, 30, 15, 123_456, tzinfo=UTC),
            LAST,
        ],
    ),
]


async def connection(url: str) -> psycopg.AsyncConnection[tuple[Any, ...]]:
    opened = await psycopg.AsyncConnection.connect(url, autocommit=True, options="-c timezone=UTC")
    arrays.register(opened)
    return opened


@pytest.mark.parametrize(("kind", "pack", "values"), COLUMNS)
async def test_round_trip(
    database_urls: dict[str, str], kind: str, pack: Callable[[Any], arrays.Column], values: list[Any]
) -> None:
    """The server unpacks just what was packed, in order, and knows the type by itself."""
    async with await connection(database_urls["state_updater"]) as opened:
        cursor = psycopg.AsyncRawCursor(opened)
        for column in (values, values * 300, []):
            await cursor.execute("SELECT item, pg_typeof(item)::text FROM unnest($1) AS item", (pack(column),))
            kinds = {"timestamptz": "timestamp with time zone"}
            assert await cursor.fetchall() == [(value, kinds.get(kind, kind)) for value in column]


async def test_raw_text(database_urls: dict[str, str]) -> None:
    """JSON bytes go as text without being decoded first."""
    async with await connection(database_urls["state_updater"]) as opened:
        cursor = psycopg.AsyncRawCursor(opened)
        packed = arrays.raws([b'{"a": "\xd0\xba"}', b"{}"])
        await cursor.execute("SELECT item::jsonb FROM unnest($1) AS item", (packed,))
        assert await cursor.fetchall() == [({"a": "к"},), ({},)]


async def test_columns_side_by_side(database_urls: dict[str, str]) -> None:
    """As the statements use them: several columns make rows, prepared, in a pipeline."""
    ids = [new_id() for _ in range(500)]
    moments = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=n) for n in range(500)]
    async with await connection(database_urls["state_updater"]) as opened:
        cursor = psycopg.AsyncRawCursor(opened)
        statement = "SELECT a, b, c, d FROM unnest($1, $2, $3, $4) AS row (a, b, c, d) ORDER BY a"
        for _ in range(7):
            columns = (
                arrays.int4s(range(500)),
                arrays.uuids(ids),
                arrays.texts([str(n) for n in range(500)]),
                arrays.moments(moments),
            )
            await cursor.execute(statement, columns, prepare=True)
            rows = await cursor.fetchall()
        assert rows == [(n, ids[n], str(n), moments[n]) for n in range(500)]


@pytest.mark.parametrize(
    ("pack", "value"), [(arrays.int2s, 32_768), (arrays.int4s, 2**31), (arrays.int8s, 2**63), (arrays.texts, "\ud800")]
)
def test_what_does_not_fit_is_an_error_of_the_data(pack: Callable[[Any], arrays.Column], value: Any) -> None:
    """It is raised here and blames the message that holds it, instead of wrapping around."""
    with pytest.raises((struct.error, UnicodeEncodeError)):
        pack([value])


async def test_a_null_character_is_an_error_of_the_data(database_urls: dict[str, str]) -> None:
    async with await connection(database_urls["state_updater"]) as opened:
        cursor = psycopg.AsyncRawCursor(opened)
        with pytest.raises(psycopg.DataError) as caught:
            await cursor.execute("SELECT item FROM unnest($1) AS item", (arrays.texts(["a\x00b"]),))
    assert caught.value.sqlstate == "22021"
