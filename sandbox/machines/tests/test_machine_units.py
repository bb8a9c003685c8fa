"""A machine from the inside: it brews an order once, and never what it refused, forgot or came too late for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from copeck.testkit.waiting import eventually, never
from sandbox.machines.chaos import Armed, Chaos, Switch
from sandbox.machines.machine import Machine, SentReport
from sandbox.machines.model import MachineConfig, MenuLine, Switches
from sandbox.machines.settings import Settings
from sandbox.machines.store import Store
from sandbox.machines.wire import Order, now_ms


@dataclass
class Faults:
    chaos: Chaos = field(default_factory=Chaos)


@dataclass
class Watched:
    machine: Machine
    store: Store
    faults: Faults
    reports: list[SentReport] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)

    def said(self, command_id: str) -> list[tuple[str, str]]:
        return [(report.state, report.code) for report in self.reports if report.command_id == command_id]

    def poured(self) -> int:
        return int(self.store.rows("SELECT count(*) FROM log WHERE event = 'brew.poured'")[0][0])

    def events(self) -> list[str]:
        return [row[0] for row in self.store.rows("SELECT event FROM log ORDER BY seq")]


Make = Callable[..., Watched]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Watched] = []

    def start(faults: Faults | None = None, **settings: object) -> Watched:
        for earlier in made:
            earlier.machine.halt()
            earlier.store.close()
        made.clear()
        chosen = Settings(data_dir=tmp_path, **{"brew_ms": 20, "queue_max": 2, **settings})  # type: ignore[arg-type]
        store, used = Store(tmp_path), faults or Faults()
        config = MachineConfig(device="kofe-1", menu=[MenuLine(drink="latte"), MenuLine(drink="espresso")])
        machine = Machine(config, Switches(), chosen, store, used)
        watched = Watched(machine, store, used)
        machine.on_report = watched.reports.append
        machine.on_power_cut = watched.cuts.append
        made.append(watched)
        machine.boot()
        return watched

    yield start
    for watched in made:
        watched.machine.halt()
        watched.store.close()


def order(number: int = 1, *, expires_in_ms: int = 60_000) -> Order:
    return Order(f"c-{number}", f"o-{number}", "latte", "medium", 15_900, "RUB", now_ms() + expires_in_ms)


async def test_a_cup_is_accepted_started_and_poured(make: Make) -> None:
    one = make()
    one.machine.take(order())
    await eventually(lambda: one.poured() == 1)
    assert one.said("c-1") == [("accepted", ""), ("started", ""), ("done", "")]
    assert [report.n for report in one.reports] == [1, 2, 3]
    assert one.machine.state == "ready"


async def test_the_same_command_is_brewed_once_and_answered_as_before(make: Make) -> None:
    one = make()
    wanted = order()
    one.machine.take(wanted)
    one.machine.take(wanted)
    await eventually(lambda: one.poured() == 1)
    one.machine.take(wanted)
    assert one.reports[-1] == next(report for report in one.reports if report.state == "done")
    await never(lambda: one.poured() > 1, for_s=0.2)


async def test_it_remembers_after_a_restart_of_the_process(make: Make) -> None:
    one = make()
    wanted = order()
    one.machine.take(wanted)
    await eventually(lambda: one.poured() == 1)
    again = make()
    again.machine.take(wanted)
    assert again.said("c-1") == [("done", "")]
    await never(lambda: again.poured() > 1, for_s=0.2)
    again.machine.take(order(2))
    assert again.reports[-2].n == 4, "reports are counted on"


@pytest.mark.parametrize("offset_s", [3600, 0])
async def test_an_expired_command_is_refused_by_the_machines_own_clock(make: Make, offset_s: int) -> None:
    one = make()
    one.machine.switches = Switches(clock_offset_s=offset_s)
    one.machine.take(order(expires_in_ms=-1 if offset_s == 0 else 60_000))
    assert one.said("c-1") == [("rejected", "expired")]
    await never(lambda: one.poured() > 0, for_s=0.1)


async def test_what_expires_while_it_waits_is_not_brewed(make: Make) -> None:
    one = make(brew_ms=300)
    one.machine.take(order(1))
    one.machine.take(order(2, expires_in_ms=100))
    await eventually(lambda: one.said("c-2")[-1:] == [("failed", "expired")])
    assert one.poured() == 1


async def test_what_has_no_room_is_refused(make: Make) -> None:
    one = make(brew_ms=10_000)
    for number in range(1, 5):
        one.machine.take(order(number))
    assert [one.said(f"c-{number}")[0] for number in range(1, 5)] == [("accepted", "")] * 3 + [("rejected", "busy")]
    assert one.machine.state == "busy"


async def test_an_error_and_what_is_sold_out_refuse(make: Make) -> None:
    one = make()
    one.machine.switches = Switches(error="no_water")
    one.machine.take(order(1))
    one.machine.switches = Switches(sold_out=[("latte", "medium")])
    one.machine.take(order(2))
    assert [one.said("c-1"), one.said("c-2")] == [[("rejected", "no_water")], [("rejected", "sold_out")]]
    one.machine.switches = Switches(sold_out=[("latte", "medium"), ("espresso", "medium")])
    assert one.machine.state == "sold_out"


async def test_a_forged_command_is_refused_and_its_id_is_spent(make: Make) -> None:
    one = make()
    one.machine.refuse(order(), "bad_signature")
    one.machine.take(order())
    assert one.said("c-1") == [("rejected", "bad_signature")] * 2
    await never(lambda: one.poured() > 0, for_s=0.1)


async def test_a_forgery_of_a_known_command_changes_nothing(make: Make) -> None:
    one = make()
    one.machine.take(order())
    one.machine.refuse(order(), "bad_signature")
    await eventually(lambda: one.poured() == 1)
    assert one.said("c-1")[-1] == ("done", "")


async def test_a_revocation_before_the_cup_and_one_too_late(make: Make) -> None:
    one = make(brew_ms=100)
    one.machine.take(order(1))
    one.machine.take(order(2))
    one.machine.revoke(order(2))
    one.machine.revoke(order(1))
    assert one.said("c-2")[-1] == ("revoked", "")
    assert one.said("c-1")[-1] == ("started", "")
    await eventually(lambda: one.said("c-1")[-1] == ("done", ""))
    one.machine.revoke(order(1))
    assert one.said("c-1")[-1] == ("done", "")
    assert one.poured() == 1


async def test_a_revocation_that_overtakes_its_command(make: Make) -> None:
    one = make()
    one.machine.revoke(order())
    one.machine.take(order())
    assert one.said("c-1") == [("revoked", "")] * 2
    await never(lambda: one.poured() > 0, for_s=0.1)


async def test_a_failed_brew_says_why(make: Make) -> None:
    one = make(Faults(Chaos(once=[Armed(switch=Switch.FAILED_BREW)])))
    one.machine.take(order(1))
    await eventually(lambda: one.said("c-1")[-1:] == [("failed", "no_water")])
    one.machine.take(order(2))
    await eventually(lambda: one.poured() == 1)


async def test_power_that_fails_in_the_middle_costs_the_cup_and_is_reported(make: Make) -> None:
    one = make(Faults(Chaos(once=[Armed(switch=Switch.REBOOT)])))
    one.machine.take(order(1))
    one.machine.take(order(2))
    await eventually(lambda: len(one.cuts) == 1)
    assert one.poured() == 0
    one.machine.boot()
    await eventually(lambda: one.poured() == 1)
    assert one.said("c-1")[-1] == ("failed", "power_cut")
    assert one.said("c-2")[-1] == ("done", "")


async def test_power_that_fails_after_the_cup_loses_only_the_word(make: Make) -> None:
    one = make(Faults(Chaos(once=[Armed(switch=Switch.REBOOT_AFTER_CUP)])))
    one.machine.take(order())
    await eventually(lambda: len(one.cuts) == 1)
    assert one.poured() == 1
    assert one.said("c-1")[-1] == ("started", "")
    one.machine.boot()
    assert [report.state for report in one.machine.unconfirmed()] == ["accepted", "started", "done"]
    await never(lambda: one.poured() > 1, for_s=0.1)


async def test_a_process_that_died_while_brewing_fails_that_cup(make: Make) -> None:
    one = make(brew_ms=10_000)
    one.machine.take(order(1))
    again = make()
    assert again.said("c-1") == [("failed", "power_cut")]
    again.machine.take(order(1))
    await never(lambda: again.poured() > 0, for_s=0.1)


async def test_reports_stay_until_they_are_confirmed(make: Make) -> None:
    one = make()
    one.machine.take(order())
    await eventually(lambda: one.poured() == 1)
    one.machine.confirmed(1)
    one.machine.confirmed(3)
    assert [report.n for report in one.machine.unconfirmed()] == [2]


async def test_it_forgets_only_what_is_old(make: Make) -> None:
    one = make(queue_max=0)
    one.machine.switches = Switches(error="no_cups")
    for number in range(300):
        one.machine.take(order(number))
    kept = one.store.rows("SELECT count(*), max(command_id = 'c-299') FROM commands")[0]
    assert 256 <= kept[0] < 290
    assert kept[1] == 1


async def test_chaos_is_repeatable_and_faults_are_used_up() -> None:
    chaos = Chaos(seed=7, probabilities={Switch.SLOW: 0.5}, once=[Armed(switch=Switch.REFUSED, device="a", count=2)])
    first = [chaos.strikes(Switch.SLOW, f"c-{number}", device="a") for number in range(200)]
    assert first == [chaos.strikes(Switch.SLOW, f"c-{number}", device="a") for number in range(200)]
    assert 60 < sum(first) < 140
    assert not chaos.strikes(Switch.REFUSED, "c", device="b")
    assert [chaos.strikes(Switch.REFUSED, "c", device="a") for _ in range(3)] == [True, True, False]
    assert 100 <= chaos.between((100, 200), "x") <= 200
    assert {chaos.sign(str(number)) for number in range(50)} == {1, -1}
