"""The telemetry's words and ours. Pure."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from copeck.kernel.money import MINOR_MAX

ALIVE_FOR = timedelta(minutes=5)
"""How old the telemetry's last heartbeat of a machine may be."""

_SIZES_ASKED = {"small": "SMALL", "medium": "MEDIUM", "large": "BIG"}
_SIZES_MADE = {"small": "small", "medium": "medium", "large": "big"}


def size_asked(size: str) -> str:
    """Return how a size is called when a drink is looked up."""
    return _SIZES_ASKED[size]


def size_made(size: str) -> str:
    """Return how a size is called when a drink is made."""
    return _SIZES_MADE[size]


def price_of(document: dict[str, Any]) -> int:
    """Return the price in kopecks, 0 where the telemetry does not know it or says something that is no price."""
    price = document.get("price")
    if isinstance(price, bool) or not isinstance(price, int):
        return 0
    return price if 0 < price <= MINOR_MAX else 0


def alive(document: dict[str, Any], now: datetime) -> set[str]:
    """Return the telemetry's ids of machines whose heartbeat is recent; one from the future is a clock's mistake."""
    content = document.get("content")
    found = set()
    for row in content if isinstance(content, list) else []:
        at = row.get("heartbeatCreatedAt") if isinstance(row, dict) else None
        if isinstance(at, int) and not isinstance(at, bool) and at >= (now - ALIVE_FOR).timestamp():
            found.add(str(row.get("deviceId")))
    return found


def hours_offset(time_zone: str, now: datetime) -> str:
    """Return a time zone's offset from UTC in whole hours, as the header `TimeZoneOffset` has it."""
    try:
        offset = now.astimezone(ZoneInfo(time_zone)).utcoffset() or timedelta()
    except (ZoneInfoNotFoundError, ValueError):
        offset = now.astimezone(UTC).utcoffset() or timedelta()
    return str(int(offset.total_seconds() // 3600))
