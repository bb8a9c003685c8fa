"""Columns as binary Postgres arrays, packed in one go: the hot path sends a column, never a row.

psycopg dumps a list element by element, in Python; a column is packed here with one `struct` call.
The layout is the server's `array_send`: dimensions, a null flag, the element type, length, lower bound, elements.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from struct import pack
from typing import ClassVar
from uuid import UUID

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format

_BOOL, _INT8, _INT2, _INT4, _TEXT, _DATE, _TIMESTAMPTZ, _UUID = 16, 20, 21, 23, 25, 1082, 1184, 2950
_EPOCH_DATE = date(2000, 1, 1).toordinal()
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_NULL = b"\xff\xff\xff\xff"
_LENGTH_16 = pack("!i", 16)


class Column:
    """A packed column; the subclass names the array type."""

    oid: ClassVar[int]
    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


class Bools(Column):
    """boolean[]"""

    oid = 1000


class Int2s(Column):
    """smallint[]"""

    oid = 1005


class Int4s(Column):
    """integer[]"""

    oid = 1007


class Int8s(Column):
    """bigint[]"""

    oid = 1016


class Texts(Column):
    """text[]"""

    oid = 1009


class Dates(Column):
    """date[]"""

    oid = 1182


class Moments(Column):
    """timestamptz[]"""

    oid = 1185


class Uuids(Column):
    """uuid[]"""

    oid = 2951


def _head(element: int, count: int, nullable: bool = False) -> bytes:
    if not count:
        return pack("!iii", 0, 0, element)
    return pack("!iiiii", 1, int(nullable), element, count, 1)


def _fixed(element: int, letter: str, size: int, values: Sequence[int]) -> bytes:
    flat = [item for value in values for item in (size, value)]
    return _head(element, len(values)) + pack(f"!{f'i{letter}' * len(values)}", *flat)


def bools(values: Sequence[bool]) -> Bools:
    """Pack boolean[]."""
    return Bools(_fixed(_BOOL, "B", 1, [int(value) for value in values]))


def int2s(values: Sequence[int]) -> Int2s:
    """Pack smallint[]."""
    return Int2s(_fixed(_INT2, "h", 2, values))


def int4s(values: Sequence[int]) -> Int4s:
    """Pack integer[]."""
    return Int4s(_fixed(_INT4, "i", 4, values))


def int8s(values: Sequence[int]) -> Int8s:
    """Pack bigint[]."""
    return Int8s(_fixed(_INT8, "q", 8, values))


def nullable_int8s(values: Sequence[int | None]) -> Int8s:
    """Pack bigint[] that may hold nulls."""
    parts = [_NULL if value is None else pack("!iq", 8, value) for value in values]
    return Int8s(_head(_INT8, len(parts), True) + b"".join(parts))


def texts(values: Sequence[str | None]) -> Texts:
    """Pack text[]; None is null."""
    parts = []
    for value in values:
        if value is None:
            parts.append(_NULL)
        else:
            raw = value.encode()
            parts.append(len(raw).to_bytes(4))
            parts.append(raw)
    return Texts(_head(_TEXT, len(values), True) + b"".join(parts))


def raws(values: Sequence[bytes]) -> Texts:
    """Pack text[] of what is UTF-8 already."""
    parts = []
    for value in values:
        parts.append(len(value).to_bytes(4))
        parts.append(value)
    return Texts(_head(_TEXT, len(values)) + b"".join(parts))


def uuids(values: Sequence[UUID | None]) -> Uuids:
    """Pack uuid[]; None is null."""
    parts = [_NULL if value is None else _LENGTH_16 + value.bytes for value in values]
    return Uuids(_head(_UUID, len(values), True) + b"".join(parts))


def dates(values: Sequence[date]) -> Dates:
    """Pack date[]."""
    return Dates(_fixed(_DATE, "i", 4, [value.toordinal() - _EPOCH_DATE for value in values]))


def moments(values: Sequence[datetime]) -> Moments:
    """Pack timestamptz[], exact to the microsecond."""
    flat = []
    for value in values:
        gap = value - _EPOCH
        flat.append((gap.days * 86_400 + gap.seconds) * 1_000_000 + gap.microseconds)
    return Moments(_fixed(_TIMESTAMPTZ, "q", 8, flat))


class _ColumnDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Column) -> Buffer:
        return obj.data


def register(connection: psycopg.AsyncConnection) -> None:
    """Teach a connection to send columns."""
    for column in (Bools, Int2s, Int4s, Int8s, Texts, Dates, Moments, Uuids):
        dumper = type(f"{column.__name__}Dumper", (_ColumnDumper,), {"oid": column.oid})
        connection.adapters.register_dumper(column, dumper)
