"""The machine's side of the contract: topics, signatures, and the binary frame of the older machines."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

ROOT = "cm/v1"
_HEAD, _TAIL = b"\xaa\x55", b"\x88\x66"
_FRAME_VERSION, _MAKE = 1, 0x22
_CRC_START, _CRC_POLYNOMIAL = 0x8C, 0x8C


class NotACommandError(Exception):
    """Bytes that no machine understands."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a machine is told to brew; moments are milliseconds of the Unix epoch, 0 where the protocol has none."""

    command_id: str
    order_id: str
    drink: str
    size: str
    price_minor: int
    currency: str = "RUB"
    expires_at: int = 0


def now_ms() -> int:
    """Milliseconds since the epoch, by this process's clock."""
    return time.time_ns() // 1_000_000


def _mac(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def read_command(payload: bytes, device: str, key: bytes) -> tuple[str, Order, bool]:
    """Read a signed command: its kind, what it orders, and whether the signature is right."""
    try:
        body: dict[str, Any] = json.loads(payload)
        signed = "\n".join(
            str(part)
            for part in (
                ROOT, device, body["kind"], body["command_id"], body["order_id"], body["drink"], body["size"],
                body["price_minor"], body["currency"], body["issued_at"], body["expires_at"],
            )
        )  # fmt: skip
        order = Order(
            body["command_id"], body["order_id"], body["drink"], body["size"], int(body["price_minor"]),
            body["currency"], int(body["expires_at"]),
        )  # fmt: skip
        genuine = body["v"] == 1 and hmac.compare_digest(_mac(key, signed), str(body["sig"]))
    except (ValueError, KeyError, TypeError) as error:
        raise NotACommandError(str(error)) from error
    return str(body["kind"]), order, genuine


def shown_link(shop_url: str, device: str, key: bytes, drink: str, size: str, order: str, ts: int) -> str:
    """The address in the QR code of a chosen drink, signed by the machine."""
    sig = _mac(key, "\n".join((device, drink, size, order, str(ts))))
    query = urlencode({"drink": drink, "size": size, "order": order, "ts": ts, "sig": sig})
    return f"{shop_url.rstrip('/')}/m/{device}/order?{query}"


def new_order_id() -> str:
    """A machine's own order id: when, and something random."""
    stamp = time.strftime("%Y%m%d%H%M%S", time.gmtime())
    return f"{stamp}{now_ms() % 1000:03d}{secrets.token_hex(3)}-{secrets.token_hex(2)}"


def crc8(data: bytes) -> int:
    """CRC-8 with the reflected polynomial 0x8C, starting at 0x8C as the machines do."""
    crc = _CRC_START
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ _CRC_POLYNOMIAL if crc & 1 else crc >> 1
    return crc


def read_frame(frame: bytes) -> Order:
    """Read `AA55 | version | length u16 | crc8 | body | 8866`; a body is the command's byte and compact JSON."""
    if len(frame) < 8 or frame[:2] != _HEAD or frame[-2:] != _TAIL or frame[2] != _FRAME_VERSION:
        raise NotACommandError("not a frame")
    body = frame[6:-2]
    if int.from_bytes(frame[3:5], "big") != len(body) or crc8(body) != frame[5] or body[:1] != bytes((_MAKE,)):
        raise NotACommandError("a damaged frame")
    try:
        said: dict[str, Any] = json.loads(body[1:])
        order_id = str(said["orderUuid"])
        return Order(order_id, order_id, str(said["drinkNo"]), str(said.get("size", "")), int(said["price"]))
    except (ValueError, KeyError, TypeError) as error:
        raise NotACommandError(str(error)) from error
