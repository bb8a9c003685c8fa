"""Files of payouts: CSV of one payout a line, read so that every bad line is named with its field and reason. Pure."""

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from copeck.kernel.errors import DomainError
from copeck.kernel.money import EXPONENTS, MINOR_MAX, Money, MoneyError
from payments_gateway.domain.recipients import Recipient, RecipientError, RecipientKind, holds_card_number, parse

LINES_MAX = 20_000
LINE_CHARS_MAX = 4_000
DESCRIPTION_CHARS_MAX = 200
REFERENCE_CHARS_MAX = 64
REQUIRED = ("amount", "currency", "recipient_kind", "recipient")
OPTIONAL = ("bank_id", "bic", "bank_id/bic", "name", "description", "reference")
_BOM = b"\xef\xbb\xbf"
_AMOUNT = re.compile(r"[0-9]{1,10}([.,][0-9]{1,2})?")
_LINE = re.compile(r"[^\x00-\x1f\x7f]*")
_RUSSIAN_PHONE = re.compile(r"7[0-9]{10}")
_FIELD_OF = {"token": "recipient", "phone": "recipient", "account": "recipient", "kind": "recipient_kind"}
# What may be a phone number, an account, a card or a token in a column where it does not belong.
_TELLING = re.compile(r"[A-Za-z0-9_\-]{16,}|\+?[0-9](?:[ ()\-]{0,2}[0-9]){6,}")
_HIDDEN = "***"


class BatchFileError(DomainError):
    """The file as a whole cannot be read; nothing of it was taken."""

    type: ClassVar[str] = "invalid-batch-file"
    title: ClassVar[str] = "The file cannot be read"
    status: ClassVar[int] = 422


