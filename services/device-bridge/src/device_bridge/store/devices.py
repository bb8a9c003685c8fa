"""Machines, and what they said last of themselves."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.storage.search import contains
from device_bridge.domain.model import Device, DeviceState, Drink, Merchant, Order
from device_bridge.store import drinks as drink_store
from device_bridge.store.merchants import FIELDS as MERCHANT_FIELDS
from device_bridge.tables import device_states, devices, drinks, key_numbers, merchants, orders

FIELDS = tuple(Device.__slots__)
_STATE_FIELDS = tuple(DeviceState.__slots__)


@dataclass(frozen=True, slots=True)
class Shown:
    """A machine with everything that decides whether it sells."""

    device: Device
    merchant: Merchant
    state: DeviceState | None
    drinks: list[Drink]


def device_of(row: Any) -> Device:
    """Return a machine from a row."""
    return Device(**{name: getattr(row, name) for name in FIELDS})


def _values(device: Device) -> dict[str, Any]:
    return {name: getattr(device, name) for name in FIELDS}


_STATE_COLUMNS = tuple(device_states.c[name].label(f"state_{name}") for name in _STATE_FIELDS)
_MERCHANT_COLUMNS = tuple(merchants.c[name].label(f"merchant_{name}") for name in MERCHANT_FIELDS if name != "id")


def _state_of(row: Any) -> DeviceState | None:
    if row.state_device_id is None:
        return None
    return DeviceState(**{name: getattr(row, f"state_{name}") for name in _STATE_FIELDS})


async def next_key_number(tx: AsyncConnection) -> int:
    """Return the number of a key that no machine has or had."""
    return int((await tx.execute(sa.select(key_numbers.next_value()))).scalar_one())


async def insert(tx: AsyncConnection, device: Device) -> bool:
    """Add a machine; False when its code is taken."""
    statement = pg.insert(devices).values(**_values(device)).on_conflict_do_nothing().returning(devices.c.id)
    return (await tx.execute(statement)).first() is not None


_CHANGED = {name: sa.bindparam(f"new_{name}", type_=devices.c[name].type) for name in FIELDS if name != "id"}
_UPDATE = sa.update(devices).where(devices.c.id == sa.bindparam("the_id")).values(**_CHANGED)
_FIND = sa.select(devices).where(devices.c.id == sa.bindparam("device_id"))
_LOCK = _FIND.with_for_update(key_share=True)


async def update(tx: AsyncConnection, device: Device) -> None:
    """Store a machine that was locked and changed."""
    values = {f"new_{name}": getattr(device, name) for name in _CHANGED}
    await tx.execute(_UPDATE, values | {"the_id": device.id})


async def find(tx: AsyncConnection, device_id: str, *, lock: bool = False) -> Device | None:
    """Return a machine, locked if asked for."""
    row = (await tx.execute(_LOCK if lock else _FIND, {"device_id": device_id})).first()
    return device_of(row) if row else None


async def state_of(tx: AsyncConnection, device_id: str) -> DeviceState | None:
    """Return what a machine said last of itself."""
    query = sa.select(device_states).where(device_states.c.device_id == device_id)
    row = (await tx.execute(query)).first()
    return DeviceState(**{name: getattr(row, name) for name in _STATE_FIELDS}) if row else None


_SHOWN = (
    sa.select(devices, *_STATE_COLUMNS, *_MERCHANT_COLUMNS)
    .join(merchants, merchants.c.id == devices.c.merchant_id)
    .join(device_states, device_states.c.device_id == devices.c.id, isouter=True)
    .where(devices.c.id == sa.bindparam("device_id"))
)


async def shown(tx: AsyncConnection, device_id: str, *, with_drinks: bool = True) -> Shown | None:
    """Return a machine with its owner, its state and its drinks."""
    row = (await tx.execute(_SHOWN, {"device_id": device_id})).first()
    if row is None:
        return None
    values = {name: getattr(row, f"merchant_{name}") for name in MERCHANT_FIELDS if name != "id"}
    merchant = Merchant(id=row.merchant_id, **values)
    on_sale = await drink_store.of_device(tx, device_id) if with_drinks else []
    return Shown(device_of(row), merchant, _state_of(row), on_sale)


async def list_(
    tx: AsyncConnection,
    *,
    merchant_id: UUID | None = None,
    text: str | None = None,
    selling: bool | None = None,
    model: str | None = None,
    after: tuple[Any, ...] | None = None,
    limit: int,
) -> list[tuple[Device, DeviceState | None]]:
    """Return machines that match everything that is given, by their codes."""
    query = (
        sa.select(devices, *_STATE_COLUMNS)
        .join(device_states, device_states.c.device_id == devices.c.id, isouter=True)
        .order_by(devices.c.id)
        .limit(limit)
    )
    if merchant_id is not None:
        query = query.where(devices.c.merchant_id == merchant_id)
    if text:
        names = (devices.c.id, devices.c.name, devices.c.location)
        query = query.where(sa.or_(*(contains(column, text) for column in names)))
    if selling is not None:
        query = query.where(devices.c.selling.is_(selling))
    if model:
        query = query.where(devices.c.model == model)
    if after is not None:
        query = query.where(devices.c.id > after[0])
    return [(device_of(row), _state_of(row)) for row in await tx.execute(query)]


_HEARTBEATS = sa.text("""
INSERT INTO devices.device_states (device_id, online, state, error_code, heartbeat_at)
SELECT known.id, true, 'ready', '', :at
FROM (SELECT id FROM devices.devices WHERE id = ANY(:ids) ORDER BY id) AS known
ON CONFLICT (device_id) DO UPDATE SET heartbeat_at = greatest(device_states.heartbeat_at, excluded.heartbeat_at)
""").bindparams(sa.bindparam("ids", type_=pg.ARRAY(sa.Text)))


async def note_heartbeats(tx: AsyncConnection, device_ids: Sequence[str], at: datetime) -> None:
    """Note that machines are alive; codes that nobody knows are left out."""
    await tx.execute(_HEARTBEATS, {"ids": sorted(set(device_ids)), "at": at})


@dataclass(frozen=True, slots=True)
class Selling:
    """What a payment has to know of a machine: whether it, its merchant and the drink sell, and what speaks to it."""

    model: str
    selling: bool


_DEVICE_IDS: sa.BindParameter[Any] = sa.bindparam("device_ids", type_=pg.ARRAY(sa.Text))
_ORDER_IDS: sa.BindParameter[Any] = sa.bindparam("order_ids", type_=pg.ARRAY(sa.Uuid))
_ON_SALE = sa.exists().where(
    drinks.c.device_id == orders.c.device_id,
    drinks.c.drink_id == orders.c.drink_id,
    drinks.c.size == orders.c.size,
    drinks.c.available,
)
_SELLING = (
    sa.select(orders.c.id, devices.c.model, sa.and_(devices.c.selling, merchants.c.selling, _ON_SALE).label("selling"))
    .join(devices, devices.c.id == orders.c.device_id)
    .join(merchants, merchants.c.id == devices.c.merchant_id)
    .where(orders.c.id == sa.any_(_ORDER_IDS))
)


async def selling(tx: AsyncConnection, paid: Sequence[Order]) -> dict[UUID, Selling]:
    """Return what is to be known of orders' machines, by the orders' ids."""
    rows = await tx.execute(_SELLING, {"order_ids": [order.id for order in paid]})
    return {row.id: Selling(row.model, row.selling) for row in rows}


_EXISTING = sa.select(devices.c.id).where(devices.c.id == sa.any_(_DEVICE_IDS))


async def existing(tx: AsyncConnection, device_ids: Iterable[str]) -> set[str]:
    """Return which of these machines there are."""
    return set((await tx.execute(_EXISTING, {"device_ids": sorted(set(device_ids))})).scalars())


_FAILURES = sa.select(devices.c.id, devices.c.failures_in_row).where(devices.c.id == sa.any_(_DEVICE_IDS))


async def failures_in_row(tx: AsyncConnection, device_ids: Iterable[str]) -> dict[str, int]:
    """Return how many brews of each machine have failed since one succeeded."""
    rows = await tx.execute(_FAILURES, {"device_ids": sorted(set(device_ids))})
    return {row.id: row.failures_in_row for row in rows}


_STATES = sa.text("""
INSERT INTO devices.device_states (device_id, online, state, error_code, reported_at)
SELECT known.id, said.online, said.state, said.error_code, said.reported_at
FROM json_to_recordset(CAST(:said AS json))
    AS said(device_id text, online boolean, state text, error_code text, reported_at timestamptz)
