"""Drinks of machines, a row a size."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncConnection

from device_bridge.domain.model import SIZES, Drink
from device_bridge.tables import drinks

_FIELDS = tuple(Drink.__slots__)
_KEY = ("device_id", "drink_id", "size")
DRINKS_MAX = 500
"""Most rows of one machine; a menu is not longer."""


def drink_of(row: Any) -> Drink:
    """Return a drink from a row."""
    return Drink(**{name: getattr(row, name) for name in _FIELDS})


async def of_device(tx: AsyncConnection, device_id: str) -> list[Drink]:
    """Return a machine's drinks, by drink and from small to large."""
    size_order = sa.case({size: index for index, size in enumerate(SIZES)}, value=drinks.c.size)
    query = sa.select(drinks).where(drinks.c.device_id == device_id).order_by(drinks.c.drink_id, size_order)
    return [drink_of(row) for row in await tx.execute(query.limit(DRINKS_MAX))]


async def find(tx: AsyncConnection, device_id: str, drink_id: str, size: str, *, lock: bool = False) -> Drink | None:
    """Return a drink in one size, locked if asked for."""
    query = sa.select(drinks).where(
        drinks.c.device_id == device_id, drinks.c.drink_id == drink_id, drinks.c.size == size
    )
    if lock:
        query = query.with_for_update()
    row = (await tx.execute(query)).first()
    return drink_of(row) if row else None


async def count(tx: AsyncConnection, device_id: str) -> int:
    """Return how many rows a machine has."""
    query = sa.select(sa.func.count()).select_from(drinks).where(drinks.c.device_id == device_id)
    return int((await tx.execute(query)).scalar_one())


_NEW = pg.insert(drinks)
_PUT = _NEW.on_conflict_do_update(
    index_elements=list(_KEY), set_={name: _NEW.excluded[name] for name in _FIELDS if name not in _KEY}
)


async def put(tx: AsyncConnection, drink: Drink) -> None:
    """Add a drink or store its new state."""
    await tx.execute(_PUT, {name: getattr(drink, name) for name in _FIELDS})


async def remove(tx: AsyncConnection, device_id: str, drink_id: str, size: str) -> bool:
    """Take a drink off the menu; False when it was not there. Orders keep what they sold."""
    gone = sa.delete(drinks).where(
        drinks.c.device_id == device_id, drinks.c.drink_id == drink_id, drinks.c.size == size
    )
    return (await tx.execute(gone)).rowcount > 0


# What is to be turned is turned: the condition is looked at again when somebody else was faster.
_SOLD_OUT = sa.text("""
UPDATE devices.drinks SET sold_out = NOT sold_out
WHERE device_id = ANY(:devices) AND sold_out <> ((device_id, drink_id, size) IN (
    SELECT said.device_id, said.drink_id, said.size
    FROM json_to_recordset(CAST(:said AS json)) AS said(device_id text, drink_id text, size text)
))
""").bindparams(sa.bindparam("devices", type_=pg.ARRAY(sa.Text)))


async def note_sold_out(tx: AsyncConnection, sold_out: Mapping[str, Iterable[tuple[str, str]]]) -> None:
    """Store what machines are out of; what a machine does not name is there."""
    said = [
        {"device_id": device_id, "drink_id": drink_id, "size": size}
        for device_id, lines in sold_out.items()
        for drink_id, size in lines
    ]
    await tx.execute(_SOLD_OUT, {"devices": sorted(sold_out), "said": orjson.dumps(said).decode()})


_PRICES = sa.text("""
UPDATE devices.drinks SET telemetry_price_minor = told.price_minor, telemetry_at = :at
FROM unnest(:ids, :sizes, :prices) AS told(drink_id, size, price_minor)
WHERE drinks.device_id = :device AND drinks.drink_id = told.drink_id AND drinks.size = told.size
""").bindparams(
    sa.bindparam("ids", type_=pg.ARRAY(sa.Text)),
    sa.bindparam("sizes", type_=pg.ARRAY(sa.Text)),
    sa.bindparam("prices", type_=pg.ARRAY(sa.BigInteger)),
)


async def note_prices(
    tx: AsyncConnection, device_id: str, prices: Sequence[tuple[str, str, int]], at: datetime
) -> None:
    """Store the prices that are set in a machine, of the drinks that we know."""
    ids, sizes, minors = zip(*prices, strict=True) if prices else ((), (), ())
    values = {"device": device_id, "ids": list(ids), "sizes": list(sizes), "prices": list(minors), "at": at}
    await tx.execute(_PRICES, values)
