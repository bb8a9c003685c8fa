"""Who is paid out to: checked, masked wherever it is seen, and sealed wherever it is kept (I-14). Pure."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from copeck.kernel.errors import InvalidValueError
from payments_gateway.domain import sealing

NAME_CHARS_MAX = 140
_PURPOSE = "copeck recipient seal v1"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}")
_PHONE = re.compile(r"\+[1-9][0-9]{9,14}")
_BANK_ID = re.compile(r"[A-Za-z0-9]{1,32}")
_ACCOUNT = re.compile(r"[0-9]{20}")
_BIC = re.compile(r"[0-9]{9}")
_NAME = re.compile(r"[^\x00-\x1f\x7f]*")
_SEPARATORS = re.compile(r"[ _\-]")
# So few characters of a short token would be most of it.
_TOKEN_SHOWN_FROM = 12
_CARD_IN_TEXT = re.compile(r"(?<![0-9])[0-9](?:[ \-]?[0-9]){12,18}(?![0-9])")


class RecipientKind(StrEnum):
    """How a recipient is reached."""

    CARD_TOKEN = "card_token"  # noqa: S105 - a kind, not a token
    SBP = "sbp"
    ACCOUNT = "account"


class RecipientError(InvalidValueError):
    """A recipient that nobody can be paid by; `field` says which part is at fault, and no message repeats a value."""

    type = "invalid-recipient"
    title = "The recipient is not valid"


@dataclass(frozen=True, slots=True)
class Recipient:
    """Where money goes: a saved card's token, a phone in the fast payment system, or a bank account. Never prints."""

    kind: RecipientKind
    token: str = field(default="", repr=False)
    phone: str = field(default="", repr=False)
    bank_id: str = ""
    account: str = field(default="", repr=False)
    bic: str = ""
    name: str = field(default="", repr=False)

    @property
    def masked(self) -> str:
        """The recipient as people and messages see it: enough to tell two apart, not enough to pay by."""
        match self.kind:
            case RecipientKind.CARD_TOKEN:
                shown = self.token[-4:] if len(self.token) >= _TOKEN_SHOWN_FROM else ""
                text = f"card token ***{shown}"
            case RecipientKind.SBP:
                text = f"SBP {masked_phone(self.phone)}, bank {self.bank_id}"
            case RecipientKind.ACCOUNT:
                text = f"account ***{self.account[-4:]}, BIC {self.bic}"
        initials = _initials(self.name)
        return f"{text}, {initials}" if initials else text


_FIELDS: dict[RecipientKind, tuple[str, ...]] = {
    RecipientKind.CARD_TOKEN: ("token",),
    RecipientKind.SBP: ("phone", "bank_id"),
    RecipientKind.ACCOUNT: ("account", "bic", "name"),
}
_FORMS: dict[str, tuple[re.Pattern[str], str]] = {
    "token": (_TOKEN, "a token is 1 to 128 letters, digits, underscores and dashes"),
    "phone": (_PHONE, "a phone number is written as +79001234567"),
    "bank_id": (_BANK_ID, "a bank's id in the fast payment system is 1 to 32 letters and digits"),
    "account": (_ACCOUNT, "an account number has 20 digits"),
    "bic": (_BIC, "a BIC has 9 digits"),
}


def parse(values: Mapping[str, Any]) -> Recipient:
    """Read a recipient from the members that its kind has; RecipientError names the first one at fault.

    A name may be given with every kind, and must be with an account.
    """
    try:
        kind = RecipientKind(values.get("kind", ""))
    except ValueError as error:
        raise RecipientError(f"a recipient is one of {', '.join(RecipientKind)}", "kind") from error
    needed = _FIELDS[kind]
    for name, value in values.items():
        if name not in {"kind", "name", *needed} and value not in (None, ""):
            raise RecipientError(f"a recipient by {kind.value} has no {name[:40]}", name[:40])
    read = {name: _read(values.get(name), name) for name in needed if name != "name"}
    holder = values.get("name") or ""
    if not isinstance(holder, str) or len(holder) > NAME_CHARS_MAX or not _NAME.fullmatch(holder):
        raise RecipientError(f"a name is one line of at most {NAME_CHARS_MAX} characters", "name")
    if holds_card_number(holder):
        raise RecipientError("a card's number is not a name", "name")
    if "name" in needed and not holder.strip():
        raise RecipientError("an account needs the name of its holder", "name")
    return Recipient(kind, name=holder.strip(), **read)


def _read(value: object, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise RecipientError(f"{name} is missing", name)
    form, said = _FORMS[name]
    if name == "token" and is_card_number(value):
        raise RecipientError("a card's number is never taken: send the token of a saved card", name)
    if not form.fullmatch(value):
        raise RecipientError(said, name)
    return value


def is_card_number(text: str) -> bool:
    """Tell whether a text may be a card's number: 13 to 19 digits, whatever stands between them."""
    digits = _SEPARATORS.sub("", text)
    return digits.isascii() and digits.isdigit() and 13 <= len(digits) <= 19


def holds_card_number(text: str) -> bool:
    """Tell whether there is a card's number, with its check digit, somewhere in a free text."""
    return any(_luhn(_SEPARATORS.sub("", found.group())) for found in _CARD_IN_TEXT.finditer(text))


def masked_phone(phone: str) -> str:
    """Return a phone number of which only the beginning and the last four digits are seen."""
    return f"{phone[:2]}{'*' * max(0, len(phone) - 6)}{phone[-4:]}"


def _luhn(digits: str) -> bool:
    total = 0
    for index, character in enumerate(reversed(digits)):
        value = int(character) * (1 + index % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _initials(name: str) -> str:
    return " ".join(f"{word[0].upper()}." for word in name.split()[:3])


def seal(secret: str, recipient: Recipient, aad: str) -> bytes:
    """Encrypt a recipient under a shop's secret; `aad` is the payout that it belongs to, and no other."""
    kept = {name: value for name, value in asdict(recipient).items() if value}
    return sealing.seal(secret, _PURPOSE, json.dumps(kept, ensure_ascii=False).encode(), aad)


def unseal(secret: str, sealed: bytes, aad: str) -> Recipient:
    """Decrypt a recipient; sealing.UnsealableError when the secret or the payout is another one."""
    kept = json.loads(sealing.unseal(secret, _PURPOSE, sealed, aad))
    return Recipient(RecipientKind(kept.pop("kind")), **kept)
