"""A machine from the inside: what it remembers, what it brews, what it says of that. How it is connected is elsewhere.

A cup is poured at ``brew.poured``: that line of the log is what everything is compared with. Before it stands the check
of the order's time, and the write that a second sight of the same command finds.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Protocol

from sandbox.machines.chaos import Chaos, Switch
from sandbox.machines.model import MachineConfig, Switches
from sandbox.machines.settings import Settings
from sandbox.machines.store import Store
from sandbox.machines.wire import Order, now_ms

SHOWN_MS = 12_000


@dataclass(slots=True)
class Screen:
    """What the machine shows besides its state: the last thing that happened to a cup."""

    event: str = ""
    drink: str = ""
    size: str = ""
    code: str = ""
    at_ms: int = 0
    until_ms: int = 0


@dataclass(frozen=True, slots=True)
class SentReport:
    """A report as it goes out, and again until it is confirmed."""

    n: int
    command_id: str
    state: str
    code: str
    at_ms: int


class Chaotic(Protocol):
    """Where faults come from; the object is exchanged as a whole when they are set anew."""

    @property
    def chaos(self) -> Chaos:
        """What is switched on."""
        ...


class Machine:
    """One machine. A transport calls `take` and `revoke`, and is called back with reports and states."""

    def __init__(
        self, config: MachineConfig, switches: Switches, settings: Settings, store: Store, faults: Chaotic
    ) -> None:
        self.config = config
        self.switches = switches
        self.settings = settings
        self.store = store
        self.faults = faults
        self.screen = Screen()
        self.chosen: tuple[str, str, str, int] | None = None
        self.on_report: Callable[[SentReport], None] = lambda _report: None
        self.on_state: Callable[[], None] = lambda: None
        self.on_power_cut: Callable[[int], None] = lambda _ms: None
        self._queue: deque[Order] = deque()
        self._current: Order | None = None
        self._timer: asyncio.TimerHandle | None = None
        rows = store.rows("SELECT coalesce(max(n), 0) FROM reports WHERE device = ?", (config.device,))
        self._n = int(rows[0][0])

    # What it is

    @property
    def device(self) -> str:
        """The machine's name."""
        return self.config.device

    @property
    def state(self) -> str:
        """The state in the contract's words."""
        if self.switches.error:
            return "error"
        if self.config.menu and {(line.drink, line.size) for line in self.config.menu} <= set(self.switches.sold_out):
            return "sold_out"
        return "busy" if self._current is not None else "ready"

    @property
    def waiting(self) -> int:
        """Cups that wait."""
        return len(self._queue)

    @property
    def current(self) -> Order | None:
        """The cup that is being brewed."""
        return self._current

    def clock_ms(self) -> int:
        """What the machine takes for the present moment."""
        offset_s = self.switches.clock_offset_s
        if self.strikes(Switch.CLOCK_OFF, self.device):
            offset_s += self.faults.chaos.options.clock_off_s * self.faults.chaos.sign(self.device)
        return now_ms() + offset_s * 1000

    def strikes(self, switch: Switch, subject: str, order_id: str = "") -> bool:
        """Ask whether a fault strikes this machine."""
        return self.faults.chaos.strikes(switch, subject, device=self.device, order_id=order_id)

    # What it is told

    def take(self, order: Order) -> None:
        """Take an order that is genuine: refuse it, or queue it; one that was seen before is answered as before."""
        if self._repeated(order):
            return
        code = self._objection(order)
        with self.store.unit():
            self._note("command.refused" if code else "command.accepted", order, code=code)
            report = self._report(order, "rejected" if code else "accepted", code, first=True)
        self.on_report(report)
        if not code:
            self._queue.append(order)
            self._go_on()

    def _objection(self, order: Order) -> str:
        if order.expires_at and order.expires_at <= self.clock_ms():
            return "expired"
        if self.switches.error:
            return self.switches.error
        if (order.drink, order.size) in self.switches.sold_out:
            return "sold_out"
        if self.strikes(Switch.REFUSED, order.command_id, order.order_id):
            return self.faults.chaos.options.refused_code
        return "busy" if len(self._queue) >= self.settings.queue_max else ""

    def refuse(self, order: Order, code: str) -> None:
        """Refuse what is not genuine, and remember that: what was refused once is never brewed.

        A command that is known already is not touched by somebody's forgery of it.
        """
        if self._known(order.command_id) is not None:
            self._note("command.forged", order)
            return
        with self.store.unit():
            self._note("command.refused", order, code=code)
            report = self._report(order, "rejected", code, first=True)
        self.on_report(report)

    def revoke(self, order: Order) -> None:
        """Forget a command that has not started; one that was never seen will not be brewed either."""
        known = self._known(order.command_id)
        if known is None or known[0] == "accepted":
            self._queue = deque(waiting for waiting in self._queue if waiting.command_id != order.command_id)
            with self.store.unit():
                self._note("command.revoked", order)
                report = self._report(order, "revoked", "", first=known is None)
            self.on_report(report)
            self.on_state()
            return
        self._note("command.revoked_too_late", order, state=known[0])
        self._say_again(known[1])

    def _repeated(self, order: Order) -> bool:
        known = self._known(order.command_id)
        if known is None:
            return False
        self._note("command.repeated", order, state=known[0])
        self._say_again(known[1])
        return True

    def _known(self, command_id: str) -> tuple[str, int] | None:
        rows = self.store.rows(
            "SELECT state, n FROM commands WHERE device = ? AND command_id = ?", (self.device, command_id)
        )
        return (str(rows[0][0]), int(rows[0][1])) if rows else None

    # What it does

    def _go_on(self) -> None:
        """Start the next cup when there is one and nothing is in the way."""
        while self._current is None and self._queue and self.switches.powered:
            order = self._queue.popleft()
            if order.expires_at and order.expires_at <= self.clock_ms():
                self._end(order, "failed", "expired")
                continue
            self._current = order
            with self.store.unit():
                self._note("brew.started", order)
                report = self._report(order, "started", "")
            self._show("brewing", order, 0)
            self.on_report(report)
            self.on_state()
            half_s = self._half_s(order)
            self._timer = asyncio.get_running_loop().call_later(half_s, self._halfway, order, half_s)

    def _half_s(self, order: Order) -> float:
        brew_ms = self.switches.brew_ms if self.switches.brew_ms is not None else self.settings.brew_ms
        if self.strikes(Switch.SLOW, order.command_id, order.order_id):
            brew_ms += self.faults.chaos.between(self.faults.chaos.options.slow_ms, order.command_id)
        # Two halves: what happens in the middle of a cup happens between them.
        return brew_ms / 2000

    def _halfway(self, order: Order, half_s: float) -> None:
        if self.strikes(Switch.REBOOT, order.command_id, order.order_id):
            self.cut_power(self.faults.chaos.between(self.faults.chaos.options.reboot_ms, order.command_id))
            return
        self._timer = asyncio.get_running_loop().call_later(half_s, self._pour, order)

    def _pour(self, order: Order) -> None:
        self._current, self._timer = None, None
        if self.strikes(Switch.FAILED_BREW, order.command_id, order.order_id):
            self._end(order, "failed", self.faults.chaos.options.failed_code)
        else:
            with self.store.unit():
                self._note("brew.poured", order)
                report = self._report(order, "done", "")
            self._show("done", order, SHOWN_MS)
            if self.strikes(Switch.REBOOT_AFTER_CUP, order.command_id, order.order_id):
                self.cut_power(self.faults.chaos.between(self.faults.chaos.options.reboot_ms, order.command_id))
                return
            self.on_report(report)
        self.on_state()
        self._go_on()

    def _end(self, order: Order, state: str, code: str) -> None:
        with self.store.unit():
            self._note("brew.failed", order, code=code)
            report = self._report(order, state, code)
        self._show("failed", order, SHOWN_MS, code)
        self.on_report(report)

    def cut_power(self, for_ms: int) -> None:
        """Lose power in the middle of whatever it does; what it remembers is written down already."""
        self.halt()
        self.store.log("machine.rebooted", self.device, for_ms=for_ms)
        self.on_power_cut(for_ms)

    def halt(self) -> None:
        """Stop working without a word."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._current = None, None
        self._queue.clear()

    def boot(self) -> None:
        """Come to life: the cup that was being brewed is lost, what waited goes on waiting."""
        if self._current is not None or self._queue:
            return
        rows = self.store.rows(
            "SELECT document, state FROM commands WHERE device = ? AND state IN ('accepted', 'started')"
            " ORDER BY at_ms, command_id",
            (self.device,),
        )
        for document, state in rows:
            order = Order(**json.loads(document))
            if state == "started":
                self._end(order, "failed", "power_cut")
            else:
                self._queue.append(order)
        self._go_on()

    # What it says

    def _next_n(self) -> int:
        self._n += 1
        return self._n

    def _report(self, order: Order, state: str, code: str, *, first: bool = False) -> SentReport:
        """Write a report and the command's new state, which belong to one unit."""
        report = SentReport(self._next_n(), order.command_id, state, code, self.clock_ms())
        self.store.write(
            "INSERT INTO reports (device, n, command_id, state, code, at_ms) VALUES (?, ?, ?, ?, ?, ?)",
            (self.device, report.n, report.command_id, state, code, report.at_ms),
        )
        if first:
            self.store.remember(self.device, order.command_id, asdict(order), state, report.n)
        else:
            self.store.write(
                "UPDATE commands SET state = ?, n = ? WHERE device = ? AND command_id = ?",
                (state, report.n, self.device, order.command_id),
            )
        return report

    def _say_again(self, n: int) -> None:
        self.store.write("UPDATE reports SET confirmed = 0 WHERE device = ? AND n = ?", (self.device, n))
        for report in self.unconfirmed(since_n=n, limit=1):
            self.on_report(report)

    def unconfirmed(self, since_n: int = 0, limit: int = 50) -> list[SentReport]:
        """Reports that nobody has confirmed, oldest first."""
        rows = self.store.rows(
            "SELECT n, command_id, state, code, at_ms FROM reports WHERE device = ? AND confirmed = 0 AND n >= ?"
            " ORDER BY n LIMIT ?",
            (self.device, since_n, limit),
        )
        return [SentReport(*row) for row in rows]

    def confirmed(self, n: int) -> None:
        """Somebody has a report for good."""
        self.store.write("UPDATE reports SET confirmed = 1 WHERE device = ? AND n = ?", (self.device, n))

    def _note(self, event: str, order: Order, **details: object) -> None:
        self.store.log(
            event, self.device, command_id=order.command_id, order_id=order.order_id, drink=order.drink,
            size=order.size, price_minor=order.price_minor, **details,
        )  # fmt: skip

    def _show(self, event: str, order: Order, for_ms: int, code: str = "") -> None:
        until_ms = now_ms() + for_ms if for_ms else 0
        self.screen = Screen(event, order.drink, order.size, code, now_ms(), until_ms)
        self.chosen = None
