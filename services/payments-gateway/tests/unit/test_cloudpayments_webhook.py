"""Authenticity and reading of CloudPayments' notifications."""

import contextlib
import json
from decimal import Decimal
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from payments_gateway.domain.invoices import money_of
from payments_gateway.domain.provider import NotificationKind, RawCallback, UnreadableCallback
from payments_gateway.providers.cloudpayments import CloudPayments, webhook

SECRET = "test_secret_key"
# The vector of the provider's documentation, checked by hand.
BODY = (
    b"TransactionId=123&Amount=10.00&Currency=RUB&InvoiceId=inv+1&Description=%D0%9A%D0%BE%D1%84%D0%B5"
    b"&Data=%7B%22a%22%3A1%7D"
)
CONTENT_HMAC = "UdmsGRPGBclO9cDcqm1+MXFpo/O/DwcHAgJ8Z+NaJOs="
FORM = "application/x-www-form-urlencoded"


def callback(body: bytes = BODY, method: str = "POST", kind: str = FORM, **headers: str) -> RawCallback:
    return RawCallback(method, body, {name.replace("_", "-"): value for name, value in headers.items()}, kind)


def signed(body: bytes = BODY, method: str = "POST", kind: str = FORM, secret: str = SECRET) -> RawCallback:
    plain = body if kind == "application/json" and method != "GET" else webhook.decoded(body)
    return callback(
        body,
        method,
        kind,
        content_hmac=webhook.signature(secret, body),
        x_content_hmac=webhook.signature(secret, plain),
    )


def test_the_documented_vector() -> None:
    assert webhook.signature(SECRET, BODY) == CONTENT_HMAC
    plain = webhook.signature(
        SECRET, 'TransactionId=123&Amount=10.00&Currency=RUB&InvoiceId=inv 1&Description=Кофе&Data={"a":1}'.encode()
    )
    assert webhook.verify(SECRET, callback(content_hmac=CONTENT_HMAC, x_content_hmac=plain))


def test_both_headers_are_needed() -> None:
    plain = webhook.signature(SECRET, webhook.decoded(BODY))
    assert not webhook.verify(SECRET, callback(content_hmac=CONTENT_HMAC))
    assert not webhook.verify(SECRET, callback(x_content_hmac=plain))
    assert not webhook.verify(SECRET, callback(content_hmac=CONTENT_HMAC, x_content_hmac=""))
    assert not webhook.verify(SECRET, callback(content_hmac="", x_content_hmac=""))
    assert not webhook.verify(SECRET, callback(content_hmac=CONTENT_HMAC, x_content_hmac=CONTENT_HMAC))
    assert not webhook.verify(SECRET, callback(content_hmac="не base64", x_content_hmac=plain))


def test_an_empty_secret_signs_nothing() -> None:
    assert not webhook.verify("", signed(secret=""))


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_the_query_of_a_get_is_signed_alike(method: str) -> None:
    assert webhook.verify(SECRET, signed(method=method))


def test_both_signatures_of_json_are_over_the_raw_body() -> None:
    body = b'{"Amount": 10.10, "Description": "100%+", "InvoiceId": "a"}'
    assert webhook.verify(SECRET, signed(body, kind="application/json"))
    assert webhook.fields(signed(body, kind="application/json"))["Amount"] == Decimal("10.10")


@given(st.binary(min_size=1, max_size=200), st.integers(0, 10_000), st.integers(1, 255))
def test_any_changed_byte_is_noticed(body: bytes, place: int, change: int) -> None:
    good = signed(body)
    assert webhook.verify(SECRET, good)
    where = place % len(body)
    forged = body[:where] + bytes([body[where] ^ change]) + body[where + 1 :]
    assert not webhook.verify(SECRET, RawCallback("POST", forged, good.headers, FORM))
    assert not webhook.verify("another", good)


def test_fields_of_a_form() -> None:
    read = webhook.fields(callback())
    assert read["InvoiceId"] == "inv 1"
    assert read["Description"] == "Кофе"
    assert read["Data"] == '{"a":1}'


