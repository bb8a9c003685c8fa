"""Rows of payouts."""

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from billing_state_updater.domain.aggregates import Payout
from billing_state_updater.store.arrays import Column, bools, int4s, int8s, raws, texts, uuids
from billing_state_updater.store.load import Cursor
from billing_state_updater.store.save.statements import exactly, parameters
from billing_state_updater.world import World

_PAYOUT_HOT = ("version", "status", "attempt", "outcome_unknown", "transaction", "last_error", "approved_by")
_PAYOUT_TERMS = (
    "account",
    "amount_minor",
    "commission_minor",
    "currency",
    "provider",
    "shop",
    "recipient",
    "description",
    "requested_by",
    "needs_approval",
)
_NEW_PAYOUTS = (
    f'INSERT INTO state.payouts (id, {", ".join(_PAYOUT_HOT + _PAYOUT_TERMS)}, "references", requested_at, '  # noqa: S608  names of columns, all ours
    f"updated_at) SELECT id, {', '.join(_PAYOUT_HOT + _PAYOUT_TERMS)}, refs::jsonb, $20, $20 "
    f"FROM unnest({parameters(1, 19)}) AS row (id, {', '.join(_PAYOUT_HOT + _PAYOUT_TERMS)}, refs)"
)
_CHANGED_PAYOUTS = (
    "WITH done AS (UPDATE state.payouts AS payout SET "  # noqa: S608  names of columns, all ours
    + ", ".join(f"{name} = row.{name}" for name in _PAYOUT_HOT)
    + f", updated_at = $9 FROM unnest({parameters(1, 8)}) AS row (id, {', '.join(_PAYOUT_HOT)}) "
    "WHERE payout.id = row.id AND payout.version < row.version RETURNING 1) " + exactly(n=10)
)
_Pack = Callable[[Sequence[Any]], Column]
_PAYOUT_PACK: dict[str, _Pack] = {
    "version": int4s,
    "attempt": int4s,
    "outcome_unknown": bools,
    "needs_approval": bools,
    "amount_minor": int8s,
    "commission_minor": int8s,
}


def _payout_columns(rows: Sequence[Payout], names: Sequence[str]) -> list[Column]:
    return [_PAYOUT_PACK.get(name, texts)([getattr(row, name) for row in rows]) for name in names]


async def payouts(cursor: Cursor, world: World) -> None:
    """Insert the payouts that are new, update the others."""
    new = [row for row in world.touched_payouts.values() if row.id not in world.known]
    changed = [row for row in world.touched_payouts.values() if row.id in world.known]
    if new:
        references = raws([orjson.dumps(row.references) for row in new])
        columns = [uuids([row.id for row in new]), *_payout_columns(new, _PAYOUT_HOT + _PAYOUT_TERMS), references]
        await cursor.execute(_NEW_PAYOUTS, (*columns, world.now), prepare=True)
    if changed:
        columns = [uuids([row.id for row in changed]), *_payout_columns(changed, _PAYOUT_HOT)]
        await cursor.execute(_CHANGED_PAYOUTS, (*columns, world.now, len(changed)), prepare=True)
