"""What machines say: of commands, of themselves, and of their prices. Each is one transaction.

A caller that confirms a report to its machine does so after these return: after the commit.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid5

from prometheus_client import Counter

from copeck.kernel.ids import new_id
from device_bridge.domain import brews
from device_bridge.domain.brewing import REPORTED, BrewEvent
from device_bridge.domain.errors import ForeignCommand
from device_bridge.domain.machine import Status
from device_bridge.domain.model import DeviceState, MachineState, Order, Report
from device_bridge.domain.outcomes import Applied
from device_bridge.handlers.context import Actor, Context, Work
from device_bridge.handlers.steps import carry_out, note_stale, open_incident
from device_bridge.store import commands, devices, drinks, orders

log = logging.getLogger(__name__)

UNKNOWN_COMMANDS = UUID("0190c0ff-ee00-7000-8000-000000000001")
_REPORTS = Counter("copeck_devices_reports_total", "What machines said of commands.", ["state", "outcome"])


async def on_report(context: Context, report: Report) -> None:
    """Follow what a machine said of a command; what it has said before changes nothing.

    ForeignCommand when the command was given to another machine; ValueError for a state that does not exist.
    """
    event = BrewEvent(report.state)
    if event not in REPORTED:
        raise ValueError(f"no machine reports {report.state!r}")
    followed: Order | None = None
    async with context.database.transaction() as tx:
        now = context.clock.now()
        work = Work(context, tx, now, Actor(f"machine:{report.device_id}", "machine"))
        command = await commands.find(tx, report.command_id)
        if command is not None and command.device_id != report.device_id:
            raise ForeignCommand(f"command {report.command_id} was not given to machine {report.device_id}")
        if not await commands.add_report(tx, report, now):
            _REPORTS.labels(report.state, "repeat").inc()
            return
        if command is None:
            await _unknown_command(work, report)
            _REPORTS.labels(report.state, "unknown").inc()
        else:
            followed = await follow(work, command.order_id, event, report.code)
            _REPORTS.labels(report.state, "applied" if followed else "stale").inc()
    context.poke()
    tell_buyer(context, followed)


def tell_buyer(context: Context, order: Order | None) -> None:
    """Send the e-mail of an order that was just made, if there is one to send; its row is committed."""
    if order is not None and order.status is Status.SUCCESSFUL and order.receipt_address:
        context.send_receipts([order.id])


async def follow(work: Work, order_id: UUID, event: BrewEvent, code: str) -> Order | None:
    """Take what became known of an order's command; None when it changes nothing."""
    order = await orders.lock(work.tx, order_id)
    command = await commands.of_order(work.tx, order_id, lock=True)
    if order is None or command is None:
        return None
    policy = work.context.policy(command.model)
    outcome = brews.reported(order, command, event, code, work.now, policy, work.context.limits, new_id())
    if not isinstance(outcome, Applied):
        note_stale(order_id, outcome)
        return None
    return await carry_out(work, order, outcome)


async def _unknown_command(work: Work, report: Report) -> None:
    """A machine that brews what nobody paid for is an incident; any other word on it is only kept."""
    log.warning("machine %s reports %s of an unknown command", report.device_id, report.state)
    if report.state in (BrewEvent.STARTED, BrewEvent.DONE):
        detail = {"command_id": str(report.command_id), "state": report.state, "code": report.code}
        incident_id = uuid5(UNKNOWN_COMMANDS, str(report.command_id))
        await open_incident(work, "brewed_unpaid", report.device_id, detail, incident_id=incident_id)


async def on_heartbeats(context: Context, device_ids: Sequence[str]) -> None:
    """Note that machines are alive, many at once; codes that nobody knows are left out."""
    if device_ids:
        async with context.database.transaction() as tx:
            await devices.note_heartbeats(tx, device_ids, context.clock.now())


@dataclass(frozen=True, slots=True)
class SaidOfItself:
    """What a machine says of itself; `at` is its own clock, None when it gave no time."""

    device_id: str
    online: bool
    state: MachineState
    error_code: str = ""
    sold_out: Sequence[tuple[str, str]] = ()
    at: datetime | None = None


async def on_state(
    context: Context,
    device_id: str,
    *,
    online: bool,
    state: MachineState,
    error_code: str = "",
    sold_out: Sequence[tuple[str, str]] = (),
    at: datetime | None = None,
) -> None:
    """Store what one machine says of itself; see `on_states`."""
    await on_states(context, [SaidOfItself(device_id, online, state, error_code, sold_out, at)])


async def on_states(context: Context, said: Iterable[SaidOfItself]) -> None:
    """Store what machines say of themselves, in the order of arrival. That they are alive, only a heartbeat says.

    Codes that nobody knows are left out. The last words of a machine that went off say nothing of what it is out of.
    """
    last = _last_words(said)
    if not last:
        return
    async with context.database.transaction() as tx:
        now = context.clock.now()
        known = await devices.note_states(
            tx,
            [DeviceState(one.device_id, one.online, one.state, one.error_code, None, one.at or now) for one in last],
        )
        sold_out = {one.device_id: one.sold_out for one in last if one.online and one.device_id in known}
        if sold_out:
            await drinks.note_sold_out(tx, sold_out)
    for one in last:
        if one.device_id not in known:
            log.warning("an unknown machine says how it is: %s", one.device_id)


def _last_words(said: Iterable[SaidOfItself]) -> list[SaidOfItself]:
    """Return what counts of each machine: the newest by its own clock, or by arrival where a word has no time.

    Only words that wait together are compared: a machine whose clock was set back must not fall silent.
    """
    last: dict[str, SaidOfItself] = {}
    for one in said:
        before = last.get(one.device_id)
        if before is None or before.at is None or one.at is None or one.at >= before.at:
            last[one.device_id] = one
    return list(last.values())


async def on_prices(context: Context, device_id: str, prices: Sequence[tuple[str, str, int]]) -> None:
    """Store the prices that are set in a machine; 0 means that it does not know. Unknown drinks are left out."""
    if prices:
        async with context.database.transaction() as tx:
            await drinks.note_prices(tx, device_id, prices, context.clock.now())
