"""Rows of the event chains, and of the commands that changed nothing."""

from collections.abc import Mapping

from billing_state_updater.store.arrays import int2s, int4s, int8s, raws, texts, uuids
from billing_state_updater.store.load import Cursor
from billing_state_updater.world import World

_TRANSITIONS = (
    "INSERT INTO state.transitions (aggregate_id, version, aggregate, event, status, changes, cause_id, cause_type, "
    "actor, shard, epoch, at) SELECT a, b, c, d, e, f::jsonb, g, h, i, j, k, $12 "
    "FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) AS row (a, b, c, d, e, f, g, h, i, j, k)"
)


async def transitions(cursor: Cursor, world: World, epochs: Mapping[int, int]) -> None:
    """Append to the event chains."""
    rows = world.transitions
    if not rows:
        return
    columns = (
        uuids([row.aggregate_id for row in rows]),
        int4s([row.version for row in rows]),
        texts([row.aggregate for row in rows]),
        texts([row.event for row in rows]),
        texts([row.status for row in rows]),
        raws([row.changes for row in rows]),
        uuids([row.cause_id for row in rows]),
        texts([row.cause_type for row in rows]),
        texts([row.actor for row in rows]),
        int2s([row.shard for row in rows]),
        int8s([epochs[row.shard] for row in rows]),
    )
    await cursor.execute(_TRANSITIONS, (*columns, world.now), prepare=True)


_REFUSALS = (
    "INSERT INTO state.refusals (command_id, command_type, aggregate, outcome, code, detail, actor, at) "
    "SELECT a, b, c, d, e, f, g, $8 FROM unnest($1, $2, $3, $4, $5, $6, $7) AS row (a, b, c, d, e, f, g) "
    "ON CONFLICT DO NOTHING"
)


async def refusals(cursor: Cursor, world: World) -> None:
    """Append refusals; a command that is applied again after a crash is refused once."""
    rows = world.refusals
    if not rows:
        return
    columns = (
        uuids([row.command.id for row in rows]),
        texts([row.command.type for row in rows]),
        texts([row.aggregate for row in rows]),
        texts([row.outcome for row in rows]),
        texts([row.code for row in rows]),
        texts([row.detail for row in rows]),
        texts([row.actor for row in rows]),
    )
    await cursor.execute(_REFUSALS, (*columns, world.now), prepare=True)
