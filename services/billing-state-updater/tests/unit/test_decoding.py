"""From a delivery to a command, or to a reason: nothing that is forged, lost, old or broken gets further."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from billing_state_updater.decoding import ORIGINAL_SENDER, decode
from billing_state_updater.world import Delivery, Incoming, Quarantined
from copeck.contracts import commands, events
from copeck.contracts.base import Message
from copeck.contracts.envelope import BODY_BYTES_MAX, Envelope
from copeck.contracts.registry import REGISTRY, SERVICES, SHARDS, shard_of
from copeck.kernel.ids import id_at, new_id
from tests.support.state import CUSTOMER, issue, report

NOW = datetime(2026, 5, 1, tzinfo=UTC)
NOW_S = NOW.timestamp()


def delivery(data: Message, sender: str = "gateway", *, id: UUID | None = None, **changes: Any) -> Delivery:
    envelope = Envelope.new(data, source=sender, id=id or id_at(NOW), correlation_id="story", traceparent="00-aa-bb-01")
    values: dict[str, Any] = {
        "shard": shard_of(CUSTOMER),
        "tag": 1,
        "message_id": str(envelope.id),
        "sender": sender,
        "headers": envelope.headers(),
        "body": envelope.body(),
    }
    return Delivery(**(values | changes))


def reason_of(item: Incoming | Quarantined) -> str:
    assert isinstance(item, Quarantined), item
    return item.reason


def test_a_command_is_read() -> None:
    """What the message says of itself goes along with the command."""
    data = report(new_id(), "succeeded")
    given = delivery(data)
    item = decode(given, NOW_S)
    assert isinstance(item, Incoming)
    assert (item.data, item.type, item.shard, str(item.id)) == (
        data,
        "payment.report",
        given.shard,
        given.message_id,
    )
    assert (item.correlation_id, item.traceparent, item.delivery) == ("story", "00-aa-bb-01", given)


@pytest.mark.parametrize("sender", [*SERVICES, "operator", "monitor", ""])
def test_only_its_senders_may_send_it(sender: str) -> None:
    """The user that the broker verified decides, whatever the message says of its source."""
    item = decode(delivery(report(new_id(), "succeeded"), sender), NOW_S)
    if sender in REGISTRY["payment.report"].senders:
        assert isinstance(item, Incoming)
    else:
        assert reason_of(item) == f"{sender or 'nobody'} may not send payment.report"


def test_an_operator_sends_again_what_another_sent() -> None:
    """Redriving keeps the verified sender of the first time, and gives no right beyond that sender's."""
    data = report(new_id(), "succeeded")
    headers = delivery(data).headers
    again = delivery(data, "operator", headers=headers | {ORIGINAL_SENDER: "gateway"}, message_id=None)
    again.message_id = headers["cloudEvents:id"]
    assert isinstance(decode(again, NOW_S), Incoming)
    again.headers[ORIGINAL_SENDER] = "subscriptions"
    assert reason_of(decode(again, NOW_S)) == "subscriptions may not send payment.report"
    again.headers[ORIGINAL_SENDER] = ["gateway"]
    assert reason_of(decode(again, NOW_S)) == "operator may not send payment.report"


def test_nobody_else_speaks_for_others() -> None:
    """The header counts from an operator only."""
    given = delivery(report(new_id(), "succeeded"), "subscriptions")
    given.headers[ORIGINAL_SENDER] = "gateway"
    assert reason_of(decode(given, NOW_S)) == "subscriptions may not send payment.report"


def test_another_shards_command_is_not_applied() -> None:
    """Its order with its account's other commands would be lost."""
    shard = shard_of(CUSTOMER)
    item = decode(delivery(report(new_id(), "succeeded"), shard=(shard + 1) % SHARDS), NOW_S)
    assert reason_of(item) == f"the account belongs to shard {shard}"


@pytest.mark.parametrize(
    ("age", "accepted"),
    [
        (timedelta(0), True),
        (timedelta(days=399), True),
        (timedelta(days=401), False),
        (-timedelta(hours=23), True),
        (-timedelta(hours=25), False),
    ],
)
def test_ids_from_another_age(age: timedelta, accepted: bool) -> None:
    """The inbox's key is made of the id's day: an id out of range would find no partition, or never be found again."""
    item = decode(delivery(report(new_id(), "succeeded"), id=id_at(NOW - age)), NOW_S)
    if accepted:
        assert isinstance(item, Incoming)
    else:
        assert reason_of(item) == "the id's time is out of range"


