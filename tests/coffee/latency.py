"""`make coffee-latency`: from the callback at the gateway to the brew command on the wire, at a steady rate.

Measured from outside: the clock starts when the signed callback is sent to the gateway, and stops when somebody who has
subscribed at the machines' broker sees the command. The whole stack runs, on this machine; machines brew what they get.
"""

import asyncio
import json
import statistics
import time
from pathlib import Path
from typing import Any

import psycopg
import typer

from deploy.devstack.console import say
from deploy.devstack.stack import Stack
from tests.coffee.ear import Ear
from tests.coffee.machines import set_up
from tests.coffee.till import Ordered, Till
from tests.coffee.used import Used
from tests.e2e.scenario import Site

OUTPUT = Path("build/coffee-latency.json")
P99_MS_MAX = 300.0
RATE_PER_S = 50
_WARM_UP_S = 1
_MEASURED = ("payments-gateway", "billing-state-updater", "device-bridge", "machines")
_PREPARE_AT_ONCE = 8
_ARRIVE_TIMEOUT_S = 30.0
_BREWED_TIMEOUT_S = 60.0
# Cups do not wait for each other: what is measured is the way to the machine.
SETTINGS = {"SANDBOX_MACHINES_BREW_MS": "50", "SANDBOX_MACHINES_QUEUE_MAX": "100", "COPECK_LOG_LEVEL": "WARNING"}

app = typer.Typer(add_completion=False)


def order_of(payload: bytes) -> str:
    """Return the order that a command is about."""
    return str(json.loads(payload)["order_id"])


async def _prepare(till: Till, devices: tuple[str, ...], count: int) -> list[Ordered]:
    slots = asyncio.Semaphore(_PREPARE_AT_ONCE)

    async def one(number: int) -> Ordered:
        async with slots:
            return await till.order(devices[number % len(devices)])

    return list(await asyncio.gather(*(one(number) for number in range(count))))


async def _measure(
    stack: Stack, devices: tuple[str, ...], ear: Ear, rate: int, seconds: int
) -> tuple[dict[str, Any], dict[str, float]]:
    """Return the figures, and when each order's callback was sent, by the wall clock."""
    till = Till(stack.state())
    orders = await _prepare(till, devices, rate * (seconds + _WARM_UP_S))
    say("latency", f"{len(orders)} orders wait to be paid")
    began: dict[str, float] = {}
    sent_at: dict[str, float] = {}
    answers: dict[str, float] = {}

    async def pay(one: Ordered) -> None:
        sent_at[one.order_id] = time.time()
        began[one.order_id], answered = await till.pay(one)
        answers[one.order_id] = answered - began[one.order_id]

    tasks = []
    processes = {name: process for name, process in stack.processes.items() if name in _MEASURED}
    used = Used.of(processes)
    start = time.monotonic()
    for n, one in enumerate(orders):
        await asyncio.sleep(max(0.0, start + n / rate - time.monotonic()))
        tasks.append(asyncio.create_task(pay(one)))
    await asyncio.gather(*tasks)
    took_s = time.monotonic() - start
    processes_used = Used.of(processes).since(used, took_s)
    await till.close()
    deadline = time.monotonic() + _ARRIVE_TIMEOUT_S
    seen: dict[str, float] = {}
    while len(seen) < len(orders) and time.monotonic() < deadline:
        await asyncio.sleep(0.2)
        for captured in list(ear.heard):
            seen.setdefault(order_of(captured.payload), captured.at)
    # The first second fills connection pools and plans; it is not part of a steady rate.
    measured = [one.order_id for one in orders[rate * _WARM_UP_S :]]
    samples = sorted(seen[order] - began[order] for order in measured if order in seen)
    steady = sorted(answers[order] for order in measured)
    report = {
        "orders": len(measured),
        "rate_per_s": rate,
        "kept_rate_per_s": round(len(orders) / took_s, 1),
        "missing": len(measured) - len(samples),
        "p50_ms": round(statistics.median(samples) * 1000, 1),
        "p99_ms": round(samples[int(len(samples) * 0.99)] * 1000, 1),
        "max_ms": round(samples[-1] * 1000, 1),
        "callback_answer_p50_ms": round(statistics.median(steady) * 1000, 1),
        "callback_answer_p99_ms": round(steady[int(len(steady) * 0.99)] * 1000, 1),
        "processes": processes_used,
    }
    return report, {order: sent_at[order] for order in measured}


