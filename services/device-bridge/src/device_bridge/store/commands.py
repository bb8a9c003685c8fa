"""Brew commands and what machines reported on them.

Whoever changes a command's state holds the lock of its order; only handing it on locks the command alone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.storage.bulk import BulkInsert, BulkUpdate
from copeck.storage.engine import fetch_together
from device_bridge.domain.brewing import BrewState
from device_bridge.domain.drivers import Way
from device_bridge.domain.model import BrewCommand, Device, Order, Report
from device_bridge.store.devices import FIELDS as DEVICE_FIELDS
from device_bridge.store.orders import order_of
from device_bridge.tables import brew_commands, brew_reports, devices, orders

_FIELDS = tuple(BrewCommand.__slots__)
_REPORT_FIELDS = ("device_id", "command_id", "state", "at", "code", "raw")


def command_of(row: Any, prefix: str = "") -> BrewCommand:
    """Return a command from a row."""
    values = {name: getattr(row, prefix + name) for name in _FIELDS}
    values["state"] = BrewState(values["state"])
    return BrewCommand(**values)


_INSERT = BulkInsert(brew_commands, _FIELDS)
_UPDATE = BulkUpdate(
    brew_commands,
    "id",
    [n for n in _FIELDS if n not in ("id", "order_id", "device_id", "model", "issued_at", "expires_at", "brew_by")],
)


def _values(command: BrewCommand) -> dict[str, Any]:
    return {name: getattr(command, name) for name in _FIELDS}


async def insert(tx: AsyncConnection, *commands: BrewCommand) -> None:
    """Add the only commands of orders."""
    await _INSERT(tx, [_values(command) for command in commands])


async def save(tx: AsyncConnection, *commands: BrewCommand) -> None:
    """Store locked commands' new states."""
    await _UPDATE(tx, [_values(command) for command in commands])


_FIND = sa.select(brew_commands).where(
    brew_commands.c.id == sa.any_(sa.bindparam("ids", type_=pg.ARRAY(pg.UUID(as_uuid=True))))
)


async def find(tx: AsyncConnection, command_ids: Iterable[UUID]) -> dict[UUID, BrewCommand]:
    """Return commands as they are, those that there are."""
    return {row.id: command_of(row) for row in await tx.execute(_FIND, {"ids": list(set(command_ids))})}


_ORDER_IDS: sa.BindParameter[Any] = sa.bindparam("order_ids", type_=pg.ARRAY(pg.UUID(as_uuid=True)))
_LOCK_ORDERS = (
    sa.select(orders).where(orders.c.id == sa.any_(_ORDER_IDS)).order_by(orders.c.id).with_for_update(key_share=True)
)
_LOCK_OF_ORDERS = (
    sa.select(brew_commands)
    .where(brew_commands.c.order_id == sa.any_(_ORDER_IDS))
    .order_by(brew_commands.c.id)
    .with_for_update(key_share=True)
)


async def lock_with_orders(
    tx: AsyncConnection, order_ids: Iterable[UUID]
) -> tuple[dict[UUID, Order], dict[UUID, BrewCommand]]:
    """Lock orders, then their commands, each in the order of their ids; both are returned by the id of the order."""
    ids = {"order_ids": sorted(set(order_ids))}
    locked, commands = await fetch_together(tx, (_LOCK_ORDERS, ids), (_LOCK_OF_ORDERS, ids))
    return {row.id: order_of(row) for row in locked}, {row.order_id: command_of(row) for row in commands}


_OF_ORDER = sa.select(brew_commands).where(brew_commands.c.order_id == sa.bindparam("order_id"))
_LOCK_OF_ORDER = _OF_ORDER.with_for_update(key_share=True)


async def of_order(tx: AsyncConnection, order_id: UUID, *, lock: bool = False) -> BrewCommand | None:
    """Return an order's command; to be locked after the order itself."""
    row = (await tx.execute(_LOCK_OF_ORDER if lock else _OF_ORDER, {"order_id": order_id})).first()
    return command_of(row) if row else None


