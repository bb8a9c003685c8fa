"""`make machines-load`: thousands of connected machines on one bridge process, for minutes, while some of them brew.

No heartbeat may be missed, no machine shown as off, and a paid order's command must be on the wire within a second.
"""

import asyncio
import json
import random
import statistics
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import typer
from prometheus_client.parser import text_string_to_metric_families

from deploy.devstack.console import say
from deploy.devstack.stack import Stack
from tests.coffee import large_fleet
from tests.coffee.ear import Ear
from tests.coffee.latency import order_of
from tests.coffee.till import Till
from tests.coffee.used import Used
from tests.e2e.coffee_scenario import PREFIX
from tests.e2e.scenario import Site

OUTPUT = Path("build/machines-load.json")
HEARTBEAT_S, LATE_HEARTBEAT_S = 30, 45.0
BREW_P99_MS_MAX = 1000.0
_LOOK_EVERY_S = 1.0
_DRAIN_S = 10.0
_MEASURED = ("device-bridge", "machines", "payments-gateway", "billing-state-updater")
SETTINGS = {
    "COPECK_LOG_LEVEL": "WARNING",
    "SANDBOX_MACHINES_HEARTBEAT_S": str(HEARTBEAT_S),
    "SANDBOX_MACHINES_BREW_MS": "1000",
    "SANDBOX_MACHINES_CONNECTS_AT_ONCE": "50",
}

app = typer.Typer(add_completion=False)


@dataclass
class Watch:
    """What is asked of the database and of the API all the while."""

    site: Site
    names: list[str]
    looks: int = 0
    asked: int = 0
    shown_off: list[str] = field(default_factory=list)
    oldest_heartbeat_s: float = 0.0
    late: Counter[str] = field(default_factory=Counter)

    def run(self, database_url: str, stopped: threading.Event, seed: int) -> None:
        """Look once a second until told to stop: every machine in the database, some of them over the API."""
        chance = random.Random(seed)
        with (
            psycopg.connect(database_url, autocommit=True) as database,
            httpx2.Client(base_url=self.site.public_url, timeout=30, trust_env=False) as api,
        ):
            while not stopped.wait(_LOOK_EVERY_S):
                self.looks += 1
                rows = database.execute(
                    "SELECT device_id, online, extract(epoch FROM now() - heartbeat_at)::float8 "
                    "FROM devices.device_states WHERE NOT online OR heartbeat_at < now() - interval '25 seconds'"
                ).fetchall()
                for device, online, age_s in rows:
                    self.oldest_heartbeat_s = max(self.oldest_heartbeat_s, age_s)
                    if age_s > LATE_HEARTBEAT_S:
                        self.late[device] += 1
                    if not online:
                        self.shown_off.append(f"{device} in the database")
                device = chance.choice(self.names)
                shown = api.get(f"{PREFIX}/public/devices/{device}").raise_for_status().json()
                self.asked += 1
                if shown["state"] not in ("ready", "busy") or shown["refusal"]:
                    self.shown_off.append(f"{device} is shown as {shown['state']}: {shown['refusal']}")


@dataclass
class Brews:
    """Orders that were paid meanwhile; `began` by order, of the monotonic clock."""

    began: dict[str, float] = field(default_factory=dict)
    troubles: Counter[str] = field(default_factory=Counter)

    async def run(self, till: Till, names: list[str], per_second: float, seconds: float, seed: int) -> None:
        """Order and pay at machines that nobody else orders at, at a steady rate."""
        chance = random.Random(seed)
        start, tasks, number = time.monotonic(), [], 0
        while (due := start + number / per_second) < start + seconds:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            tasks.append(asyncio.create_task(self._one(till, chance.choice(names))))
            number += 1
        await asyncio.gather(*tasks)

    async def _one(self, till: Till, device: str) -> None:
        try:
            ordered = await till.order(device)
            self.began[ordered.order_id], _ = await till.pay(ordered)
        except (RuntimeError, httpx2.HTTPError) as error:
            self.troubles[str(error)[:160]] += 1