def _headers(**changes: Any) -> dict[str, Any]:
    headers = delivery(report(new_id(), "succeeded")).headers
    return headers | {f"cloudEvents:{name}": value for name, value in changes.items()}


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "is not a name with a version"),
        (_headers(type="payment.report"), "is not a name with a version"),
        (_headers(type="payment.report.vX"), "is not a name with a version"),
        (_headers(type="payment.report.v2"), "is known up to version 1, not 2"),
        (_headers(type="money.make.v1"), "is not in the registry"),
        (_headers(type=7), "is not a name with a version"),
        (_headers(type="invoice.paid.v1"), "Field required"),
        (_headers(type="subscription.create.v1"), "Field required"),
        (_headers(id=str(uuid4())), "the id is not a UUID version 7"),
        (_headers(id="7"), "id is not a UUID"),
        (_headers(id=None), "the id is not a UUID version 7"),
        (_headers(id=str(new_id())), "the message id of the broker and the id of the envelope differ"),
        (_headers(time="yesterday"), "the time is not a time"),
        (_headers(time=None), "the time is not a time"),
    ],
)
def test_broken_headers(headers: dict[str, Any], reason: str) -> None:
    given = delivery(report(new_id(), "succeeded"))
    ours = given.headers["cloudEvents:id"]
    given.headers = headers
    given.message_id = ours if "differ" in reason else str(headers.get("cloudEvents:id"))
    assert reason in reason_of(decode(given, NOW_S))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "body: Invalid JSON"),
        (b"\xff\xfe", "body: Invalid JSON"),
        (b"[]", "body: Input should be an object"),
        (b"{}", "Field required"),
        (b" " * (BODY_BYTES_MAX + 1), "the body is larger than 65536 bytes"),
        (b"[" * 60_000, "body: Invalid JSON"),
    ],
)
def test_broken_bodies(body: bytes, reason: str) -> None:
    assert reason in reason_of(decode(delivery(report(new_id(), "succeeded"), body=body), NOW_S))


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        (b'"amount_minor":19900', b'"amount_minor":199.00', "amount_minor"),
        (b'"amount_minor":19900', b'"amount_minor":"19900"', "amount_minor"),
        (b'"amount_minor":19900', b'"amount_minor":-1', "amount_minor"),
        (b'"amount_minor":19900', b'"amount_minor":99999999999', "amount_minor"),
        (b'"currency":"RUB"', b'"currency":"XXX"', "currency"),
        (b'"status":"succeeded"', b'"status":"paid"', "status"),
        (b'"account":"customer:anna"', b'"account":"customer:"', "account"),
        (b'"shop":"main"', b'"shop":"ma\\u0000in"', "shop"),
    ],
)
def test_broken_values(old: bytes, new: bytes, field: str) -> None:
    """I-12 among them: money is never a float. The reason names the field and not its value (I-14)."""
    given = delivery(report(new_id(), "succeeded"))
    assert old in given.body
    given.body = given.body.replace(old, new)
    reason = reason_of(decode(given, NOW_S))
    assert reason.startswith(f"{field}: ")
    assert b"99999999999" not in reason.encode()


def test_fields_of_the_future_are_ignored() -> None:
    """Contracts grow only: a sender that is newer than this process is understood."""
    given = delivery(report(new_id(), "succeeded"))
    given.body = given.body.replace(b"{", b'{"invented_later":[1],', 1)
    assert isinstance(decode(given, NOW_S), Incoming)


def test_what_is_not_for_the_updater() -> None:
    """An event, and a command for another service, do not belong in a shard."""
    opened = events.WalletOpened(account=CUSTOMER, currency="RUB", version=1, balance_minor=0)
    assert reason_of(decode(delivery(opened), NOW_S)) == "wallet.opened is not for the state updater"
    create = commands.SubscriptionCreate(subscription_id=new_id(), user_id=new_id(), price_id=new_id())
    assert reason_of(decode(delivery(create), NOW_S)) == "subscription.create is not for the state updater"


def test_what_is_set_aside_keeps_its_delivery() -> None:
    """I-13: raw bytes and headers, so that it can be sent again."""
    given = delivery(issue(new_id()), "gateway", body=b"{}")
    item = decode(given, NOW_S)
    assert isinstance(item, Quarantined)
    assert item.delivery is given
