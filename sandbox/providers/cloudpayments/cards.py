"""Test cards and what each does. A full number never leaves this module: the rest sees a masked card."""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

INSUFFICIENT_FUNDS, EXPIRED_CARD, INVALID_CARD, INCORRECT_CVV = 5051, 5054, 5014, 5082
CRYPTOGRAM_PREFIX = "01"


class CardError(ValueError):
    """The card as typed cannot be sent to a bank; ``field`` names the input at fault."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the bank answers: the reason of a decline (0 approves), at the first payment and by token."""

    three_ds: bool
    first: int = 0
    by_token: int = 0


@dataclass(frozen=True, slots=True)
class TestCard:
    """A row of the provider's list of test cards."""

    __test__ = False

    number: str
    behaviour: Behaviour
    note: str


TEST_CARDS: tuple[TestCard, ...] = (
    TestCard("4242424242424242", Behaviour(True), "approved, 3-D Secure"),
    TestCard("5555555555554444", Behaviour(True), "approved, 3-D Secure"),
    TestCard("2200000000000004", Behaviour(True), "approved, 3-D Secure"),
    TestCard("4012888888881881", Behaviour(True, INSUFFICIENT_FUNDS, INSUFFICIENT_FUNDS), "no funds, 3-D Secure"),
    TestCard("4000000000003055", Behaviour(False), "approved, no 3-D Secure"),
    TestCard("4111111111111111", Behaviour(False, 0, INSUFFICIENT_FUNDS), "approved once, no funds by token"),
    TestCard("4000056655665556", Behaviour(False, INSUFFICIENT_FUNDS, INSUFFICIENT_FUNDS), "no funds, no 3-D Secure"),
)
_BY_NUMBER = {card.number: card.behaviour for card in TEST_CARDS}
_UNKNOWN = Behaviour(False, INVALID_CARD, INVALID_CARD)


@dataclass(frozen=True, slots=True)
class Card:
    """A card without its number: what may be stored and shown, and how it behaves."""

    first_six: str
    last_four: str
    expires: str
    type: str
    three_ds: bool
    first: int
    by_token: int

    def as_json(self) -> dict[str, Any]:
        """Plain form for the store."""
        return {name: getattr(self, name) for name in self.__slots__}


def luhn(number: str) -> bool:
    """The check digit is right."""
    total = 0
    for index, digit in enumerate(reversed(number)):
        value = int(digit) * (2 if index % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _card_type(number: str) -> str:
    if number.startswith("4"):
        return "Visa"
    if 2200 <= int(number[:4]) <= 2204:
        return "MIR"
    if number[0] in "25":
        return "MasterCard"
    return "Maestro" if number[0] == "6" else "Unknown"


def _expiry(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"\s*(\d{1,2})\s*[/-]?\s*(?:20)?(\d{2})\s*", text)
    if match is None or not 1 <= int(match[1]) <= 12:
        raise CardError("expires", "expiry must be MM/YY")
    return int(match[1]), int(match[2])


def read_card(number: str, expires: str, cvc: str, *, now: datetime | None = None) -> Card:
    """Check what was typed and find how the card behaves.

    Beyond the provider's list: an expiry in the past is declined as expired and the code 000 as a wrong CVV; any
    other number is declined as invalid, as test terminals do.
    """
    digits = re.sub(r"[\s-]", "", number)
    if not re.fullmatch(r"\d{13,19}", digits) or not luhn(digits):
        raise CardError("number", "card number is wrong")
    month, year = _expiry(expires)
    if not re.fullmatch(r"\d{3,4}", cvc.strip()):
        raise CardError("cvc", "security code must have three digits")
    behaviour = _BY_NUMBER.get(digits, _UNKNOWN)
    moment = now or datetime.now(UTC)
    first = behaviour.first
    if (2000 + year, month) < (moment.year, moment.month):
        first = EXPIRED_CARD
    elif cvc.strip() == "000":
        first = INCORRECT_CVV
    return Card(
        first_six=digits[:6], last_four=digits[-4:], expires=f"{month:02d}/{year:02d}", type=_card_type(digits),
        three_ds=behaviour.three_ds, first=first, by_token=behaviour.by_token,
    )  # fmt: skip


def make_cryptogram(number: str, expires: str, cvc: str) -> str:
    """A packet for ``payments/cards/charge``. The real one is encrypted; this one is only encoded."""
    packed = json.dumps({"n": number, "e": expires, "c": cvc}, separators=(",", ":")).encode()
    return CRYPTOGRAM_PREFIX + base64.b64encode(packed).decode("ascii")


def read_cryptogram(packet: str) -> Card:
    """The card of a packet made by :func:`make_cryptogram` or by the widget script's ``Checkout``."""
    try:
        if not packet.startswith(CRYPTOGRAM_PREFIX):
            raise ValueError("prefix")
        fields = json.loads(base64.b64decode(packet[len(CRYPTOGRAM_PREFIX) :], validate=True))
        return read_card(str(fields["n"]), str(fields["e"]), str(fields["c"]))
    except CardError:
        raise
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise CardError("CardCryptogramPacket", "cryptogram cannot be read") from error
