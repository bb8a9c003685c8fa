"""Rows of messages: events to publish, positions that are confirmed, and what is set aside."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any
from uuid import UUID

import orjson

from billing_state_updater.store.arrays import int2s, int8s, raws, texts, uuids
from billing_state_updater.store.load import Cursor
from billing_state_updater.world import Quarantined, World

_OUTBOX = (
    "INSERT INTO state.outbox (day, shard, seq, message_id, type, subject, cause_id, correlation_id, traceparent, "
    "body, at) SELECT $10::date, a, b, c, d, e, f, g, h, i, $11 "
    "FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9) AS row (a, b, c, d, e, f, g, h, i)"
)


async def outbox(cursor: Cursor, world: World) -> None:
    """Append the events to publish."""
    rows = world.outgoing
    if not rows:
        return
    columns = (
        int2s([row.shard for row in rows]),
        int8s([row.seq for row in rows]),
        uuids([row.message_id for row in rows]),
        texts([row.type for row in rows]),
        texts([row.subject for row in rows]),
        uuids([row.cause_id for row in rows]),
        texts([row.correlation_id for row in rows]),
        texts([row.traceparent for row in rows]),
        raws([row.body for row in rows]),
    )
    await cursor.execute(_OUTBOX, (*columns, world.now.date(), world.now), prepare=True)


_CURSORS = (
    "UPDATE state.outbox_cursors AS target SET seq = row.seq FROM unnest($1, $2) AS row (shard, seq) "
    "WHERE target.shard = row.shard AND target.seq < row.seq"
)


async def cursors(cursor: Cursor, published: Mapping[int, int]) -> None:
    """Advance the outbox cursors over what the broker has confirmed."""
    if published:
        await cursor.execute(_CURSORS, (int2s(list(published)), int8s(list(published.values()))), prepare=True)


_QUARANTINE = (
    "INSERT INTO state.quarantine (id, shard, message_id, sender, reason, headers, body, at) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING"
)
_TEXT_MAX = 500


async def quarantine(cursor: Cursor, messages: Sequence[Quarantined], now: datetime) -> None:
    """Set messages aside; the same message twice is one row."""
    for message in messages:
        delivery = message.delivery
        headers = orjson.dumps(_plain(delivery.headers)).decode().replace("\\u0000", "")
        identity = blake2b(delivery.message_id.encode() + headers.encode() + delivery.body, digest_size=16)
        await cursor.execute(
            _QUARANTINE,
            (
                UUID(bytes=identity.digest()),
                delivery.shard,
                _printable(delivery.message_id),
                _printable(delivery.sender),
                _printable(message.reason),
                headers,
                delivery.body,
                now,
            ),
            prepare=True,
        )


def _printable(text: str) -> str:
    return text.replace("\x00", "")[:_TEXT_MAX]


def _plain(value: Any) -> Any:
    """Turn AMQP header values into what JSON can hold."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)