def heard(bridge_url: str) -> Counter[str]:
    """Return what the bridge has heard and said so far, by its own counters."""
    text = httpx2.get(f"{bridge_url}/metrics", timeout=10, trust_env=False).raise_for_status().text
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "copeck_mqtt_heard_total":
                found[f"{sample.labels['kind']} {sample.labels['outcome']}"] += int(sample.value)
            elif sample.name == "copeck_mqtt_published_total":
                found[f"sent {sample.labels['outcome']}"] += int(sample.value)
    return found


def run(machines: int, minutes: float, brews_per_s: float, seed: int) -> dict[str, Any]:
    """Start a stack of its own, connect the fleet, watch it, report."""
    with Stack("machines-load", extra_env=SETTINGS) as stack:
        state = stack.state()
        site = Site.of_state(state)
        began = time.monotonic()
        names = large_fleet.set_up(stack, site, machines, failures_max=100)
        connected_s = time.monotonic() - began
        say("fleet", f"{machines} machines are connected and ready after {connected_s:.0f} s")
        ear = Ear(state["servers"]["mqtt_url"], "fleet-ear")
        ear.start()
        try:
            report = _measure(stack, site, names, minutes * 60, brews_per_s, seed, ear)
        finally:
            ear.stop()
    report = {"machines": machines, "minutes": minutes, "connected_after_s": round(connected_s, 1), **report}
    return report | {"failed": _failures(report)}


