"""What a line of a catalogue's file may say: drinks of one device, and devices. Pure."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from uuid import UUID
from zoneinfo import available_timezones

from copeck.kernel.money import Money, MoneyError
from device_bridge.domain.catalogue_files import Problems, Shape

SIZES = ("small", "medium", "large")
LANGUAGES = ("ru", "en")
TEXT_STATES = ("ready", "busy", "error", "sold_out", "off")
PRICE_RULES = ("catalogue", "telemetry", "catalogue_then_telemetry", "telemetry_then_catalogue")
VAT_CODES = range(1, 13)
PAYMENT_SUBJECTS = (
    "commodity", "excise", "job", "service", "payment", "agent_commission", "composite", "another",
)  # fmt: skip
PAYMENT_METHODS = (
    "full_prepayment", "partial_prepayment", "advance", "full_payment", "partial_payment", "credit", "credit_payment",
)  # fmt: skip
MEASURES = ("piece", "gram", "kilogram", "milliliter", "liter", "another")
DEVICE_ID = r"^[A-Za-z0-9_-]{3,40}$"
RESERVED_IDS = frozenset({"orders"})
"""Codes whose pages would never be seen: `/m/orders/…` are the orders' own."""
DRINK_ID = r"^[A-Za-z0-9_.-]{1,64}$"
NAME_CHARS_MAX = 120
TEXT_CHARS_MAX = 200
DRIVER_CHARS_MAX = 4_000

_ONE_LINE = re.compile(r"[^\x00-\x1f\x7f]*")
_PRICE = re.compile(r"[0-9]{1,8}([.,][0-9]{1,2})?")
_YES = frozenset({"yes", "true", "1", "да"})
_NO = frozenset({"no", "false", "0", "нет"})
TEXT_COLUMNS = {f"text_{state}_{language}": (state, language) for state in TEXT_STATES for language in LANGUAGES}


@dataclass(frozen=True, slots=True)
class DrinkLine:
    """A drink in one size. `price_minor` None: there is no price of ours, the machine's counts if the rule says so."""

    drink_id: str
    size: str
    name: str
    price_minor: int | None
    available: bool
    vat_code: int | None
    payment_subject: str | None
    payment_method: str | None
    measure: str | None


@dataclass(frozen=True, slots=True)
class DeviceLine:
    """A device. `merchant_id` None: the line does not say (a merchant's own file, or the device is known)."""

    id: str
    merchant_id: UUID | None
    name: str
    location: str
    time_zone: str
    model: str
    payment_scenario: str
    price_rule: str
    driver: Mapping[str, Any] = field(default_factory=dict)
    texts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def drinks_shape(currency: str) -> Shape[DrinkLine]:
    """Return what a file of drinks looks like; its prices are in the merchant's currency."""
    return Shape(
        required=("drink_id", "size", "name", "price"),
        optional=("available", "vat_code", "payment_subject", "payment_method", "measure"),
        read=lambda values, problems: _drink(values, currency, problems),
        key=lambda line: (line.drink_id, line.size),
        key_words="drink and size",
    )


def devices_shape(models: frozenset[str]) -> Shape[DeviceLine]:
    """Return what a file of devices looks like; `models` are those that have a driver."""
    return Shape(
        required=("id", "name", "location", "time_zone", "model"),
        optional=("merchant_id", "payment_scenario", "price_rule", "driver", *TEXT_COLUMNS),
        read=lambda values, problems: _device(values, models, problems),
        key=lambda line: line.id,
        key_words="device",
    )


def _drink(values: dict[str, str], currency: str, problems: Problems) -> DrinkLine:
    return DrinkLine(
        drink_id=_matching(values, "drink_id", DRINK_ID, "1 to 64 letters, digits, '.', '_' and '-'", problems),
        size=_one_of(values, "size", SIZES, problems) or "",
        name=_words(values, "name", NAME_CHARS_MAX, problems, blank=False),
        price_minor=_price(values["price"], currency, problems),
        available=_flag(values, "available", problems, default=True),
        vat_code=_vat_code(values, problems),
        payment_subject=_one_of(values, "payment_subject", PAYMENT_SUBJECTS, problems, optional=True),
        payment_method=_one_of(values, "payment_method", PAYMENT_METHODS, problems, optional=True),
        measure=_one_of(values, "measure", MEASURES, problems, optional=True),
    )


