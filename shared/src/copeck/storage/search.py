"""Searching texts for what a person typed."""

from typing import Any

import sqlalchemy as sa

# Capitals of every script are known to it, in whatever locale a database was made; to "C" only those of English are.
COLLATION = "und-x-icu"


def literal(text: str) -> str:
    r"""Return a text as LIKE and ILIKE take it literally: their wildcards and their escape (\) are escaped."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def contains(column: sa.ColumnElement[Any], text: str) -> sa.ColumnElement[bool]:
    """Tell whether a column holds a text, whatever is a capital in either."""
    return sa.collate(column, COLLATION).ilike(f"%{literal(text)}%")
