"""`make coffee-chaos`: coffee is bought while everything breaks; heal, wait, replay every command, and check."""

import asyncio
import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import typer

from deploy.devstack.console import say
from deploy.devstack.running import operator_env
from deploy.devstack.stack import Stack
from tests.chaos import run as subscriptions
from tests.chaos.checks import emulator_totals, violations
from tests.coffee.buyers import ORDERS_PER_S, Street, queueing
from tests.coffee.checks import CHECKS, SETTLING
from tests.coffee.ear import COMMANDS, REPORTS, Captured, Ear
from tests.coffee.machines import set_up
from tests.coffee.nemesis import CoffeeNemesis
from tests.coffee.truth import CoffeeTruth
from tests.e2e.scenario import Site, client

FOLDER = Path("build/coffee-chaos")
SETTLE_S = 240.0
SPREAD_S_MIN = 45.0
_REPLAYED_TIMEOUT_S = 60.0
_AGAIN_S = 15.0
# The least that a merchant may ask for, so that orders expire and cups are late within a minute.
ORDER_TTL_S, BREW_TIMEOUT_S, FAILURES_MAX = 60, 15, 100
SETTINGS = {
    "COPECK_ACCEPT_TIMEOUT_S": "10",
    "COPECK_REVOKE_TIMEOUT_S": "3",
    "COPECK_BREWING_GRACE_S": "4",
    "COPECK_UNCONFIRMED_SEND_S": "3",
    "SANDBOX_MACHINES_HEARTBEAT_S": "5",
    "SANDBOX_MACHINES_BREW_MS": "800",
    "SANDBOX_MACHINES_ACK_RETRY_S": "1",
    "SANDBOX_MACHINES_ACK_RETRY_CAP_S": "4",
    "SANDBOX_MACHINES_RECONNECT_CAP_S": "2",
}

app = typer.Typer(add_completion=False)


@dataclass
class Result:
    """What a run came to."""

    seed: int
    orders: int
    machines: int
    violations: dict[str, list[str]]
    harm: dict[str, int]
    seconds: float
    behaviours: dict[str, int] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    incidents: dict[str, int] = field(default_factory=dict)
    happened: dict[str, int] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    unfinished: int = 0

    @property
    def ok(self) -> bool:
        """Tell whether nothing was violated."""
        return not self.violations


def run(orders: int, count: int, seed: int, *, settle_s: float = SETTLE_S) -> Result:
    """Sell `orders` coffees at `count` machines under fire, and check; the history is kept under build/coffee-chaos."""
    say("coffee", f"seed {seed}: {orders} orders at {count} machines")
    began = time.monotonic()
    with Stack("coffee-chaos", extra_env={**subscriptions.settings_of(orders), **SETTINGS}, yields=False) as stack:
        stack.add("billing-state-updater", "billing-state-updater-2")
        state = stack.state()
        site = Site.of_state(state)
        shops = set_up(
            site, count, "chaos", order_ttl_s=ORDER_TTL_S, brew_timeout_s=BREW_TIMEOUT_S, failures_max=FAILURES_MAX
        )
        say("coffee", f"{count} machines are on after {time.monotonic() - began:.0f} s")
        street = Street(site, state["shop"]["public_id"], shops.devices, seed)
        urls = state["urls"]
        nemesis = CoffeeNemesis(
            stack, site.emulator_url, urls["payments-gateway"], urls["mock-gateway"], seed,
            machines_url=site.machines_url, devices=shops.devices,
        )  # fmt: skip
        nemesis.invoices = lambda: [wish.invoice_id for wish in street.wishes if wish.invoice_id]
        ear = Ear(state["servers"]["mqtt_url"], "chaos-ear", COMMANDS, REPORTS)
        ear.start()
        try:
            _sell_under_fire(street, nemesis, orders)
            with psycopg.connect(state["databases"]["postgres"], autocommit=True) as database:
                truth = _truth(database, stack, street, shops.merchant_id)
                _settle(truth, site, settle_s)
                wire = list(ear.heard)
                truth.replays = _replay(truth, ear, wire)
                result = _result(truth, street, nemesis, _judge(truth), wire)
        finally:
            ear.stop()
    result.seconds = round(time.monotonic() - began, 1)
    result.machines = count
    _keep(result, nemesis, street)
    return result


