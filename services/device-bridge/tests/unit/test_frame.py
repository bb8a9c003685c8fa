"""The frame of the older machines: the vector that was seen on a wire, byte by byte."""

import pytest

from device_bridge.drivers.frame import codec
from device_bridge.drivers.frame.driver import drink_number, place

ORDER, DRINK = "20250317110122659ba6d7-9ace-cndn", "9b900a2e63042d350f45b6675ef26ced"


@pytest.mark.covers("frame vector")
def test_the_golden_vector() -> None:
    frame = codec.make_drink(order_id=ORDER, drink=DRINK, price_minor=5000)
    body = b'"{"orderUuid":"' + ORDER.encode() + b'","drinkNo":"' + DRINK.encode() + b'","textFlag":"1","price":5000}'
    assert len(body) == 122
    assert frame.hex() == "aa5501" + "007a" + "91" + body.hex() + "8866"
    assert len(frame) == 130
    assert frame.hex().startswith("aa5501007a91227b226f72646572")
    assert frame.hex().endswith("3a353030307d8866")


@pytest.mark.parametrize(
    ("body", "crc"),
    [(b"", 0x8C), (b"\x00", codec.crc8(b"\x00")), (b"123456789", codec.crc8(b"123456789"))],
)
def test_the_checksum_is_that_of_a_machine_that_counts_bit_by_bit(body: bytes, crc: int) -> None:
    from sandbox.machines import wire

    assert wire.crc8(body) == crc


def test_a_machine_reads_the_frame() -> None:
    from sandbox.machines import wire

    order = wire.read_frame(codec.make_drink(order_id="заказ-1", drink="7", price_minor=14_900))
    assert (order.order_id, order.drink, order.price_minor) == ("заказ-1", "7", 14_900)


def test_a_body_that_does_not_fit_is_no_frame() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        codec.frame(bytes(codec.BODY_BYTES_MAX + 1))
    assert len(codec.frame(bytes(codec.BODY_BYTES_MAX))) == codec.BODY_BYTES_MAX + 8


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ({}, ("own", "technical/kofe-1")),
        ({"topic": "technical"}, ("own", "technical")),
        ({"topic": "technical/room/1"}, ("own", "technical/room/1")),
        ({"broker": "yandex", "id": "are1"}, ("yandex", "$devices/are1/commands")),
    ],
)
def test_where_frames_go(address: dict[str, object], expected: tuple[str, str]) -> None:
    assert place("kofe-1", address) == expected


@pytest.mark.parametrize(
    "address",
    [
        {"topic": "cm/v1/kofe-2/cmd/1"},
        {"topic": "technical/#"},
        {"topic": "technicalities"},
        {"topic": 5},
        {"broker": "yandex"},
        {"broker": "yandex", "id": "a/b"},
        {"broker": "elsewhere"},
    ],
)
def test_frames_go_nowhere_else(address: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="address"):
        place("kofe-1", address)


def test_the_machines_own_numbers_of_drinks() -> None:
    address = {"drinks": {"latte/small": "17", "latte": 18}}
    assert drink_number(address, "latte", "small") == "17"
    assert drink_number(address, "latte", "large") == "18"
    assert drink_number(address, "mocha", "small") == "mocha"
    with pytest.raises(ValueError, match="mapping"):
        drink_number({"drinks": ["17"]}, "latte", "small")
