"""I-14: no card number, secret or token reaches a log, in whatever shape it comes."""

import io
import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copeck.kernel.ids import new_id
from copeck.observability.logs import configure_logging, get_logger
from copeck.observability.redaction import MASK, is_secret_name, luhn, redact, redact_text
from copeck.observability.trace import trace_scope

CARDS = ("4111111111111111", "4242 4242 4242 4242", "5555-5555-5555-4444", "2200700000000009", "378282246310005")
TOKEN = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJlLW9mLXRlc3Q"


@pytest.mark.parametrize("card", CARDS)
def test_card_numbers_are_masked_wherever_they_stand(card: str) -> None:
    digits = card.replace(" ", "").replace("-", "")
    assert luhn(digits)
    for text in (card, f"card {card}, paid", f"pan={card}", f'{{"CardNumber":"{card}"}}', f"({card})"):
        assert card not in redact_text(text), text
    assert redact({"anything": card}) == {"anything": MASK}
    assert redact([[{"deep": {"er": card}}]]) == [[{"deep": {"er": MASK}}]]


@pytest.mark.parametrize(
    "text",
    [
        "amount 19900",
        "transaction 897728064",
        "2026-11-21T05:43:34.091Z",
        "0192f0c1-1111-7222-8333-444455556666",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "4111111111111112",
        "0000000000000000",
        "0.4111111111111111 s",
    ],
)
def test_what_is_no_card_stays_readable(text: str) -> None:
    assert redact_text(text) == text


def test_ids_stay_readable() -> None:
    for _ in range(2000):
        text = f"invoice {new_id()} of wallet:{new_id()}"
        assert redact_text(text) == text


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"Authorization: Bearer {TOKEN}", TOKEN),
        (f"token {TOKEN}", TOKEN),
        ("Authorization: Basic cGtfdGVzdDpzZWNyZXQ=", "cGtfdGVzdDpzZWNyZXQ="),
        ("postgresql://gateway:hunter2@db:5432/copeck", "hunter2"),
        ("amqp://gateway:hunter2@rabbit/billing failed", "hunter2"),
        ("redis://:hunter2@cache:6379/0", "hunter2"),
        ("password=hunter2&x=1", "hunter2"),
        ('{"api_secret": "hunter2"}', "hunter2"),
        ("refresh_token='hunter2'", "hunter2"),
        ("cvv: 123 ", "123"),
    ],
)
def test_secrets_in_text_are_masked(text: str, secret: str) -> None:
    assert secret not in redact_text(text)


@pytest.mark.parametrize(
    "name",
    ["password", "Password", "api_secret", "API-Secret", "refreshToken", "Authorization", "Content-HMAC", "cvv",
     "Cookie", "CardCryptogramPacket", "db_password", "webhook_secret", "set-cookie", "X-Content-HMAC", "private_key"],
)  # fmt: skip
def test_fields_that_name_a_secret_are_masked(name: str) -> None:
    assert is_secret_name(name)
    assert redact({name: "hunter2"}) == {name: MASK}
    assert redact({"inner": {name: ["hunter2"]}}) == {"inner": {name: MASK}}


@pytest.mark.parametrize("name", ["shop", "provider", "account", "invoice_id", "status", "key", "author"])
def test_other_fields_are_not(name: str) -> None:
    assert not is_secret_name(name)
    assert redact({name: "value"}) == {name: "value"}


def test_bytes_and_depth_and_length_are_bounded() -> None:
    nested: dict[str, object] = {}
    for _ in range(50):
        nested = {"inner": nested}
    assert "…" in json.dumps(redact(nested), ensure_ascii=False)
    assert redact(b"\x00" * 5000) == "<5000 bytes>"
    assert len(redact_text("x" * 100_000)) < 25_000
    assert len(redact(list(range(10_000)))) == 200


@given(st.text(alphabet="0123456789 -", max_size=60))
def test_no_long_run_of_card_digits_is_left(text: str) -> None:
    """Whatever people type: a number that stands alone and carries a valid check digit does not come through."""
    kept = redact_text(f"x {text} x")
    for part in kept.replace(" ", "").replace("-", "").split(MASK):
        digits = "".join(character for character in part if character.isdigit())
        if (
            13 <= len(digits) <= 19
            and text.strip(" -") == text
            and text.replace(" ", "").isdigit()
            and "  " not in text
        ):
            assert not luhn(digits) or len(set(digits)) == 1


def test_a_log_line_is_ecs_json_with_its_trace_and_without_secrets() -> None:
    stream = io.StringIO()
    configure_logging("probe", "INFO", "ecs", stream)
    try:
        with trace_scope(correlation_id="purchase-7") as trace:
            get_logger("unit").info(f"paid by {CARDS[0]}", api_secret="hunter2", invoice_id="i-1", amount_minor=19900)
            logging.getLogger("library").warning("cannot reach %s", "amqp://u:hunter2@h/v")
            try:
                raise ValueError(f"bad card {CARDS[1]}")
            except ValueError:
                get_logger("unit").exception("it failed", password="hunter2")
        get_logger("unit").debug("not at this level")
    finally:
        configure_logging("probe", "WARNING", "console")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(lines) == 3
    assert "hunter2" not in stream.getvalue()
    assert CARDS[0] not in stream.getvalue()
    assert CARDS[1] not in stream.getvalue()
    for line in lines:
        assert {"@timestamp", "log.level", "message", "ecs.version", "service.name"} <= set(line)
        assert line["trace.id"] == trace.trace_id
        assert line["labels.correlation_id"] == "purchase-7"
        assert line["service.name"] == "probe"
    assert lines[0]["copeck"] == {"api_secret": MASK, "invoice_id": "i-1", "amount_minor": 19900}
    assert lines[1]["log.level"] == "warning"
    assert lines[2]["error.type"] == "ValueError"