def test_windows_1251_is_read_whether_it_is_named_or_not() -> None:
    body = b"Description=%CA%EE%F4%E5"
    assert webhook.fields(callback(body, kind=f"{FORM}; charset=windows-1251"))["Description"] == "Кофе"
    assert webhook.fields(callback(body))["Description"] == "Кофе"
    assert webhook.fields(callback(body, "GET", ""))["Description"] == "Кофе"
    with pytest.raises(UnreadableCallback):
        webhook.fields(callback(b"Description=%98"))


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"Amount=1&Amount=2", FORM),
        (b"&".join(b"f%d=1" % number for number in range(201)), FORM),
        (b"[1]", "application/json"),
        (b'{"Amount": 1, "Amount": 2}', "application/json"),
        (b"{", "application/json"),
        (b"\xff", "application/json"),
        (b"[" * 100_000, "application/json"),
    ],
)
def test_what_makes_no_sense_is_unreadable(body: bytes, kind: str) -> None:
    with pytest.raises(UnreadableCallback):
        webhook.fields(callback(body, kind=kind))


@pytest.mark.parametrize(
    "body",
    [
        b"Token=tk_123&Amount=1",
        b"Amount=1&Token=tk_123",
        b'{"Amount": 1, "Token": "tk_123"}',
        b'{"Token":"tk_123","Other":{"Token" : "tk_123"}}',
        b"Name=[sealed]&Token=tk_123",
    ],
)
def test_i14_a_token_is_sealed_and_can_be_rebuilt(body: bytes) -> None:
    clean, sealed = webhook.seal(SECRET, body)
    assert b"tk_123" not in clean
    assert sealed is not None
    assert b"tk_123" not in sealed
    assert webhook.unseal(SECRET, clean, sealed) == body


def test_a_number_without_end_is_unreadable() -> None:
    body = b'{"TransactionId": 1, "Amount": 1e999999999, "Currency": "RUB", "Status": "Completed", "GatewayName": ""}'
    with pytest.raises(UnreadableCallback):
        CloudPayments().read(NotificationKind.PAY, RawCallback("POST", body, {}, "application/json"))


def test_a_body_without_a_token_stays_as_it_is() -> None:
    assert webhook.seal(SECRET, b"TokenRecipient=a&Token=&Amount=1") == (b"TokenRecipient=a&Token=&Amount=1", None)


_NAMES = st.sampled_from(
    (
        "TransactionId",
        "Amount",
        "Currency",
        "Status",
        "InvoiceId",
        "AccountId",
        "Data",
        "ReasonCode",
        "CardLastFour",
        "Id",
    )
)
_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(max_size=40),
    st.sampled_from(("1e999999", "NaN", "-1", "0x10", "199.00", "199,00", "١٢٣", "\x00", "sNaN", "{}")),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
)


# How fast values are made is a matter of the machine that runs this.
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(_NAMES, _VALUES), st.sampled_from(NotificationKind))
def test_i13_whatever_the_fields_hold_is_read_or_unreadable(values: dict[str, object], kind: NotificationKind) -> None:
    provider = CloudPayments()
    flat = {name: value for name, value in values.items() if isinstance(value, str | int)}
    for body, content_type in (
        (json.dumps(values).encode(), "application/json"),
        (urlencode(flat).encode(), FORM),
    ):
        try:
            read = provider.read(kind, RawCallback("POST", body, {}, content_type))
        except UnreadableCallback:
            continue
        money = money_of(read, "RUB")
        assert money is None or money.minor > 0


@given(st.binary(max_size=300), st.sampled_from((FORM, "application/json", "text/plain", "")))
def test_i13_whatever_the_bytes_are_is_read_or_unreadable(body: bytes, content_type: str) -> None:
    with contextlib.suppress(UnreadableCallback):
        CloudPayments().read(NotificationKind.PAY, RawCallback("POST", body, {}, content_type))
    clean, sealed = webhook.seal(SECRET, body)
    assert webhook.unseal(SECRET, clean, sealed) == body
