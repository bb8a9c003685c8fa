"""The binary frame of the older machines: `AA55 | version | length u16 | crc8 | body | 8866`, big-endian. Pure.

A body is the command's byte and compact JSON. The checksum is CRC-8 with the reflected polynomial 0x8C over the body,
starting at 0x8C.
"""

import json

HEAD, TAIL = b"\xaa\x55", b"\x88\x66"
VERSION = 1
MAKE_DRINK = 0x22
BODY_BYTES_MAX = 0xFFFF
_START = _POLYNOMIAL = 0x8C


def _table() -> tuple[int, ...]:
    values = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ _POLYNOMIAL if value & 1 else value >> 1
        values.append(value)
    return tuple(values)


_TABLE = _table()


def crc8(body: bytes) -> int:
    """Return the checksum of a body."""
    crc = _START
    for byte in body:
        crc = _TABLE[crc ^ byte]
    return crc


def frame(body: bytes) -> bytes:
    """Wrap a body; ValueError when its length does not fit into the frame."""
    if len(body) > BODY_BYTES_MAX:
        raise ValueError(f"a body of {len(body)} bytes does not fit into a frame")
    return HEAD + bytes((VERSION,)) + len(body).to_bytes(2, "big") + bytes((crc8(body),)) + body + TAIL


def make_drink(*, order_id: str, drink: str, price_minor: int, text_flag: str = "1") -> bytes:
    """Return the frame that has a drink made; the machine's own order id comes first in it, the price is in kopecks."""
    said = {"orderUuid": order_id, "drinkNo": drink, "textFlag": text_flag, "price": price_minor}
    return frame(bytes((MAKE_DRINK,)) + json.dumps(said, separators=(",", ":"), ensure_ascii=False).encode())
