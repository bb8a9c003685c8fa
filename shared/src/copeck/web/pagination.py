"""Pages of a list by keyset: a cursor says after which row the next page starts, so that new rows move nothing."""

import base64
import json
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from copeck.web.problems import Problem

LIMIT_DEFAULT = 20
LIMIT_MAX = 100
_CURSOR_CHARS_MAX = 512

T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    """One page; `next_cursor` is null on the last."""

    model_config = ConfigDict(frozen=True)

    items: list[T]
    next_cursor: str | None = Field(default=None, description="Send as `cursor` to get what follows.")


class CursorParams(BaseModel):
    """What the caller asked for: how many rows, and after which key (the values of the last row's order columns)."""

    model_config = ConfigDict(frozen=True)

    limit: int
    after: tuple[Any, ...] | None = None

    def page(self, rows: list[Any], key: Any, show: Any) -> Page[Any]:
        """Cut a page out of rows fetched with `limit + 1`: `key(row)` gives the order columns, `show(row)` the item."""
        shown = rows[: self.limit]
        more = len(rows) > self.limit
        return Page(items=[show(row) for row in shown], next_cursor=encode_cursor(*key(shown[-1])) if more else None)


def encode_cursor(*key: Any) -> str:
    """Make a cursor of the order columns of a page's last row; opaque to the caller."""
    text = json.dumps([str(part) if not isinstance(part, int | str | None) else part for part in key])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> tuple[Any, ...]:
    """Read a cursor that we made; 422 for any other text."""
    try:
        if len(cursor) > _CURSOR_CHARS_MAX:
            raise ValueError("too long")
        decoded = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        key = json.loads(decoded)
        if not isinstance(key, list) or not all(isinstance(part, int | str | None) for part in key):
            raise ValueError("not a key")
        if any(isinstance(part, str) and "\x00" in part for part in key):
            raise ValueError("not text")
        return tuple(key)
    except (ValueError, RecursionError) as error:
        raise invalid_cursor() from error


def invalid_cursor() -> Problem:
    """The cursor was not made by this list; raise it too when its parts do not have the types of the order columns."""
    return Problem(422, "invalid-cursor", "The cursor is not valid", "Send a cursor of this list, unchanged", "cursor")


async def cursor_params(
    limit: Annotated[int, Query(ge=1, le=LIMIT_MAX, description="How many items a page holds.")] = LIMIT_DEFAULT,
    cursor: Annotated[
        str | None, Query(max_length=_CURSOR_CHARS_MAX, description="`next_cursor` of the page before.")
    ] = None,
) -> CursorParams:
    """Read `limit` and `cursor`."""
    return CursorParams(limit=limit, after=decode_cursor(cursor) if cursor else None)


Cursor = Annotated[CursorParams, Depends(cursor_params)]
