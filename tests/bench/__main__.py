"""Runs the benches and prints one report: `python -m tests.bench --help`."""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from copeck.contracts.registry import COMMANDS_EXCHANGE  # noqa: F401 - fails early when the path is not set up
from copeck.testkit.postgres import database_url
from tests.bench import pgbench
from tests.bench.servers import Bench, enqueue, load, reports
from tests.bench.updater import Measured, measure

SMALL, LARGE = 10_000, 1_000_000
LARGE_RUN = 30_000
ORM_RUN = 3_000
OUTPUT = Path("build/bench.json")
REQUIRED = {"over_orm": 10.0, "over_pgbench": 0.5, "memory_mib": 200.0, "large_over_small": 0.8, "p99_ms": 250.0}

app = typer.Typer(add_completion=False)
console = Console(width=110)


async def orm(bench: Bench, database: str, invoices: Any, seed: int) -> float:
    """Measure the baseline in a process of its own."""
    await bench.purge()
    count = await enqueue(bench.broker, reports(invoices, seed))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.orm_baseline", database_url(database, "state_updater"),
        bench.broker.urls["state-updater"], str(count), stdout=subprocess.PIPE,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(process.communicate(), 300)
    return float(json.loads(output)["per_second"])


async def throughput(rounds: int, seconds: int, large: int) -> dict[str, Any]:
    """Run the rounds, interleaved, and return the medians with every sample."""
    bench = await Bench.prepare()
    names = ("pgbench", "updater", "updater_large", "updater_small", "orm")
    samples: dict[str, list[float]] = {name: [] for name in names}
    memory: list[float] = []
    try:
        pgbench_database = f"{bench.databases.template}_pgbench"
        pgbench.prepare(pgbench_database)
        big = bench.databases.create("large")
        console.print(f"loading {large:,} invoices by COPY …")
        stock = load(big, large)
        step = large // (rounds * 2)
        for n in range(rounds):
            # Each run pays invoices that lie scattered over the whole table and were not paid before.
            fresh = stock[n :: rounds * 2][: min(LARGE_RUN, step)]
            same = stock[rounds + n :: rounds * 2][:SMALL]
            samples["pgbench"].append(await asyncio.to_thread(pgbench.run, pgbench_database, seconds))
            run = await measure(bench, big, fresh, n)
            samples["updater"].append(run.per_second)
            memory.append(run.memory_mib)
            samples["updater_large"].append((await measure(bench, big, same, n)).per_second)
            small = bench.databases.create("small")
            samples["updater_small"].append((await measure(bench, small, load(small, SMALL), n)).per_second)
            baseline = bench.databases.create("orm")
            samples["orm"].append(await orm(bench, baseline, load(baseline, ORM_RUN), n))
            _round(n, samples, run)
        server = pgbench.settings()
    finally:
        bench.close()
    medians = {name: statistics.median(values) for name, values in samples.items()}
    return {
        "samples": samples,
        "medians": medians,
        "ratios": {
            "over_orm": medians["updater"] / medians["orm"],
            "over_pgbench": medians["updater"] / medians["pgbench"],
            "large_over_small": medians["updater_large"] / medians["updater_small"],
        },
        "memory_mib": max(memory),
        "server": server,
        "invoices": {"small": SMALL, "large": large},
    }


def _round(n: int, samples: dict[str, list[float]], run: Measured) -> None:
    figures = "  ".join(f"{name} {values[-1]:,.0f}/s" for name, values in samples.items())
    console.print(f"round {n + 1}: {figures}  (updater {run.memory_mib:.0f} MiB, {run.cpu_share:.2f} of a core)")


def judge(result: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    """Compare the figures with what is required."""
    ratios = result["ratios"]
    rows = [
        ("full path over ORM, one transaction a message", ratios["over_orm"], REQUIRED["over_orm"], True),
        ("full path over pgbench -N", ratios["over_pgbench"], REQUIRED["over_pgbench"], True),
        ("rate with the large over the small table", ratios["large_over_small"], REQUIRED["large_over_small"], True),
        ("memory of the updater, MiB", result["memory_mib"], REQUIRED["memory_mib"], False),
    ]
    if latency := result.get("latency"):
        rows.append(("callback to active at 50/s, p99 ms", latency["p99_ms"], REQUIRED["p99_ms"], False))
    return [
        (name, f"{value:,.2f}", f"{'≥' if least else '<'} {bound:g}", value >= bound if least else value < bound)
        for name, value, bound, least in rows
    ]


@app.command()
def main(
    rounds: int = typer.Option(5, min=1, help="Interleaved rounds; medians are reported."),
    pgbench_seconds: int = typer.Option(20, min=1, help="Length of each pgbench run."),
    large: int = typer.Option(LARGE, min=SMALL, help="Invoices in the large table."),
    latency: bool = typer.Option(True, help="Also measure callback to active at 50 payments a second."),
    only_latency: bool = typer.Option(False, help="Measure nothing else."),
) -> None:
    """Measure the updater's full path beside the ORM and pgbench, and the latency of the whole stack."""
    began = time.monotonic()
    result: dict[str, Any] = {"machine": {"cores": os.cpu_count()}}
    if not only_latency:
        result |= asyncio.run(throughput(rounds, pgbench_seconds, large))
    if latency or only_latency:
        from tests.bench import latency as whole_stack

        result["latency"] = whole_stack.run()
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    table = Table("figure", "value", "required", "", title="Bench", show_lines=False)
    rows = judge(result) if "ratios" in result else []
    for name, value, bound, ok in rows:
        table.add_row(name, value, bound, "ok" if ok else "MISSED")
    for name, value in result.get("medians", {}).items():
        table.add_row(f"median of {name}", f"{value:,.0f}/s", "", "")
    if "latency" in result:
        for name, value in result["latency"].items():
            table.add_row(f"latency {name}", f"{value:,.1f}", "", "")
    console.print(table)
    console.print(f"{OUTPUT} written; {time.monotonic() - began:.0f} s")
    if not all(ok for *_, ok in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    app()
