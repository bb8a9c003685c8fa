"""What machines say: of commands, of themselves, and of their prices. Each is one transaction.

A caller that confirms a report to its machine does so after these return: after the commit.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID, uuid5

import prometheus_client

from copeck.kernel.ids import new_id
from device_bridge.domain import brews
from device_bridge.domain.brewing import REPORTED, BrewEvent
from device_bridge.domain.errors import DeviceUnknown, ForeignCommand
from device_bridge.domain.machine import Status
from device_bridge.domain.model import BrewCommand, DeviceState, Incident, MachineState, Order, Report
from device_bridge.domain.outcomes import Applied
from device_bridge.handlers.context import Actor, Context, Work
from device_bridge.handlers.steps import carry_out, collect, note_stale, store
from device_bridge.handlers.writes import Writes
from device_bridge.store import commands, devices, drinks, orders

log = logging.getLogger(__name__)

UNKNOWN_COMMANDS = UUID("0190c0ff-ee00-7000-8000-000000000001")
_REPORTS = prometheus_client.Counter(
    "copeck_devices_reports_total", "What machines said of commands.", ["state", "outcome"]
)


async def on_report(context: Context, report: Report) -> None:
    """Follow what a machine said of a command; what it has said before changes nothing.

    ForeignCommand when the command was given to another machine, DeviceUnknown when there is no such machine: somebody
    else may have to hear it. ValueError for a state that does not exist.
    """
    [refused] = await on_reports(context, [report])
    if refused is not None:
        raise refused


async def on_reports(context: Context, said: Sequence[Report]) -> list[ForeignCommand | DeviceUnknown | None]:
    """Follow reports in the order of their arrival, all in one transaction; returns for each why it was refused."""
    for report in said:
        if BrewEvent(report.state) not in REPORTED:
            raise ValueError(f"no machine reports {report.state!r}")
    if not said:
        return []
    writes, outcomes = Writes(), Counter[tuple[str, str]]()
    async with context.database.transaction() as tx:
        work = Work(context, tx, context.clock.now())
        known = await commands.find(tx, [report.command_id for report in said])
        ours = await _machines(work, said, known)
        refused = [_refusal(report, known.get(report.command_id), ours) for report in said]
        heard = [report for report, no in zip(said, refused, strict=True) if no is None]
        made = await _follow_all(work, writes, heard, known, outcomes)
        await store(work, writes)
    # A machine that its failures have stopped takes unpaid orders back, which is said too.
    if writes.messages or not all(brew.succeeded for brew in writes.brews):
        context.poke()
    for (state, outcome), count in outcomes.items():
        _REPORTS.labels(state, outcome).inc(count)
    if made:
        context.send_receipts(made)
    return refused


async def _machines(work: Work, said: Sequence[Report], known: dict[UUID, BrewCommand]) -> set[str]:
    """Return the machines that exist; only those are looked up that report on what was not given to them."""
    given = {(command.id, command.device_id) for command in known.values()}
    doubtful = {report.device_id for report in said if (report.command_id, report.device_id) not in given}
    there = await devices.existing(work.tx, doubtful) if doubtful else set()
    return there | {device_id for _, device_id in given}


def _refusal(report: Report, command: BrewCommand | None, ours: set[str]) -> ForeignCommand | DeviceUnknown | None:
    if report.device_id not in ours:
        return DeviceUnknown(f"nobody knows the machine {report.device_id}")
    if command is None or command.device_id == report.device_id:
        return None
    return ForeignCommand(f"command {report.command_id} was not given to machine {report.device_id}")


async def _follow_all(
    work: Work,
    writes: Writes,
    heard: Sequence[Report],
    known: dict[UUID, BrewCommand],
    outcomes: Counter[tuple[str, str]],
) -> list[UUID]:
    """Decide about reports one after another, each on what the one before has left; returns orders with receipts."""
    if not heard:
        return []
    new = await commands.add_reports(work.tx, heard, work.now)
    order_of = {command_id: command.order_id for command_id, command in known.items()}
    to_lock = {order_of[report.command_id] for report in heard if report.command_id in order_of}
    locked, locked_commands = await commands.lock_with_orders(work.tx, to_lock) if to_lock else ({}, {})
    made = []
    for report in heard:
        key = commands.report_key(report)
        repeated = key not in new
        new.discard(key)
        if report.command_id not in order_of:
            if not repeated:
                _unknown_command(work, writes, report)
            outcomes[report.state, "repeat" if repeated else "unknown"] += 1
            continue
        order_id = order_of[report.command_id]
        order, command = locked.get(order_id), locked_commands.get(order_id)
        on_its_word = replace(work, actor=Actor(f"machine:{report.device_id}", "machine"))
        applied = decide(on_its_word, order, command, BrewEvent(report.state), report.code)
        # A repeat is followed too: a machine that is asked to forget a command answers with what it said last, and that
        # it is still at it has to count then. Any other repeat changes nothing, as the table says.
        stale = order is None or applied is None
        outcomes[report.state, "repeat" if repeated else "stale" if stale else "applied"] += 1
        if order is None or applied is None:
            continue
        after = collect(on_its_word, writes, order, applied)
        locked[order_id] = after
        if applied.command is not None:
            locked_commands[order_id] = applied.command
        if _has_receipt(after):
            made.append(after.id)
    return made


def tell_buyer(context: Context, order: Order | None) -> None:
    """Send the e-mail of an order that was just made, if there is one to send; its row is committed."""
    if order is not None and _has_receipt(order):
        context.send_receipts([order.id])


def _has_receipt(order: Order) -> bool:
    return order.status is Status.SUCCESSFUL and bool(order.receipt_address)


async def follow(work: Work, order_id: UUID, event: BrewEvent, code: str) -> Order | None:
    """Take what became known of an order's command; None when it changes nothing."""
    order = await orders.lock(work.tx, order_id)
    command = await commands.of_order(work.tx, order_id, lock=True)
    applied = decide(work, order, command, event, code)
    return None if order is None or applied is None else await carry_out(work, order, applied)


def decide(work: Work, order: Order | None, command: BrewCommand | None, event: BrewEvent, code: str) -> Applied | None:
    """Return what news of a locked command come to; None when they change nothing."""
    if order is None or command is None:
        return None
    policy = work.context.policy(command.model)
    outcome = brews.reported(order, command, event, code, work.now, policy, work.context.limits, new_id())
    note_stale(order.id, outcome)
    return outcome if isinstance(outcome, Applied) else None


def _unknown_command(work: Work, writes: Writes, report: Report) -> None:
    """A machine that brews what nobody paid for is an incident; any other word on it is only kept."""
    log.warning("machine %s reports %s of an unknown command", report.device_id, report.state)
    if report.state in (BrewEvent.STARTED, BrewEvent.DONE):
        detail = {"command_id": str(report.command_id), "state": report.state, "code": report.code}
        incident_id = uuid5(UNKNOWN_COMMANDS, str(report.command_id))
        writes.incidents.append(Incident(incident_id, "brewed_unpaid", None, report.device_id, detail, work.now))


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