def _device(values: dict[str, str], models: frozenset[str], problems: Problems) -> DeviceLine:
    return DeviceLine(
        id=_device_id(values, problems),
        merchant_id=_uuid(values, "merchant_id", problems),
        name=_words(values, "name", NAME_CHARS_MAX, problems, blank=False),
        location=_words(values, "location", TEXT_CHARS_MAX, problems),
        time_zone=_time_zone(values["time_zone"], problems),
        model=_one_of(values, "model", tuple(sorted(models)), problems) or "",
        payment_scenario=_one_of(values, "payment_scenario", ("widget",), problems, optional=True) or "widget",
        price_rule=_one_of(values, "price_rule", PRICE_RULES, problems, optional=True) or "catalogue",
        driver=_driver(values.get("driver", ""), problems),
        texts=_texts(values, problems),
    )


def _device_id(values: dict[str, str], problems: Problems) -> str:
    device_id = _matching(values, "id", DEVICE_ID, "3 to 40 letters, digits, '_' and '-'", problems)
    if device_id in RESERVED_IDS:
        problems.append(("id", "no machine can have this code"))
    return device_id


def _matching(values: dict[str, str], name: str, pattern: str, words: str, problems: Problems) -> str:
    if not re.fullmatch(pattern, values[name]):
        problems.append((name, f"it is {words}"))
    return values[name]


def _words(values: dict[str, str], name: str, chars_max: int, problems: Problems, *, blank: bool = True) -> str:
    text = values.get(name, "")
    if len(text) > chars_max or not _ONE_LINE.fullmatch(text):
        problems.append((name, f"it is one line of at most {chars_max} characters"))
    elif not text and not blank:
        problems.append((name, "it may not be empty"))
    return text


def _one_of(
    values: dict[str, str], name: str, known: tuple[str, ...], problems: Problems, *, optional: bool = False
) -> str | None:
    text = values.get(name, "")
    if not text and optional:
        return None
    if text not in known:
        problems.append((name, f"it is one of {', '.join(known)}"))
    return text


def _flag(values: dict[str, str], name: str, problems: Problems, *, default: bool) -> bool:
    text = values.get(name, "").lower()
    if text and text not in _YES | _NO:
        problems.append((name, "it is yes or no"))
    return text in _YES if text else default


def _price(text: str, currency: str, problems: Problems) -> int | None:
    if not text:
        return None
    if not _PRICE.fullmatch(text):
        problems.append(("price", "a price is written as 129.00; leave it empty where there is none of ours"))
        return None
    try:
        price = Money.parse(text.replace(",", "."), currency)
    except MoneyError:
        problems.append(("price", f"it is too large, or finer than the minor unit of {currency}"))
        return None
    if price.minor <= 0:
        problems.append(("price", "a price is more than nothing; leave it empty where there is none of ours"))
        return None
    return price.minor


def _vat_code(values: dict[str, str], problems: Problems) -> int | None:
    text = values.get("vat_code", "")
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,2}", text) or int(text) not in VAT_CODES:
        problems.append(("vat_code", f"it is a number from {VAT_CODES.start} to {VAT_CODES.stop - 1}"))
        return None
    return int(text)


def _uuid(values: dict[str, str], name: str, problems: Problems) -> UUID | None:
    text = values.get(name, "")
    if not text:
        return None
    try:
        return UUID(text)
    except ValueError:
        problems.append((name, "it is a UUID"))
        return None


@cache
def _time_zones() -> frozenset[str]:
    # Without aliases such as "localtime", which every system takes for another zone.
    return frozenset(name for name in available_timezones() if "/" in name) | {"UTC"}


def is_time_zone(name: str) -> bool:
    """Tell whether a name is one of the IANA database's."""
    return name in _time_zones()


def _time_zone(name: str, problems: Problems) -> str:
    if not is_time_zone(name):
        problems.append(("time_zone", "it is an IANA name such as Europe/Moscow"))
    return name


def _driver(text: str, problems: Problems) -> Mapping[str, Any]:
    if not text:
        return {}
    try:
        driver = json.loads(text) if len(text) <= DRIVER_CHARS_MAX else None
    except (ValueError, RecursionError):
        driver = None
    if not isinstance(driver, dict):
        problems.append(("driver", f"it is a JSON object of at most {DRIVER_CHARS_MAX} characters"))
        return {}
    return driver


def _texts(values: dict[str, str], problems: Problems) -> Mapping[str, Mapping[str, str]]:
    texts: dict[str, dict[str, str]] = {}
    for column, (state, language) in TEXT_COLUMNS.items():
        text = _words(values, column, TEXT_CHARS_MAX, problems)
        if text:
            texts.setdefault(state, {})[language] = text
    return texts
