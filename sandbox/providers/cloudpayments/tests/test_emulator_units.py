"""Amounts, signatures, cards and faults: everything of the emulator that needs no server."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.providers.cloudpayments.cards import CardError, luhn, make_cryptogram, read_card, read_cryptogram
from sandbox.providers.cloudpayments.chaos import Armed, Chaos, Switch
from sandbox.providers.cloudpayments.signing import signature_headers
from sandbox.providers.cloudpayments.store import Store
from sandbox.providers.money import AmountError, format_amount, parse_amount

NOW = datetime(2026, 11, 21, tzinfo=UTC)
# Body and signature as seen on the wire with this secret.
VECTOR_SECRET = "test_secret_key"
VECTOR_BODY = (
    b"TransactionId=123&Amount=10.00&Currency=RUB&InvoiceId=inv+1"
    b"&Description=%D0%9A%D0%BE%D1%84%D0%B5&Data=%7B%22a%22%3A1%7D"
)
VECTOR_SIGNATURE = "UdmsGRPGBclO9cDcqm1+MXFpo/O/DwcHAgJ8Z+NaJOs="


def test_signature_matches_the_vector() -> None:
    headers = signature_headers(VECTOR_SECRET, VECTOR_BODY, url_encoded=True)
    assert headers["Content-HMAC"] == VECTOR_SIGNATURE
    assert headers["X-Content-HMAC"] != VECTOR_SIGNATURE


def test_decoded_signature_covers_the_decoded_bytes() -> None:
    plain = "InvoiceId=inv 1&Description=Кофе"
    for codec, escaped in (("utf-8", b"%D0%9A%D0%BE%D1%84%D0%B5"), ("cp1251", b"%CA%EE%F4%E5")):
        headers = signature_headers("key", b"InvoiceId=inv+1&Description=" + escaped, url_encoded=True)
        expected = hmac.new(b"key", plain.encode(codec), hashlib.sha256).digest()
        assert headers["X-Content-HMAC"] == base64.b64encode(expected).decode()


def test_signatures_of_json_are_equal() -> None:
    headers = signature_headers(VECTOR_SECRET, b'{"Amount":10.00}', url_encoded=False)
    assert headers["Content-HMAC"] == headers["X-Content-HMAC"]


@given(st.integers(min_value=1, max_value=10**12))
def test_amounts_survive_the_way_out_and_back(minor: int) -> None:
    assert parse_amount(format_amount(minor)) == minor
    assert parse_amount(Decimal(minor) / 100) == minor


@pytest.mark.parametrize("value", ["0", "-1", "1.001", "abc", "NaN", "1e30", None, True, 1.5, ""])
def test_amounts_that_are_refused(value: object) -> None:
    with pytest.raises(AmountError):
        parse_amount(value)


@pytest.mark.parametrize(
    ("number", "three_ds", "first", "by_token"),
    [
        ("4242424242424242", True, 0, 0),
        ("5555 5555 5555 4444", True, 0, 0),
        ("2200000000000004", True, 0, 0),
        ("4012888888881881", True, 5051, 5051),
        ("4000000000003055", False, 0, 0),
        ("4111111111111111", False, 0, 5051),
        ("4000056655665556", False, 5051, 5051),
        ("5105105105105100", False, 5014, 5014),
    ],
)
def test_test_cards(number: str, three_ds: bool, first: int, by_token: int) -> None:
    card = read_card(number, "12/30", "123", now=NOW)
    assert (card.three_ds, card.first, card.by_token) == (three_ds, first, by_token)
    assert number.replace(" ", "") not in repr(card)


def test_expired_card_and_wrong_code_are_declined() -> None:
    assert read_card("4000000000003055", "10/26", "123", now=NOW).first == 5054
    assert read_card("4000000000003055", "11/26", "123", now=NOW).first == 0
    assert read_card("4000000000003055", "12/30", "000", now=NOW).first == 5082


@pytest.mark.parametrize(
    ("number", "expires", "cvc", "field"),
    [
        ("4242424242424241", "12/30", "123", "number"),
        ("42", "12/30", "123", "number"),
        ("4242424242424242", "13/30", "123", "expires"),
        ("4242424242424242", "12/30", "12", "cvc"),
    ],
)
def test_cards_that_cannot_be_sent(number: str, expires: str, cvc: str, field: str) -> None:
    with pytest.raises(CardError) as caught:
        read_card(number, expires, cvc)
    assert caught.value.field == field


def test_cryptogram_round_trip() -> None:
    assert read_cryptogram(make_cryptogram("4242424242424242", "12/49", "123")).last_four == "4242"
    with pytest.raises(CardError):
        read_cryptogram("rubbish")


def test_luhn() -> None:
    assert luhn("4242424242424242")
    assert not luhn("4242424242424243")


def test_chaos_follows_its_seed_and_not_the_order() -> None:
    chaos = Chaos(seed=3, probabilities={Switch.DROP: 0.5})
    subjects = [str(number) for number in range(200)]
    forwards = {subject: chaos.strikes(Switch.DROP, "pay", subject) for subject in subjects}
    backwards = {subject: chaos.strikes(Switch.DROP, "pay", subject) for subject in reversed(subjects)}
    assert forwards == backwards
    assert 60 < sum(forwards.values()) < 140
    other = Chaos(seed=4, probabilities={Switch.DROP: 0.5})
    assert forwards != {subject: other.strikes(Switch.DROP, "pay", subject) for subject in subjects}


def test_chaos_limited_to_operations_and_armed_once() -> None:
    chaos = Chaos(
        probabilities={Switch.DROP: 1.0},
        operations={Switch.DROP: ["pay"]},
        once=[Armed(switch=Switch.DECLINE, operation="refund", invoice_id="a")],
    )
    assert chaos.strikes(Switch.DROP, "pay", "1")
    assert not chaos.strikes(Switch.DROP, "fail", "1")
    assert not chaos.strikes(Switch.DECLINE, "refund", "1", invoice_id="b")
    assert chaos.strikes(Switch.DECLINE, "refund", "1", invoice_id="a")
    assert not chaos.strikes(Switch.DECLINE, "refund", "1", invoice_id="a")


def test_log_is_append_only_and_ids_go_on(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.unit():
        store.log("payment.charged", "pk", amount=1)
        first = store.next_id()
    for statement in ("DELETE FROM log", "UPDATE log SET amount_minor = 2"):
        with pytest.raises(Exception, match="append-only"):
            store.write(statement)
    with pytest.raises(RuntimeError, match="another emulator"):
        Store(tmp_path)
    store.reset()
    assert store.rows("SELECT count(*) FROM log") == [(0,)]
    with pytest.raises(Exception, match="append-only"), store.unit():
        store.log("payment.charged", "pk", amount=1)
        store.write("DELETE FROM log")
    store.close()
    again = Store(tmp_path)
    assert again.next_id() > first
    again.close()