def _sell_under_fire(street: Street, nemesis: CoffeeNemesis, orders: int) -> None:
    nemesis.provoke_provider()
    nemesis.provoke_machines()
    harm = threading.Thread(target=nemesis.run, name="nemesis", daemon=True)
    harm.start()
    finished = 0
    step = max(1, orders // 10)

    def progress() -> None:
        nonlocal finished
        finished += 1
        if finished % step == 0:
            say("coffee", f"{finished} of {orders} buyers have done what they would; harm so far: {dict(nemesis.done)}")

    asyncio.run(queueing(street, orders, max(SPREAD_S_MIN, orders / ORDERS_PER_S), progress))
    nemesis.stop()
    harm.join(timeout=120)
    nemesis.heal()
    say("coffee", "healed; waiting until everything has settled")


def _truth(
    database: "psycopg.Connection[tuple[Any, ...]]", stack: Stack, street: Street, merchant_id: str
) -> CoffeeTruth:
    state, site = stack.state(), street.site
    return CoffeeTruth(
        database, [], list(street.wishes), stack.infra.endpoints.management_url, operator_env(state),
        Path(state["logs"]), machines_url=site.machines_url, emulator_url=site.emulator_url, merchant_id=merchant_id,
    )  # fmt: skip


def _look(truth: CoffeeTruth) -> CoffeeTruth:
    truth.look().totals = emulator_totals(truth.emulator_url)
    return truth


def _settle(truth: CoffeeTruth, site: Site, settle_s: float) -> None:
    began = time.monotonic()
    while True:
        with client(site.emulator_url) as emulator:
            emulator.post("/sandbox/notifications/hurry")
            waiting = emulator.get("/sandbox/notifications", params={"state": "pending", "limit": 1}).json()["items"]
        open_points = violations(_look(truth), SETTLING, limit=3)
        took_s = time.monotonic() - began
        if not waiting and not open_points:
            say("coffee", f"settled after {took_s:.1f} s")
            return
        if took_s > settle_s:
            say("coffee", f"not settled after {settle_s:.0f} s: {open_points}")
            return
        threading.Event().wait(1.0)


def _replay(truth: CoffeeTruth, ear: Ear, wire: Sequence[Captured]) -> list[str]:
    """Say every command again that was on the wire or heard by a machine; return which orders were brewed by it."""
    before = _poured(truth)
    commands = [one for one in wire if "/cmd/" in one.topic]
    latest = max((_expires_at_ms(one.payload) for one in commands), default=0) / 1000
    # As long as its machine may still take it, a command is no replay but the command.
    threading.Event().wait(max(0.0, latest + 1.0 - time.time()))
    captured = list({(one.topic, one.payload) for one in commands})
    with httpx2.Client(base_url=truth.machines_url, timeout=60, trust_env=False) as fleet:
        heard = int(fleet.get("/control/stats").json()["commands"])
        for topic, payload in captured:
            ear.say(topic, payload)
        again = int(fleet.post("/control/replay").raise_for_status().json()["replayed"])
        deadline = time.monotonic() + _REPLAYED_TIMEOUT_S
        while int(fleet.get("/control/stats").json()["commands"]) < heard + len(captured) + again:
            if time.monotonic() > deadline:
                return [f"of {len(captured)} + {again} replayed commands not all have reached their machines"]
            threading.Event().wait(0.2)
    # A cup that was started by it would be poured by then.
    threading.Event().wait(3.0)
    say("coffee", f"{len(captured)} captured commands were said again, and {again} by the machines' own log")
    after = _poured(truth)
    return [f"order {order} was brewed by a replay" for order in after if after[order] > before.get(order, 0)]


def _poured(truth: CoffeeTruth) -> dict[str, int]:
    return {order: len(moments) for order, moments in truth.look().events("brew.poured").items()}


def _expires_at_ms(payload: bytes) -> int:
    return int(json.loads(payload)["expires_at"])


def _judge(truth: CoffeeTruth) -> dict[str, list[str]]:
    """Run every check; what a late tick of a janitor sets in motion is given a moment to settle again."""
    deadline = time.monotonic() + _AGAIN_S
    while (unsettled := violations(_look(truth), SETTLING)) and time.monotonic() < deadline:
        threading.Event().wait(0.5)
    return unsettled | violations(truth, [check for check in CHECKS if check not in SETTLING])


def _result(
    truth: CoffeeTruth, street: Street, nemesis: CoffeeNemesis, found: dict[str, list[str]], wire: Sequence[Captured]
) -> Result:
    late = [order for order in truth.orders.values() if order.invoice_id in truth.charges]
    late = [order for order in late if truth.charges[order.invoice_id].first_at_ms > order.expires_at_ms]
    events = Counter(entry["event"] for entry in truth.log)
    commands, reports = ([one for one in wire if kind in one.topic] for kind in ("/cmd/", "/ack/"))
    happened = {
        "orders charged twice": sum(charge.charges > 1 for charge in truth.charges.values()),
        "orders charged after expiry": len(late),
        "commands on the wire": len(commands),
        "different commands": len({one.payload for one in commands}),
        "reports on the wire": len(reports),
        "different reports": len({one.payload for one in reports}),
        "commands seen again by machines": events["command.repeated"],
        "cups poured": events["brew.poured"],
        "brews failed": events["brew.failed"],
        "commands refused": events["command.refused"],
        "commands revoked": events["command.revoked"],
        "machines rebooted": events["machine.rebooted"],
        "connections of machines lost": events["machine.offline"],
    }
    return Result(
        street.seed, len(street.wishes), 0, found, dict(sorted(nemesis.done.items())), 0.0,
        behaviours=dict(Counter(wish.behaviour for wish in street.wishes)),
        statuses=dict(Counter(f"{o.status} {o.reason}".strip() for o in truth.orders.values()).most_common()),
        incidents=dict(truth.rows("SELECT kind, count(*) FROM devices.incidents GROUP BY 1")),
        happened=happened,
        failures=dict(street.failures.most_common(12)),
        unfinished=sum(not wish.finished for wish in street.wishes),
    )  # fmt: skip


def _keep(result: Result, nemesis: CoffeeNemesis, street: Street) -> None:
    folder = FOLDER / str(result.seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "history.jsonl").write_text(nemesis.report() + "\n", encoding="utf-8")
    lines = (
        json.dumps({name: value for name, value in vars(wish).items() if name != "token"}) for wish in street.wishes
    )
    (folder / "wishes.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "result.json").write_text(json.dumps(vars(result), indent=2, default=str) + "\n", encoding="utf-8")


def describe(result: Result) -> str:
    """Render a result for people."""
    lines = [
        f"coffee chaos: seed {result.seed}, {result.orders} orders, {result.machines} machines, {result.seconds:.0f} s",
        *_rows("harm done", result.harm),
        *_rows("what came of it", result.happened),
        *_rows("buyers", result.behaviours | {"gave up": result.unfinished}),
        *_rows("orders", result.statuses),
        *_rows("incidents", result.incidents),
        *_rows("not answered, or refused", result.failures),
        "  checks",
    ]
    for check in CHECKS:
        broken = result.violations.get(check.__name__, [])
        words = (check.__doc__ or "").splitlines()[0]
        lines.append(f"    {'FAILED' if broken else 'ok    '}  {check.__name__}: {words}")
        lines.extend(f"              {line}" for line in broken)
    return "\n".join(lines)


def _rows(title: str, counts: dict[str, int]) -> list[str]:
    return [f"  {title}", *(f"    {count:>7}  {name}" for name, count in counts.items())]


@app.command()
def main(
    count: int = typer.Option(2000, min=10, max=20_000, help="Orders to make."),
    machines: int = typer.Option(200, min=1, max=1000, help="Virtual machines to make them at."),
    seed: int = typer.Option(0, help="Repeats the plan of another run; 0 draws one."),
    settle_s: float = typer.Option(SETTLE_S, min=10, help="How long to wait for everything to settle after healing."),
) -> None:
    """Sell coffee while everything breaks, heal, replay every command, and check cups against money."""
    result = run(count, machines, seed or secrets.randbelow(10**6) + 1, settle_s=settle_s)
    typer.echo(describe(result))
    raise typer.Exit(0 if result.ok else 1)


if __name__ == "__main__":
    app()
