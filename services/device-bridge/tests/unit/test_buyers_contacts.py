"""What a buyer gives and is given: contacts, the order's token, the form's time, and the e-mails."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.header import decode_header, make_header
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest

from copeck.contracts.machines import LINK_MAX_AGE_S, sign_link
from copeck.kernel.clock import ManualClock
from device_bridge.api.buyers.choosing import FORM_TIME, SignedLink, check_link, signed_link
from device_bridge.domain.contacts import ContactInvalid, mask, read_contact
from device_bridge.domain.errors import LinkForged, LinkStale
from device_bridge.domain.tokens import is_token_of, order_token
from device_bridge.mailer import Mailer
from device_bridge.pages.mail import compose

from .test_buyers_stages import NOW, ORDER_ID, shown

pytestmark = pytest.mark.unit

KEY = b"k" * 32


@pytest.mark.parametrize(
    ("typed", "kind", "address"),
    [
        ("anna@example.org", "email", "anna@example.org"),
        ("  Anna.B+coffee@mail.example.co.uk ", "email", "Anna.B+coffee@mail.example.co.uk"),
        ("+7 900 123-45-67", "phone", "+79001234567"),
        ("8 (900) 123-45-67", "phone", "+79001234567"),
        ("79001234567", "phone", "+79001234567"),
        ("+49 30 1234567", "phone", "+49301234567"),
    ],
)
def test_contacts_are_told_apart_and_written_in_one_way(typed: str, kind: str, address: str) -> None:
    contact = read_contact(typed)
    assert contact is not None
    assert (contact.kind, contact.address) == (kind, address)


@pytest.mark.parametrize(
    "typed",
    [
        "anna", "anna@", "@example.org", "anna@example", "anna @example.org", "a@b.example\nBcc: all@example.org",
        "anna@example..org", "anna@-a.example", "12345", "+0 900 123 45 67", "+7 900 123 45 67 x", "1" * 300,
        f"{'a' * 65}@example.org", "анна@example.org", "+7٩001234567",
    ],
)  # fmt: skip
def test_what_is_neither_is_refused(typed: str) -> None:
    with pytest.raises(ContactInvalid):
        read_contact(typed)


def test_nothing_is_nothing() -> None:
    assert read_contact("") is read_contact("   ") is None


def test_addresses_are_masked() -> None:
    assert (mask("anna@example.org"), mask("+79001234567")) == ("a***@example.org", "+7***4567")


def test_a_token_belongs_to_one_order_under_one_key() -> None:
    other = UUID(int=ORDER_ID.int + 1)
    token = order_token("key", ORDER_ID)
    assert len(token) == 24
    assert is_token_of("key", ORDER_ID, token)
    assert not is_token_of("key", other, token)
    assert not is_token_of("another key", ORDER_ID, token)
    for wrong in (None, "", token[:-1], token + "A", "ы" * 24):
        assert not is_token_of("key", ORDER_ID, wrong)


def test_half_of_a_signed_link_is_a_forged_one() -> None:
    assert signed_link(None, None, None) is None
    assert signed_link("1", 1, "s") == SignedLink("1", 1, "s")
    for half in (("1", None, None), (None, 1, None), (None, None, "s"), ("1", 1, None)):
        with pytest.raises(LinkForged):
            signed_link(*half)


@pytest.mark.parametrize(
    ("age_s", "is_form", "is_good"),
    [
        (0, False, True),
        (LINK_MAX_AGE_S, False, True),
        (LINK_MAX_AGE_S + 1, False, False),
        (LINK_MAX_AGE_S + 1, True, True),
        (LINK_MAX_AGE_S + int(FORM_TIME.total_seconds()), True, True),
        (LINK_MAX_AGE_S + int(FORM_TIME.total_seconds()) + 1, True, False),
        (-120, True, True),
        (-121, True, False),
        (0, True, True),
    ],
)
def test_a_form_has_a_little_more_time_than_its_link(age_s: int, is_form: bool, is_good: bool) -> None:
    ts = int((NOW - timedelta(seconds=age_s)).timestamp())
    sig = sign_link(KEY, device="kofe-1", drink="latte", size="medium", order="m-1", ts=ts)
    context = cast(Any, SimpleNamespace(clock=ManualClock(NOW), device_key=lambda _: KEY))
    device = cast(Any, SimpleNamespace(id="kofe-1"))
    link = SignedLink("m-1", ts, sig)
    if is_good:
        check_link(context, device, "latte", "medium", link, is_form=is_form)
    else:
        with pytest.raises(LinkStale):
            check_link(context, device, "latte", "medium", link, is_form=is_form)
    for changed in (replace(link, order="m-2"), replace(link, ts=ts + 1), replace(link, sig="0" * 64)):
        with pytest.raises(LinkForged):
            check_link(context, device, "latte", "medium", changed, is_form=is_form)
    with pytest.raises(LinkForged):
        check_link(context, device, "latte", "large", link, is_form=is_form)


@pytest.mark.parametrize(
    ("language", "kind", "subject", "said"),
    [
        ("ru", "receipt", "Ваш кофе: Латте, 150,00 ₽", ("Оплачено: 150,00 ₽", "Tverskaya 1", "Кассовый чек придёт")),
        (
            "en",
            "receipt",
            "Your coffee: Латте, RUB 150.00",
            ("Seller: Coffee by the lake", "fiscal receipt follows"),
        ),
        ("ru", "refund", "Возврат за кофе: 150,00 ₽", ("Возвращено: 150,00 ₽", "в течение нескольких дней")),
        ("en", "refund", "Refund for your coffee: RUB 150.00", ("Returned: RUB 150.00",)),
    ],
)
def test_mails_say_it_in_the_language_of_the_order(
    language: str, kind: Any, subject: str, said: tuple[str, ...]
) -> None:
    order = shown(status="successful", language=language, paid_at=datetime(2026, 11, 30, 9, tzinfo=UTC))
    mail = compose(order, kind, "anna@example.org", "https://coffee.test/m/orders/1?k=t")
    assert mail.subject.replace("\xa0", " ") == subject
    text = mail.text.replace("\xa0", " ")
    for words in (*said, str(ORDER_ID), "https://coffee.test/m/orders/1?k=t", "Lobby"):
        assert words in text
    mailer = Mailer("smtp://127.0.0.1:1", "Copeck <no-reply@copeck.example>", 1, ManualClock(NOW))
    message = mailer.message(replace(mail, subject="Латте\r\nBcc: all@example.org"))
    assert message["To"] == "anna@example.org"
    assert message["Message-ID"] == f"<{kind}.{ORDER_ID}@copeck.example>"
    assert "Bcc" not in message
    assert str(make_header(decode_header(message["Subject"]))) == "Латте Bcc: all@example.org"


@pytest.mark.parametrize("url", ["", "127.0.0.1:25", "http://127.0.0.1", "smtp://"])
def test_a_mail_server_needs_a_proper_url(url: str) -> None:
    with pytest.raises(ValueError, match="smtp"):
        Mailer(url, "a@b.example", 1)