@dataclass(frozen=True, slots=True)
class GoodLine:
    """A line that becomes a payout."""

    line: int
    amount: Money
    recipient: Recipient
    description: str
    reference: str

    @property
    def shown(self) -> str:
        """The line as it may be kept: JSON with the recipient masked."""
        return _shown(
            amount=self.amount.value,
            currency=self.amount.currency,
            recipient=self.recipient.masked,
            description=self.description,
            reference=self.reference,
        )


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that becomes nothing: `problems` are pairs of a field and what is wrong with it."""

    line: int
    problems: tuple[tuple[str, str], ...]
    shown: str = "{}"

    @property
    def reasons(self) -> str:
        """All problems in one text."""
        return "; ".join(f"{name}: {reason}" for name, reason in self.problems)


@dataclass(slots=True)
class BatchFile:
    """What a file holds. All good lines are in one currency."""

    good: list[GoodLine] = field(default_factory=list)
    bad: list[BadLine] = field(default_factory=list)
    currency: str = ""

    @property
    def total_minor(self) -> int:
        """The sum of the good lines, in minor units."""
        return sum(line.amount.minor for line in self.good)

    @property
    def lines(self) -> int:
        """How many lines there are beside the header and blank ones."""
        return len(self.good) + len(self.bad)


def read(data: bytes) -> BatchFile:
    """Read a file; BatchFileError when there is no telling its lines apart. Line numbers are those of an editor."""
    lines = _text(data).splitlines()
    if not lines or not lines[0].strip():
        raise BatchFileError("the first line must name the columns", "header")
    separator = ";" if lines[0].count(";") > lines[0].count(",") else ","
    columns = _columns(lines[0], separator)
    found = BatchFile()
    reader = _Reader(columns, separator)
    for number, text in enumerate(lines[1:], start=2):
        if not text.strip():
            continue
        if found.lines >= LINES_MAX:
            raise BatchFileError(f"a file has at most {LINES_MAX} lines beside its header", "body")
        read_line = reader.read(number, text)
        if isinstance(read_line, GoodLine):
            found.good.append(read_line)
        else:
            found.bad.append(read_line)
    found.currency = reader.currency
    if not found.lines:
        raise BatchFileError("there is no line beside the header", "body")
    if found.total_minor > MINOR_MAX:
        raise BatchFileError(f"the lines come to more than {Money(MINOR_MAX, found.currency)}: split the file", "body")
    return found


def _text(data: bytes) -> str:
    plain = data.removeprefix(_BOM)
    try:
        text = plain.decode("utf-8")
    except UnicodeDecodeError as error:
        line = plain.count(b"\n", 0, error.start) + 1
        raise BatchFileError(f"line {line} is not UTF-8", "body") from error
    if "\x00" in text:
        line = text.count("\n", 0, text.index("\x00")) + 1
        raise BatchFileError(f"line {line} holds a null character", "body")
    # Only these end a line: others that Python knows may stand in a name.
    return text.replace("\r\n", "\n").replace("\r", "\n").translate(_SEPARATORS)


_SEPARATORS = {ord(odd): " " for odd in "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"}


def _columns(header: str, separator: str) -> list[str]:
    try:
        names = [name.strip().lower() for name in next(csv.reader([header], delimiter=separator, strict=True))]
    except csv.Error as error:
        raise BatchFileError("the header's quotes are not closed", "header") from error
    known = {*REQUIRED, *OPTIONAL}
    missing = [name for name in REQUIRED if name not in names]
    strange = [name[:40] for name in names if name not in known]
    if missing:
        raise BatchFileError(f"the header lacks: {', '.join(missing)}", "header")
    if strange:
        # They may be a phone or a token, if the header is missing: nothing is repeated.
        raise BatchFileError(f"{len(strange)} columns are not known; known are {', '.join(sorted(known))}", "header")
    if len(set(names)) != len(names):
        raise BatchFileError("a column appears twice", "header")
    return names


class _Reader:
    """Reads lines one after the other, and remembers what makes a later one bad: the currency and what came before."""

    def __init__(self, columns: list[str], separator: str) -> None:
        self._columns = columns
        self._separator = separator
        self._seen: dict[tuple[Recipient, int, str], int] = {}
        self.currency = ""

    def read(self, number: int, text: str) -> GoodLine | BadLine:
        """Read one line."""
        if len(text) > LINE_CHARS_MAX:
            return BadLine(number, (("line", f"a line has at most {LINE_CHARS_MAX} characters"),))
        try:
            cells = next(csv.reader([text], delimiter=self._separator, strict=True))
        except csv.Error:
            return BadLine(number, (("line", "quotes are not closed, or something follows them"),))
        if len(cells) != len(self._columns):
            problem = f"it has {len(cells)} columns, and the header {len(self._columns)}"
            return BadLine(number, (("line", problem),))
        values = dict(zip(self._columns, (cell.strip() for cell in cells), strict=True))
        problems: list[tuple[str, str]] = []
        amount = self._amount(values, problems)
        recipient = _recipient(values, problems)
        description = _free(values, "description", DESCRIPTION_CHARS_MAX, problems)
        reference = _free(values, "reference", REFERENCE_CHARS_MAX, problems)
        if problems or amount is None or recipient is None:
            return BadLine(number, tuple(problems), _hidden(values))
        earlier = self._seen.setdefault((recipient, amount.minor, reference), number)
        if earlier != number:
            problem = f"the same recipient, amount and reference as in line {earlier}"
            return BadLine(number, (("line", problem),), _hidden(values))
        return GoodLine(number, amount, recipient, description, reference)

    def _amount(self, values: dict[str, str], problems: list[tuple[str, str]]) -> Money | None:
        currency, text = values["currency"], values["amount"]
        if currency not in EXPONENTS:
            problems.append(("currency", f"it is one of {', '.join(sorted(EXPONENTS))}"))
            currency = ""
        elif self.currency and currency != self.currency:
            problems.append(("currency", f"all lines of a file are in one currency, here {self.currency}"))
        if not _AMOUNT.fullmatch(text):
            problems.append(("amount", "an amount is written as 1234.50"))
            return None
        if not currency:
            return None
        try:
            amount = Money.parse(text.replace(",", "."), currency)
        except MoneyError:
            problems.append(("amount", f"it is too large, or finer than the minor unit of {currency}"))
            return None
        if amount.minor <= 0:
            problems.append(("amount", "it must be more than nothing"))
            return None
        self.currency = self.currency or currency
        return amount


def _recipient(values: dict[str, str], problems: list[tuple[str, str]]) -> Recipient | None:
    kind, details = values["recipient_kind"].lower(), values["recipient"]
    given = {"kind": kind, "name": values.get("name", "")}
    bank_id, bic, either = (values.get(name, "") for name in ("bank_id", "bic", "bank_id/bic"))
    match kind:
        case RecipientKind.CARD_TOKEN:
            given |= {"token": details, "bank_id": bank_id, "bic": bic}
        case RecipientKind.SBP:
            # Spreadsheets take the plus away from what they think is a number.
            phone = f"+{details}" if _RUSSIAN_PHONE.fullmatch(details) else details
            given |= {"phone": phone, "bank_id": bank_id or either, "bic": bic}
        case RecipientKind.ACCOUNT:
            given |= {"account": details, "bic": bic or either, "bank_id": bank_id}
    try:
        return parse(given)
    except RecipientError as error:
        name = error.field or "recipient"
        problems.append((_FIELD_OF.get(name, name), error.detail))
        return None


def _free(values: dict[str, str], name: str, chars_max: int, problems: list[tuple[str, str]]) -> str:
    text = values.get(name, "")
    if len(text) > chars_max or not _LINE.fullmatch(text):
        problems.append((name, f"it is one line of at most {chars_max} characters"))
    elif holds_card_number(text):
        problems.append((name, "it holds a card's number"))
    return text


def _hidden(values: dict[str, str]) -> str:
    """Show a bad line without what may tell a recipient, in whatever column it stands."""
    recipient = values["recipient"]
    shown = {name: _TELLING.sub(_HIDDEN, values.get(name, ""))[:DESCRIPTION_CHARS_MAX] for name in _KEPT}
    amount = values["amount"] if _AMOUNT.fullmatch(values["amount"]) else ""
    currency = values["currency"] if values["currency"] in EXPONENTS else ""
    return _shown(
        amount=amount,
        currency=currency,
        recipient=_HIDDEN + recipient[-4:] if len(recipient) >= 12 else _HIDDEN,
        **shown,
    )


_KEPT = ("description", "reference")


def _shown(**cells: str) -> str:
    return json.dumps(cells, ensure_ascii=False)


def safe_cell(text: str) -> str:
    """Return a cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text


def rows_of(shown: str) -> Iterator[str]:
    """Return the cells of a kept line: amount, currency, recipient, description, reference."""
    cells = json.loads(shown)
    return (str(cells.get(name, "")) for name in ("amount", "currency", "recipient", *_KEPT))