_STEPS = """
SELECT o.id::text, extract(epoch FROM o.paid_at)::float8, extract(epoch FROM c.issued_at)::float8
FROM devices.orders AS o JOIN devices.brew_commands AS c ON c.order_id = o.id
"""


def _steps(database: "psycopg.Connection[tuple[Any, ...]]", sent_at: dict[str, float]) -> dict[str, float]:
    """Return how much of the way is whose, medians in milliseconds: to the updater's decision, and to the command."""
    paid, issued = [], []
    for order, paid_at, issued_at in database.execute(_STEPS).fetchall():
        if order in sent_at:
            paid.append(paid_at - sent_at[order])
            issued.append(issued_at - paid_at)
    return {
        "callback_to_paid_p50_ms": round(statistics.median(paid) * 1000, 1),
        "paid_to_command_p50_ms": round(statistics.median(issued) * 1000, 1),
    }


def run(rate: int, seconds: int, machines: int) -> dict[str, Any]:
    """Start a stack of its own, measure, stop it."""
    with Stack("coffee-latency", extra_env=SETTINGS) as stack:
        state = stack.state()
        shops = set_up(Site.of_state(state), machines, "latency", failures_max=100)
        ear = Ear(state["servers"]["mqtt_url"], "latency-ear")
        ear.start()
        try:
            report, sent_at = asyncio.run(_measure(stack, shops.devices, ear, rate, seconds))
        finally:
            ear.stop()
        with psycopg.connect(state["databases"]["postgres"], autocommit=True) as database:
            report |= _steps(database, sent_at)
            report["orders_ended"] = _ended(database, (seconds + _WARM_UP_S) * rate)
    return report | {"machines": machines, "failed": _failures(report)}


def _ended(database: "psycopg.Connection[tuple[Any, ...]]", count: int) -> dict[str, int]:
    """Wait a while until every order has ended; return where they stand."""
    deadline = time.monotonic() + _BREWED_TIMEOUT_S
    while True:
        found = dict(database.execute("SELECT status, count(*) FROM devices.orders GROUP BY 1").fetchall())
        if sum(found.get(one, 0) for one in ("successful", "failed")) >= count or time.monotonic() > deadline:
            return {str(status): int(n) for status, n in found.items()}
        time.sleep(0.2)


def _failures(report: dict[str, Any]) -> list[str]:
    found = []
    if report["p99_ms"] >= P99_MS_MAX:
        found.append(f"p99 is not under {P99_MS_MAX:.0f} ms")
    if report["missing"]:
        found.append(f"{report['missing']} commands were never on the wire")
    if set(report["orders_ended"]) != {"successful"}:
        found.append("not every paid order has its cup")
    return found


@app.command()
def main(
    rate: int = typer.Option(RATE_PER_S, min=1, max=500, help="Payments a second."),
    seconds: int = typer.Option(20, min=2, max=600, help="For how long, after a second of warming up."),
    machines: int = typer.Option(50, min=1, max=1000, help="Machines that brew."),
) -> None:
    """Measure from the callback received to the brew command on the wire; exit status 1 when p99 is 300 ms or more."""
    report = run(rate, seconds, machines)
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    typer.echo(json.dumps(report, indent=2))
    typer.echo(f"figures in {OUTPUT}")
    raise typer.Exit(1 if report["failed"] else 0)


if __name__ == "__main__":
    app()
