"""The contract with machines: a signature covers every field, topics are read back, an odd payload is refused."""

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from copeck.contracts import machines
from copeck.contracts.base import ContractError

KEY = bytes(range(32))
COMMAND_ID = UUID("0190c0ff-ee00-7000-8000-00000000000a")
ORDER_ID = UUID("0190c0ff-ee00-7000-8000-00000000000b")


def command(**changes: Any) -> machines.MachineCommand:
    fields: dict[str, Any] = {
        "kind": "brew",
        "command_id": COMMAND_ID,
        "order_id": ORDER_ID,
        "drink": "latte",
        "size": "small",
        "price_minor": 15_900,
        "currency": "RUB",
        "issued_at": 1_796_000_000_000,
        "expires_at": 1_796_000_180_000,
    }
    return machines.MachineCommand(**fields | changes)


def test_the_signature_is_what_a_machine_computes() -> None:
    signed = command().signed(KEY, "kofe-1")
    assert signed.sig == "fd1836e03fd4ab045fdd4c992f6ccce01bbc69584537b75cbfc4e60a056f3458"
    assert signed.canonical("kofe-1") == (
        b"cm/v1\nkofe-1\nbrew\n0190c0ff-ee00-7000-8000-00000000000a\n0190c0ff-ee00-7000-8000-00000000000b\n"
        b"latte\nsmall\n15900\nRUB\n1796000000000\n1796000180000"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "revoke"},
        {"command_id": ORDER_ID},
        {"order_id": COMMAND_ID},
        {"drink": "espresso"},
        {"size": "large"},
        {"price_minor": 1},
        {"currency": "USD"},
        {"issued_at": 1},
        {"expires_at": 1_796_000_180_001},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_no_field_can_be_changed_under_a_signature(changes: dict[str, Any]) -> None:
    forged = command(**changes, sig=command().signed(KEY, "kofe-1").sig)
    assert not forged.is_signed_by(KEY, "kofe-1")


def test_a_command_is_one_machines_and_one_keys() -> None:
    signed = command().signed(KEY, "kofe-1")
    assert signed.is_signed_by(KEY, "kofe-1")
    assert not signed.is_signed_by(KEY, "kofe-2")
    assert not signed.is_signed_by(bytes(32), "kofe-1")
    assert not command(sig="é" * 64).is_signed_by(KEY, "kofe-1")


def test_a_command_survives_the_wire() -> None:
    signed = command().signed(KEY, "kofe-1")
    read = machines.read_payload(machines.MachineCommand, signed.payload())
    assert read == signed
    newer = json.dumps({**json.loads(signed.payload()), "milk": "oat"}).encode()
    assert machines.read_payload(machines.MachineCommand, newer) == signed


def test_the_machine_of_the_sandbox_reads_the_same_signature() -> None:
    from sandbox.machines import wire

    signed = command().signed(KEY, "kofe-1")
    kind, order, genuine = wire.read_command(signed.payload(), "kofe-1", KEY)
    assert (kind, order.command_id, order.order_id, order.price_minor, genuine) == (
        "brew", str(COMMAND_ID), str(ORDER_ID), 15_900, True,
    )  # fmt: skip
    assert wire.read_command(signed.payload(), "kofe-2", KEY)[2] is False
    link = wire.shown_link("http://copeck.test", "kofe-1", KEY, "latte", "small", "2025-x", 1_796_000_000)
    sig = link.rpartition("sig=")[2]
    place = {"device": "kofe-1", "drink": "latte", "size": "small", "order": "2025-x", "ts": 1_796_000_000}
    assert machines.sign_link(KEY, **place) == sig  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["device", "drink", "size", "order", "ts"])
def test_no_part_of_a_link_can_be_changed(name: str) -> None:
    link: dict[str, Any] = {"device": "kofe-1", "drink": "latte", "size": "small", "order": "a-1", "ts": 7}
    sig = machines.sign_link(KEY, **link)
    assert machines.is_link_signed_by(KEY, **link, sig=sig)
    other = {**link, name: 8 if name == "ts" else "other"}
    assert not machines.is_link_signed_by(KEY, **other, sig=sig)


@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        (machines.ack_topic("kofe-1", COMMAND_ID), machines.HeardTopic("kofe-1", "ack", COMMAND_ID)),
        (machines.state_topic("kofe-1"), machines.HeardTopic("kofe-1", "state")),
        (machines.heartbeat_topic("kofe-1"), machines.HeardTopic("kofe-1", "heartbeat")),
        (machines.telemetry_topic("kofe-1"), machines.HeardTopic("kofe-1", "telemetry")),
    ],
)
def test_topics_of_machines_are_read_back(topic: str, expected: machines.HeardTopic) -> None:
    assert machines.read_topic(topic) == expected


@pytest.mark.parametrize(
    "topic",
    [
        machines.command_topic("kofe-1", COMMAND_ID),
        machines.confirmation_topic("kofe-1", COMMAND_ID),
        "cm/v2/kofe-1/state",
        "cm/v1/k/state",
        "cm/v1/kofe 1/state",
        "cm/v1/kofe-1/ack/1",
        "cm/v1/kofe-1/ack",
        "cm/v1/kofe-1/state/more",
        "technical",
        "",
    ],
)
def test_no_machine_writes_elsewhere(topic: str) -> None:
    with pytest.raises(ContractError):
        machines.read_topic(topic)


def _ack(**changes: Any) -> bytes:
    body = {"v": 1, "command_id": str(COMMAND_ID), "state": "done", "code": "", "at": 5, "n": 3}
    return json.dumps({**body, **changes}).encode()


@pytest.mark.parametrize(
    "payload",
    [
        _ack(v=2),
        _ack(command_id="latte"),
        _ack(state="perhaps"),
        _ack(at="now"),
        _ack(at=-1),
        _ack(at=10**18),
        _ack(code="no water\n"),
        _ack(n=True),
        b"\xff\xfe",
        b"[]",
        b"",
        b" " * (machines.PAYLOAD_BYTES_MAX + 1),
    ],
)
def test_an_odd_report_is_refused(payload: bytes) -> None:
    with pytest.raises(ContractError):
        machines.read_payload(machines.MachineAck, payload)


@pytest.mark.parametrize(
    ("model", "payload", "check"),
    [
        (machines.MachineState, b'{"v":1,"online":false}', lambda m: m.state == "off" and not m.online),
        (
            machines.MachineState,
            b'{"v":1,"online":true,"state":"ready","error":"","sold_out":[["latte","small"]],"at":5,"fw":"9"}',
            lambda m: m.sold_out == [("latte", "small")],
        ),
        (machines.MachineHeartbeat, b'{"v":1}', lambda m: m.at == 0),
        (
            machines.MachineTelemetry,
            b'{"v":1,"prices":[{"drink":"latte","size":"small","price_minor":0}]}',
            lambda m: m.prices[0].price_minor == 0,
        ),
    ],
)
def test_what_machines_say_of_themselves(
    model: type[machines.MachineMessage], payload: bytes, check: Callable[[Any], bool]
) -> None:
    assert check(machines.read_payload(model, payload))
