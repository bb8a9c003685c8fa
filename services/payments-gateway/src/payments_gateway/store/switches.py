"""Stop switches as rows; no row means that nothing was ever stopped."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from payments_gateway.domain.switches import Switch
from payments_gateway.tables import switches

_FIELDS = tuple(switches.columns)
_STOPPED = (
    sa.select(*_FIELDS)
    .where(switches.c.stopped, switches.c.name == sa.func.any(sa.bindparam("names", type_=ARRAY(sa.Text))))
    .order_by(switches.c.name)
)


async def stopped(tx: AsyncConnection, *names: str) -> Switch | None:
    """Return the first of the switches that is stopped, by name; None when all of them run. One statement."""
    return next(iter(await stopped_of(tx, *names)), None)


def stopped_query(names: list[str]) -> tuple[sa.Select[Any], dict[str, Any]]:
    """Return the query of those of the switches that are stopped, and its parameters."""
    return _STOPPED, {"names": names}


async def stopped_of(tx: AsyncConnection, *names: str) -> list[Switch]:
    """Return those of the switches that are stopped."""
    return [Switch(*row) for row in await tx.execute(_STOPPED, {"names": list(names)})]


async def all_switches(tx: AsyncConnection) -> list[Switch]:
    """Return every switch that was ever touched; there are as many as providers, and two more."""
    return [Switch(*row) for row in await tx.execute(sa.select(*_FIELDS).order_by(switches.c.name).limit(100))]


async def get(tx: AsyncConnection, name: str, *, locked: bool = False) -> Switch | None:
    """Return a switch; None when nobody has touched it."""
    query = sa.select(*_FIELDS).where(switches.c.name == name)
    row = (await tx.execute(query.with_for_update() if locked else query)).first()
    return None if row is None else Switch(*row)


async def put(tx: AsyncConnection, switch: Switch, now: datetime) -> bool:
    """Keep a switch in its new position; False when another's change came first."""
    values = {
        "stopped": switch.stopped,
        "reason": switch.reason,
        "version": switch.version,
        "changed_by": switch.changed_by,
        "changed_at": now,
    }
    statement = (
        insert(switches)
        .values(name=switch.name, **values)
        .on_conflict_do_update(
            index_elements=[switches.c.name], set_=values, where=switches.c.version == switch.version - 1
        )
        .returning(switches.c.name)
    )
    return (await tx.execute(statement)).first() is not None
