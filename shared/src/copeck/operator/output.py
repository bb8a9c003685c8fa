"""What commands print: tables for people, one JSON document for programs."""

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from copeck.kernel.money import EXPONENTS

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
_PIPE_WIDTH = 180


def console() -> Console:
    """Return where tables go. A pipe gets the full width: what is cut off cannot be searched."""
    made = Console(highlight=False, soft_wrap=False)
    return made if made.is_terminal else Console(highlight=False, width=_PIPE_WIDTH)


def complaints() -> Console:
    """Return where errors and progress go, so that standard output holds the answer alone."""
    return Console(stderr=True, highlight=False)


def money(minor: int, currency: str) -> dict[str, str]:
    """Return an amount as the APIs show it; sums may exceed what a single amount may be."""
    exponent = EXPONENTS.get(currency, 2)
    return {"value": f"{Decimal(minor).scaleb(-exponent):.{exponent}f}", "currency": currency}


def spoken(amount: dict[str, str] | None) -> str:
    """Return an amount as text."""
    return f"{amount['value']} {amount['currency']}" if amount else ""


def moment(at: datetime | None) -> str:
    """Return a moment as text, in UTC with milliseconds."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") if at else ""


def clock(at: datetime, day: str) -> str:
    """Return a moment as text, without its date when it is the day that was told already."""
    text = moment(at)
    return text.partition("T")[2].removesuffix("Z") if text.startswith(day) else text


def plain(value: Any) -> Any:
    """Turn what Postgres returns into what JSON holds."""
    match value:
        case datetime():
            return moment(value)
        case UUID() | Decimal():
            return str(value)
        case bytes() | memoryview():
            return bytes(value).decode("utf-8", "replace")
        case dict():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(item) for item in value]
    return value


def emit(document: Any, as_json: bool, show: Callable[[Console], None]) -> None:
    """Print the answer, in one form or the other."""
    if as_json:
        typer.echo(json.dumps(plain(document), ensure_ascii=False, indent=2))
    else:
        show(console())


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], right: Sequence[str] = ()) -> Table:
    """Make a table; cells are shown whole, on more lines where they must."""
    made = Table(
        title=title, title_justify="left", title_style="bold", header_style="bold", pad_edge=False, box=box.SIMPLE_HEAD
    )
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*("" if cell is None else _cell(cell) for cell in row))
    return made


def _cell(cell: Any) -> str:
    # Square brackets are rich's markup; ours are data.
    return str(plain(cell)).replace("[", "\\[")
