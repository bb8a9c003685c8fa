"""Leases of shards, fencing epochs, outbox positions, and the maintenance of partitions."""

from collections.abc import Iterable, Sequence
from typing import Any

import psycopg

from billing_state_updater.world import Outgoing
from copeck.contracts.registry import invoice_topic

Connection = psycopg.AsyncConnection[tuple[Any, ...]]


async def heartbeat(connection: Connection, owner: str, silent_s: float) -> int:
    """Say that this process lives, forget those long silent, and return how many live."""
    async with connection.transaction():
        await connection.execute(
            "INSERT INTO state.shard_owners (owner, seen_at) VALUES (%s, clock_timestamp()) "
            "ON CONFLICT (owner) DO UPDATE SET seen_at = excluded.seen_at",
            (owner,),
        )
        await connection.execute(
            "DELETE FROM state.shard_owners WHERE seen_at < clock_timestamp() - make_interval(secs => %s)",
            (silent_s * 10,),
        )
        cursor = await connection.execute(
            "SELECT count(*) FROM state.shard_owners WHERE seen_at > clock_timestamp() - make_interval(secs => %s)",
            (silent_s,),
        )
        row = await cursor.fetchone()
    return int(row[0]) if row else 1


async def renew(connection: Connection, owner: str, shards: Sequence[int], lease_s: float) -> set[int]:
    """Prolong leases; returns those that are still this process's."""
    cursor = await connection.execute(
        "UPDATE state.shard_leases SET leased_until = clock_timestamp() + make_interval(secs => %s) "
        "WHERE owner = %s AND shard = ANY(%s) RETURNING shard",
        (lease_s, owner, list(shards)),
    )
    return {row[0] for row in await cursor.fetchall()}


async def acquire(
    connection: Connection, owner: str, held: Iterable[int], limit: int, lease_s: float
) -> dict[int, int]:
    """Take free shards, at most `limit`, and bump their epochs; returns epochs by shard.

    `held` are not looked at: a bump would fence this process out of what it is working on. The bump waits for the
    batch that the former owner may have in flight: its fence holds the epoch's row.
    """
    async with connection.transaction():
        cursor = await connection.execute(
            "SELECT shard FROM state.shard_leases "
            "WHERE (owner IS NULL OR owner = %s OR leased_until < clock_timestamp()) AND shard <> ALL(%s) "
            "ORDER BY shard LIMIT %s FOR UPDATE SKIP LOCKED",
            (owner, list(held), limit),
        )
        shards = [row[0] for row in await cursor.fetchall()]
        if not shards:
            return {}
        await connection.execute(
            "UPDATE state.shard_leases SET owner = %s, leased_until = clock_timestamp() + make_interval(secs => %s) "
            "WHERE shard = ANY(%s)",
            (owner, lease_s, shards),
        )
        cursor = await connection.execute(
            "WITH locked AS (SELECT shard FROM state.shards WHERE shard = ANY(%s) ORDER BY shard FOR UPDATE) "
            "UPDATE state.shards AS target SET epoch = epoch + 1 FROM locked WHERE target.shard = locked.shard "
            "RETURNING target.shard, target.epoch",
            (shards,),
        )
        return dict(await cursor.fetchall())


async def release(connection: Connection, owner: str, shards: Iterable[int]) -> None:
    """Give leases back at once, so that another process need not wait for their end."""
    await connection.execute(
        "UPDATE state.shard_leases SET owner = NULL, leased_until = '-infinity' WHERE owner = %s AND shard = ANY(%s)",
        (owner, list(shards)),
    )


async def leave(connection: Connection, owner: str) -> None:
    """Take this process off the list of the living."""
    await connection.execute("DELETE FROM state.shard_owners WHERE owner = %s", (owner,))


async def settle(connection: Connection, shards: Iterable[int]) -> None:
    """Wait for the end of every batch that holds the fence of these shards.

    A connection may break while the server still commits its batch: what that batch wrote is seen only after this.
    """
    await connection.execute(
        "SELECT shard FROM state.shards WHERE shard = ANY(%s) ORDER BY shard FOR UPDATE", (list(shards),)
    )


async def positions(connection: Connection, shards: Iterable[int]) -> dict[int, tuple[int, int]]:
    """Return each shard's (published, written) positions in the outbox."""
    cursor = await connection.execute(
        "SELECT shard, seq, coalesce((SELECT max(seq) FROM state.outbox AS row "
        "WHERE row.shard = place.shard AND row.seq > place.seq), seq) "
        "FROM state.outbox_cursors AS place WHERE shard = ANY(%s)",
        (list(shards),),
    )
    return {row[0]: (row[1], row[2]) for row in await cursor.fetchall()}


async def unpublished(connection: Connection, shard: int, after_seq: int, limit: int) -> list[Outgoing]:
    """Return a shard's events beyond a position, in order."""
    cursor = await connection.execute(
        "SELECT shard, seq, message_id, type, subject, cause_id, correlation_id, traceparent, body, at, "
        "CASE WHEN type LIKE 'invoice.%%' THEN body::json ->> 'kind' END "
        "FROM state.outbox WHERE shard = %s AND seq > %s ORDER BY seq LIMIT %s",
        (shard, after_seq, limit),
    )
    return [_outgoing(row) for row in await cursor.fetchall()]


def _outgoing(row: tuple[Any, ...]) -> Outgoing:
    shard, seq, message_id, type_name, subject, cause_id, correlation_id, traceparent, body, at, kind = row
    topic = invoice_topic(type_name, kind) if kind else type_name
    return Outgoing(
        shard, seq, message_id, type_name, subject, cause_id, correlation_id, traceparent, body.encode(), at, topic
    )


async def maintain_partitions(connection: Connection, months: int, weeks: int, kept_days: int) -> int:
    """Make coming partitions, drop those of inbox and outbox that are older than `kept_days`; returns how many."""
    cursor = await connection.execute("SELECT state.maintain_partitions(%s, %s, %s)", (months, weeks, kept_days))
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def advance(connection: Connection, published: dict[int, int]) -> None:
    """Advance outbox cursors outside a batch, when there is no batch to carry them."""
    await connection.execute(
        "UPDATE state.outbox_cursors AS target SET seq = row.seq "
        "FROM unnest(%s::smallint[], %s::bigint[]) AS row (shard, seq) "
        "WHERE target.shard = row.shard AND target.seq < row.seq",
        (list(published), list(published.values())),
    )