def _measure(
    stack: Stack, site: Site, names: list[str], seconds: float, brews_per_s: float, seed: int, ear: Ear
) -> dict[str, Any]:
    state = stack.state()
    bridge_url, database_url = state["urls"]["device-bridge"], state["databases"]["postgres"]
    processes = {name: stack.processes[name] for name in _MEASURED} | {"mosquitto": stack.infra.processes["mosquitto"]}
    watch, brews, stopped = Watch(site, names), Brews(), threading.Event()
    heard_before, fleet_before = heard(bridge_url), _stats(site)
    between = heard(bridge_url)["heartbeat done"] - heard_before["heartbeat done"]
    used_before = Used.of(processes)
    watching = threading.Thread(target=watch.run, args=(database_url, stopped, seed), daemon=True)
    watching.start()
    began = time.monotonic()

    async def brew() -> None:
        till = Till(state)
        await brews.run(till, names, brews_per_s, seconds, seed)
        await till.close()

    asyncio.run(brew())
    took_s = time.monotonic() - began
    stopped.set()
    watching.join(timeout=60)
    used = Used.of(processes)
    counted = _count_heartbeats(site, bridge_url, fleet_before, heard_before)
    heard_after = heard(bridge_url)
    seen = _on_the_wire(ear, brews)
    waits = sorted(seen[order] - began_at for order, began_at in brews.began.items() if order in seen)
    with psycopg.connect(database_url, autocommit=True) as database:
        ended = _until_ended(database, len(brews.began))
    return {
        "seconds": round(took_s, 1),
        "heartbeats": counted | {
            "counted_within": between,
            "expected_at_least": int(len(names) * (took_s // HEARTBEAT_S)),
            "oldest_s": round(watch.oldest_heartbeat_s, 1),
            "machines_with_a_late_one": len(watch.late),
        },
        "looks": {"database": watch.looks, "api": watch.asked, "shown_as_off": watch.shown_off[:20]},
        "brews": {
            "paid": len(brews.began),
            "per_second": round(len(brews.began) / took_s, 2),
            "on_the_wire": len(waits),
            "p50_ms": round(statistics.median(waits) * 1000, 1),
            "p99_ms": round(waits[int(len(waits) * 0.99)] * 1000, 1),
            "max_ms": round(waits[-1] * 1000, 1),
            "ended": ended,
            "troubles": dict(brews.troubles.most_common(10)),
        },
        "messages": {name: heard_after[name] - heard_before[name] for name in sorted(heard_after)},
        "processes": used.since(used_before, took_s),
    }  # fmt: skip


def _stats(site: Site) -> dict[str, int]:
    answer = httpx2.get(f"{site.machines_url}/control/stats", timeout=30, trust_env=False)
    return dict(answer.raise_for_status().json())


def _count_heartbeats(
    site: Site, bridge_url: str, fleet_before: dict[str, int], before: Counter[str]
) -> dict[str, int]:
    """Compare what machines have sent with what the bridge has heard; both are counted by who did it."""
    sent = _stats(site)["heartbeats"] - fleet_before["heartbeats"]
    deadline = time.monotonic() + _DRAIN_S
    while (known := heard(bridge_url)["heartbeat done"] - before["heartbeat done"]) < sent:
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    # What came between the first two questions counts as heard; the database tells of every single machine.
    return {"sent": sent, "heard": known, "missed": max(0, sent - known)}


def _on_the_wire(ear: Ear, brews: Brews) -> dict[str, float]:
    deadline = time.monotonic() + _DRAIN_S
    while True:
        seen: dict[str, float] = {}
        for captured in list(ear.heard):
            seen.setdefault(order_of(captured.payload), captured.at)
        if set(brews.began) <= set(seen) or time.monotonic() > deadline:
            return seen
        time.sleep(0.2)


def _until_ended(database: "psycopg.Connection[tuple[Any, ...]]", count: int) -> dict[str, int]:
    deadline = time.monotonic() + 4 * _DRAIN_S
    while True:
        found = dict(database.execute("SELECT status, count(*) FROM devices.orders GROUP BY 1").fetchall())
        if sum(found.get(one, 0) for one in ("successful", "failed")) >= count or time.monotonic() > deadline:
            return {str(status): int(n) for status, n in found.items()}
        time.sleep(0.3)


def _failures(report: dict[str, Any]) -> list[str]:
    """Say what does not hold."""
    beats, brews = report["heartbeats"], report["brews"]
    found = []
    if beats["missed"] or beats["machines_with_a_late_one"]:
        found.append(f"{beats['missed']} heartbeats were missed, {beats['machines_with_a_late_one']} machines late")
    if beats["sent"] < beats["expected_at_least"]:
        found.append(f"machines sent {beats['sent']} heartbeats, {beats['expected_at_least']} were due")
    if report["looks"]["shown_as_off"]:
        found.append("machines were shown as off")
    if brews["p99_ms"] >= BREW_P99_MS_MAX:
        found.append(f"p99 of a brew command is not under {BREW_P99_MS_MAX:.0f} ms")
    if brews["on_the_wire"] < brews["paid"] or brews["ended"].get("successful", 0) < brews["paid"]:
        found.append("not every paid order has its cup")
    if brews["troubles"]:
        found.append("orders or payments were refused")
    return found


@app.command()
def main(
    machines: int = typer.Option(5000, min=10, max=10_000, help="Machines that are connected."),
    minutes: float = typer.Option(5.0, min=0.2, max=120, help="For how long they are watched."),
    brews: float = typer.Option(5.0, min=0.1, max=50, help="Orders that are paid a second meanwhile."),
    seed: int = typer.Option(0, help="Repeats the choices of another run; 0 draws one."),
) -> None:
    """Watch a large fleet on one bridge process: heartbeats, what is shown, brew commands; processor and memory."""
    seed = seed or random.SystemRandom().randrange(1, 10**6)
    say("fleet", f"seed {seed}: {machines} machines for {minutes:g} minutes, {brews:g} brews a second")
    report = run(machines, minutes, brews, seed)
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    typer.echo(json.dumps(report, indent=2))
    typer.echo(f"figures in {OUTPUT}")
    raise typer.Exit(1 if report["failed"] else 0)


if __name__ == "__main__":
    app()
