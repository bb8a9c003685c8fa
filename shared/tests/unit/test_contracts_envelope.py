"""The envelope on its way out and in: what is written is read, and every way to be wrong has its reason."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from copeck.contracts.base import ContractError
from copeck.contracts.commands import InvoiceCancel
from copeck.contracts.envelope import BODY_BYTES_MAX, Envelope
from copeck.contracts.registry import COMMANDS_EXCHANGE, shard_of
from copeck.kernel.clock import ManualClock
from copeck.kernel.ids import new_id

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
CANCEL = InvoiceCancel(account="customer:anna", invoice_id=new_id(), reason="не нужно")


def envelope(**more: Any) -> Envelope:
    return Envelope.new(CANCEL, source="subscriptions", clock=ManualClock(NOW), **more)


def test_round_trip() -> None:
    """Everything that travels beside the data comes along."""
    sent = envelope(traceparent="00-aa-bb-01", correlation_id="story", cause_id=new_id())
    read = Envelope.parse(dict(sent.headers()), sent.body(), message_id=str(sent.id), sender="subscriptions")
    assert read.sender == "subscriptions"
    for name in ("id", "type", "version", "source", "subject", "time", "data", "traceparent", "correlation_id"):
        assert getattr(read, name) == getattr(sent, name), name
    assert read.cause_id == sent.cause_id


def test_cloud_events_attributes() -> None:
    """CloudEvents 1.0, binary mode: attributes are headers, what is not said is not there."""
    sent = envelope()
    assert sent.headers() == {
        "cloudEvents:specversion": "1.0",
        "cloudEvents:id": str(sent.id),
        "cloudEvents:source": "subscriptions",
        "cloudEvents:type": "invoice.cancel.v1",
        "cloudEvents:subject": str(CANCEL.invoice_id),
        "cloudEvents:time": "2026-03-01T12:30:00Z",
    }
    assert (sent.exchange, sent.routing_key) == (
        COMMANDS_EXCHANGE,
        f"invoice.cancel.{shard_of('customer:anna'):02d}",
    )


def test_headers_may_be_bytes() -> None:
    """AMQP libraries differ in what they make of a long string."""
    sent = envelope()
    headers = {name: value.encode() for name, value in sent.headers().items()}
    assert Envelope.parse(headers, sent.body()).data == CANCEL


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"type": None}, "not a name with a version"),
        ({"type": "invoice.cancel"}, "not a name with a version"),
        ({"type": "invoice.cancel.v"}, "not a name with a version"),
        ({"type": "invoice.cancel.v1000"}, "not a name with a version"),
        ({"type": "invoice.cancel.v2"}, "known up to version 1"),
        ({"type": "invoice.burn.v1"}, "not in the registry"),
        ({"type": "x" * 10_000}, "not a name with a version"),
        ({"id": None}, "not a UUID version 7"),
        ({"id": str(uuid4())}, "not a UUID version 7"),
        ({"id": "one"}, "id is not a UUID"),
        ({"causeid": "one"}, "causeid is not a UUID"),
        ({"time": None}, "the time is not a time"),
        ({"time": "noon"}, "the time is not a time"),
    ],
)
def test_wrong_headers(changes: dict[str, Any], reason: str) -> None:
    headers = envelope().headers() | {f"cloudEvents:{name}": value for name, value in changes.items()}
    with pytest.raises(ContractError, match=reason) as caught:
        Envelope.parse(headers, envelope().body())
    assert len(str(caught.value)) < 300


def test_the_brokers_id_and_ours_must_agree() -> None:
    """Returns are matched by the broker's, repeats by ours: two names for one message would lose either."""
    sent = envelope()
    with pytest.raises(ContractError, match="differ"):
        Envelope.parse(dict(sent.headers()), sent.body(), message_id=str(new_id()))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "body: Invalid JSON"),
        (b"null", "body: Input should be an object"),
        (b"{}", "account: Field required; invoice_id: Field required"),
        (b'{"account": 7, "invoice_id": 7}', "account: Input should be a valid string"),
        (b"{" * (BODY_BYTES_MAX + 1), "the body is larger than 65536 bytes"),
    ],
)
def test_wrong_bodies(body: bytes, reason: str) -> None:
    """Fields are named, values are not: they may be what must not be logged (I-14)."""
    with pytest.raises(ContractError, match=reason):
        Envelope.parse(dict(envelope().headers()), body)


def test_values_are_not_in_reasons() -> None:
    secret = "4111111111111111"
    body = envelope().body().replace(b'"reason":"', b'"reason":7,"actor":"\\u0000' + secret.encode())
    with pytest.raises(ContractError) as caught:
        Envelope.parse(dict(envelope().headers()), body)
    assert secret not in str(caught.value)