JOIN devices.devices AS known ON known.id = said.device_id
ORDER BY known.id
ON CONFLICT (device_id) DO UPDATE SET online = excluded.online, state = excluded.state,
    error_code = excluded.error_code, reported_at = excluded.reported_at
RETURNING device_id
""")


async def note_states(tx: AsyncConnection, states: Sequence[DeviceState]) -> set[str]:
    """Store what machines, each at most once, said of themselves; returns those that we know. Heartbeats stay."""
    said = [
        {
            "device_id": state.device_id,
            "online": state.online,
            "state": state.state,
            "error_code": state.error_code,
            "reported_at": state.reported_at,
        }
        for state in states
    ]
    return set((await tx.execute(_STATES, {"said": orjson.dumps(said).decode()})).scalars())


_SAID = pg.insert(device_states)
_PUT_STATE = _SAID.on_conflict_do_update(
    index_elements=["device_id"],
    set_={name: _SAID.excluded[name] for name in _STATE_FIELDS if name not in ("device_id", "heartbeat_at")}
    | {"heartbeat_at": sa.func.coalesce(_SAID.excluded.heartbeat_at, device_states.c.heartbeat_at)},
)


async def note_state(tx: AsyncConnection, state: DeviceState) -> None:
    """Store what a machine said of itself."""
    await tx.execute(_PUT_STATE, {name: getattr(state, name) for name in _STATE_FIELDS})