async def due(tx: AsyncConnection, now: datetime, limit: int) -> list[UUID]:
    """Return orders whose command time alone has to decide about, the longest due first."""
    query = (
        sa.select(brew_commands.c.order_id)
        .where(brew_commands.c.decide_at <= now)
        .order_by(brew_commands.c.decide_at)
        .limit(limit)
    )
    return list((await tx.execute(query)).scalars())


async def postpone(tx: AsyncConnection, order_id: UUID, until: datetime) -> None:
    """Put off what cannot be decided: it must not hold up all the others."""
    statement = sa.update(brew_commands).where(
        brew_commands.c.order_id == order_id, brew_commands.c.decide_at.is_not(None)
    )
    await tx.execute(statement.values(decide_at=until))


@dataclass(frozen=True, slots=True)
class ToSend:
    """A command that is due to be sent, with whom and what it is about."""

    command: BrewCommand
    order: Order
    device: Device


_COMMAND_COLUMNS = tuple(brew_commands.c[name].label(f"command_{name}") for name in _FIELDS)
_DEVICE_COLUMNS = tuple(devices.c[name].label(f"device_{name}") for name in DEVICE_FIELDS if name != "id")
_TO_SEND = (
    sa.select(orders, *_COMMAND_COLUMNS, *_DEVICE_COLUMNS)
    .select_from(brew_commands)
    .join(orders, orders.c.id == brew_commands.c.order_id)
    .join(devices, devices.c.id == brew_commands.c.device_id)
)
_LOCK_TO_SEND = (
    _TO_SEND.where(brew_commands.c.next_send_at <= sa.bindparam("now"))
    .order_by(brew_commands.c.next_send_at)
    .limit(sa.bindparam("most"))
    .with_for_update(of=brew_commands, key_share=True, skip_locked=True)
)
_LOCK_ONE_TO_SEND = _TO_SEND.where(brew_commands.c.id == sa.bindparam("command_id")).with_for_update(
    of=brew_commands, key_share=True
)


def _to_send(row: Any) -> ToSend:
    values = {name: getattr(row, f"device_{name}") for name in DEVICE_FIELDS if name != "id"}
    device = Device(id=row.device_id, **values)
    return ToSend(command_of(row, "command_"), order_of(row), device)


def _through(way: Way) -> sa.ColumnElement[bool]:
    named = sa.func.coalesce(devices.c.driver["broker"].astext, "")
    return sa.or_(brew_commands.c.model.in_(way.models), named == way.broker)


async def lock_to_send(
    tx: AsyncConnection, now: datetime, limit: int, *, only: Way | None = None, but: Sequence[Way] = ()
) -> list[ToSend]:
    """Lock commands that are due to be sent: all, or those that go one way, or those that do not go some ways.

    Commands that another process has in hand are left to it.
    """
    query = _LOCK_TO_SEND.where(*(~_through(way) for way in but))
    if only is not None:
        query = query.where(_through(only))
    return [_to_send(row) for row in await tx.execute(query, {"now": now, "most": limit})]


async def lock_one_of_worker(tx: AsyncConnection, command_id: UUID) -> ToSend | None:
    """Lock one command that a task names; another task with the same one waits here, and finds it claimed."""
    row = (await tx.execute(_LOCK_ONE_TO_SEND, {"command_id": command_id})).first()
    return _to_send(row) if row else None


ReportKey = tuple[UUID, str, datetime]


def report_key(report: Report) -> ReportKey:
    """Return what a report and its repeats have in common."""
    return report.command_id, report.state, report.at


_ADD_REPORTS = BulkInsert(
    brew_reports, (*_REPORT_FIELDS, "received_at"), on_conflict="DO NOTHING", returning="command_id, state, at"
)


async def add_reports(tx: AsyncConnection, reports: Sequence[Report], received_at: datetime) -> set[ReportKey]:
    """Keep reports; returns the keys of those that no machine has said before."""
    rows = [
        # A microsecond apart, so that they are read in the order in which they came.
        {name: getattr(report, name) for name in _REPORT_FIELDS}
        | {"received_at": received_at + timedelta(microseconds=place)}
        for place, report in enumerate(reports)
    ]
    return {(row.command_id, row.state, row.at) for row in await _ADD_REPORTS(tx, rows)}
