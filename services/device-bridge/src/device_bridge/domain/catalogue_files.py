"""Files of the catalogue: CSV of a drink or a device a line, read so that every bad line is named with its reason.

A file is taken whole or not at all, so that a catalogue is never half changed: what is bad is told line by line. Pure.
"""

import csv
import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import ClassVar, Generic, TypeVar

from copeck.kernel.errors import DomainError

LINES_MAX = 1_000
LINE_CHARS_MAX = 8_000
BAD_MAX = 500
_BOM = b"\xef\xbb\xbf"
_SEPARATORS = {ord(odd): " " for odd in "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"}
_FORMULA = frozenset("=+-@\t\r")

Line = TypeVar("Line")
Problems = list[tuple[str, str]]


class CatalogueFileError(DomainError):
    """The file as a whole cannot be read; nothing of it was taken."""

    type: ClassVar[str] = "invalid-catalogue-file"
    title: ClassVar[str] = "The file cannot be read"
    status: ClassVar[int] = 422


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot be taken: `problems` are pairs of a column and what is wrong with it."""

    line: int
    problems: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class GoodLine(Generic[Line]):
    """A line that can be taken, and where it stands, as an editor counts."""

    line: int
    value: Line


@dataclass(slots=True)
class CatalogueFile(Generic[Line]):
    """What a file holds."""

    columns: frozenset[str]
    good: list[GoodLine[Line]] = field(default_factory=list)
    bad: list[BadLine] = field(default_factory=list)

    @property
    def lines(self) -> int:
        """How many lines there are beside the header and blank ones."""
        return len(self.good) + len(self.bad)

    @property
    def values(self) -> list[Line]:
        """What the good lines say."""
        return [one.value for one in self.good]

    def refuse(self, refused: dict[int, tuple[str, str]]) -> None:
        """Make good lines bad by what the file alone does not tell: line number to column and reason."""
        self.bad += [BadLine(one.line, (refused[one.line],)) for one in self.good if one.line in refused]
        self.good = [one for one in self.good if one.line not in refused]
        self.bad.sort(key=lambda one: one.line)


@dataclass(frozen=True, slots=True)
class Shape(Generic[Line]):
    """What a kind of file looks like: its columns, how a line is read, and what no two lines may have in common."""

    required: tuple[str, ...]
    optional: tuple[str, ...]
    read: Callable[[dict[str, str], Problems], Line | None]
    key: Callable[[Line], Hashable]
    key_words: str


def read(data: bytes, shape: Shape[Line]) -> CatalogueFile[Line]:
    """Read a file; CatalogueFileError when there is no telling its lines apart, or when most of them are bad."""
    lines = _text(data).split("\n")
    if not lines[0].strip():
        raise CatalogueFileError("the first line must name the columns", "header")
    separator = ";" if lines[0].count(";") > lines[0].count(",") else ","
    columns = _columns(lines[0], separator, shape)
    found: CatalogueFile[Line] = CatalogueFile(frozenset(columns))
    seen: dict[Hashable, int] = {}
    for number, text in enumerate(lines[1:], start=2):
        if not text.strip():
            continue
        if found.lines >= LINES_MAX:
            raise CatalogueFileError(f"a file has at most {LINES_MAX} lines beside its header", "body")
        if len(found.bad) >= BAD_MAX:
            raise CatalogueFileError(f"more than {BAD_MAX} lines are bad: is it the right file?", "body")
        problems: Problems = []
        value = _line(text, columns, separator, shape, problems)
        if value is not None and not problems:
            earlier = seen.setdefault(shape.key(value), number)
            if earlier != number:
                problems.append(("line", f"the same {shape.key_words} as in line {earlier}"))
        if value is None or problems:
            found.bad.append(BadLine(number, tuple(problems)))
        else:
            found.good.append(GoodLine(number, value))
    if not found.lines:
        raise CatalogueFileError("there is no line beside the header", "body")
    return found


def _line(text: str, columns: list[str], separator: str, shape: Shape[Line], problems: Problems) -> Line | None:
    if len(text) > LINE_CHARS_MAX:
        problems.append(("line", f"a line has at most {LINE_CHARS_MAX} characters"))
        return None
    try:
        cells = next(csv.reader([text], delimiter=separator, strict=True))
    except csv.Error:
        problems.append(("line", "quotes are not closed, or something follows them"))
        return None
    if len(cells) != len(columns):
        problems.append(("line", f"it has {len(cells)} columns, and the header {len(columns)}"))
        return None
    return shape.read(dict(zip(columns, map(_plain, cells), strict=True)), problems)


def _text(data: bytes) -> str:
    plain = data.removeprefix(_BOM)
    try:
        text = plain.decode("utf-8")
    except UnicodeDecodeError as error:
        line = plain.count(b"\n", 0, error.start) + 1
        raise CatalogueFileError(f"line {line} is not UTF-8", "body") from error
    if "\x00" in text:
        line = text.count("\n", 0, text.index("\x00")) + 1
        raise CatalogueFileError(f"line {line} holds a null character", "body")
    # Only these end a line: others that Python knows may stand in a name.
    return text.replace("\r\n", "\n").replace("\r", "\n").translate(_SEPARATORS)


def _columns(header: str, separator: str, shape: Shape[Line]) -> list[str]:
    try:
        names = [name.strip().lower() for name in next(csv.reader([header], delimiter=separator, strict=True))]
    except csv.Error as error:
        raise CatalogueFileError("the header's quotes are not closed", "header") from error
    known = (*shape.required, *shape.optional)
    missing = [name for name in shape.required if name not in names]
    strange = [re.sub(r"[^\w.\-]", "?", name)[:40] for name in names if name not in known]
    if missing:
        raise CatalogueFileError(f"the header lacks: {', '.join(missing)}", "header")
    if strange:
        listed = f"{', '.join(strange[:10])}; known are {', '.join(known)}"
        raise CatalogueFileError(f"columns that are not known: {listed}", "header")
    if len(set(names)) != len(names):
        raise CatalogueFileError("a column appears twice", "header")
    return names


def safe_cell(text: str) -> str:
    """Return a cell that no spreadsheet takes for a formula; `read` takes the quote away again."""
    return f"'{text}" if text.lstrip("'")[:1] in _FORMULA else text


def _plain(cell: str) -> str:
    """Return what a cell says, without the quote that `safe_cell` put before it."""
    marked = cell.startswith("'") and cell.lstrip("'")[:1] in _FORMULA
    return (cell[1:] if marked else cell).strip()
