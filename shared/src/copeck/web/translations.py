"""Two languages on pages: which one the reader wants, and the texts of the shared parts."""

from collections.abc import Mapping
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from babel.dates import format_date, format_time
from babel.numbers import format_currency
from starlette.requests import Request

from copeck.kernel.money import Money

LANGUAGES = ("ru", "en")
LANGUAGE_DEFAULT = "ru"
LANGUAGE_COOKIE = "copeck_lang"
_ZONE = ZoneInfo("Europe/Moscow")

SHARED_TEXTS: dict[str, dict[str, str]] = {
    "ru": {
        "skip": "К содержанию",
        "language": "Язык",
        "in_ru": "Русский",
        "in_en": "English",
        "error_title": "Что-то пошло не так",
        "error_text": "Мы уже знаем об ошибке. Вернитесь назад и попробуйте ещё раз.",
        "not_found_title": "Здесь ничего нет",
        "not_found_text": "Проверьте ссылку или начните с главной страницы.",
        "try_again": "Попробовать ещё раз",
        "brand": "Copeck",
        "footer": "Каждая копейка на счету.",
    },
    "en": {
        "skip": "Skip to content",
        "language": "Language",
        "in_ru": "Русский",
        "in_en": "English",
        "error_title": "Something went wrong",
        "error_text": "We know of the error. Go back and try again.",
        "not_found_title": "There is nothing here",
        "not_found_text": "Check the link, or start from the first page.",
        "try_again": "Try again",
        "brand": "Copeck",
        "footer": "Every kopeck accounted for.",
    },
}


def language_of(request: Request) -> str:
    """Return the page's language: `?lang=`, then the cookie, then what the browser prefers, then Russian."""
    for wanted in (request.query_params.get("lang"), request.cookies.get(LANGUAGE_COOKIE)):
        if wanted in LANGUAGES:
            return str(wanted)
    return _accepted(request.headers.get("accept-language", "")[:500])


def _accepted(header: str) -> str:
    best, best_quality = LANGUAGE_DEFAULT, 0.0
    for part in header.split(","):
        tag, _, parameters = part.strip().partition(";")
        language = tag.split("-")[0].strip().lower()
        if language not in LANGUAGES:
            continue
        name, _, value = parameters.strip().partition("=")
        try:
            quality = float(value) if name.strip() == "q" else 1.0
        except ValueError:
            quality = 0.0
        if quality > best_quality:
            best, best_quality = language, quality
    return best


class Texts:
    """The texts of one language; a missing one is a KeyError in development and in tests, not an empty page."""

    def __init__(self, language: str, texts: Mapping[str, Mapping[str, str]], zone: ZoneInfo = _ZONE) -> None:
        self.language = language
        self._texts = {**SHARED_TEXTS[language], **texts.get(language, {})}
        self._zone = zone

    def in_zone(self, name: str) -> "Texts":
        """Return the same texts with moments of another time zone: where the thing stands that they are about."""
        try:
            zone = ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            zone = self._zone
        return Texts(self.language, {self.language: self._texts}, zone)

    def __call__(self, key: str, **values: object) -> str:
        """Return a text with its values put in."""
        return self._texts[key].format(**values)

    def known(self, key: str) -> bool:
        """Tell whether there is such a text: for names that come from data."""
        return key in self._texts

    def as_dict(self) -> dict[str, str]:
        """Return all texts: for a page's script."""
        return dict(self._texts)

    def money(self, money: Money) -> str:
        """Show an amount as readers of the language write it: `199,00 ₽`."""
        from decimal import Decimal

        # English has no sign of the rouble, and its pattern puts the code against the digits.
        pattern = "¤\xa0#,##0.00" if self.language == "en" else None
        return format_currency(Decimal(money.value), money.currency, pattern, locale=self.language)

    def day(self, moment: datetime) -> str:
        """Show a day."""
        return format_date(moment.astimezone(self._zone).date(), format="long", locale=self.language)

    def moment(self, moment: datetime) -> str:
        """Show a day and a time, to the minute."""
        return self._moment(moment, "HH:mm")

    def instant(self, moment: datetime) -> str:
        """Show a day and a time to the second: where the order of things matters."""
        return self._moment(moment, "HH:mm:ss")

    def _moment(self, moment: datetime, time_pattern: str) -> str:
        local = moment.astimezone(self._zone)
        day = format_date(local.date(), format="medium", locale=self.language)
        return f"{day}, {format_time(local, time_pattern, tzinfo=self._zone, locale=self.language)}"


def check_texts(texts: Mapping[str, Mapping[str, str]]) -> None:
    """Raise when one language lacks a text of another: call it in a test of each page's texts."""
    keys = {language: set(texts.get(language, {})) for language in LANGUAGES}
    every = set().union(*keys.values())
    missing = {language: sorted(every - known) for language, known in keys.items() if every - known}
    if missing:
        raise ValueError(f"texts are missing: {missing}")
