"""`make load`: people pay from wallets, deposit, withdraw and are refunded, against a stack of its own."""

import asyncio
import json
import random
import time
from pathlib import Path
from typing import Any

import psycopg
import typer
from rich.console import Console

from copeck.testkit.tokens import JwksServer, TokenMint
from deploy.devstack.console import say
from deploy.devstack.running import print_operator
from deploy.devstack.stack import Stack
from tests.load import measure, people
from tests.load.traffic import Traffic

OUTPUT = Path("build/load.json")
REQUIRED_PER_SECOND = 300.0
# Invoices made beforehand, so that payments do not wait for them: enough for this many requests a second.
_INVOICES_PER_S = 300

# One lane: with everything on two cores, fewer and larger commits cost less than two that overlap.
SETTINGS = {"COPECK_LOG_LEVEL": "WARNING", "COPECK_LANES": "1", "COPECK_WORKER_CONCURRENCY": "1"}

app = typer.Typer(add_completion=False)
console = Console(width=110)


@app.command()
def main(
    seconds: int = typer.Option(60, min=5, max=600, help="How long people ask for things."),
    clients: int = typer.Option(16, min=1, max=128, help="How many of them at a time."),
    wallets: int = typer.Option(1000, min=2, max=100_000, help="How many wallets; the first takes half."),
    seed: int = typer.Option(0, help="0: another one each time."),
) -> None:
    """Measure operations a second from request to the updater's decision, and how the providers' work settles."""
    seed = seed or random.SystemRandom().randrange(1, 10**6)
    say("load", f"seed {seed}: {clients} clients, {seconds} s, {wallets} wallets")
    mint = TokenMint()
    keys = JwksServer(mint)
    keys.start()
    try:
        with Stack("load", extra_env={**SETTINGS, "COPECK_JWKS_URL": keys.url}) as stack:
            report = _run(stack, mint, seconds, clients, wallets, seed)
    finally:
        keys.stop()
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    _print(report)
    raise typer.Exit(0 if not report["failed"] else 1)


def _run(stack: Stack, mint: TokenMint, seconds: int, clients: int, wallets: int, seed: int) -> dict[str, Any]:
    state = stack.state()
    with psycopg.connect(state["databases"]["postgres"], autocommit=True) as database:
        began = time.monotonic()
        world = asyncio.run(
            people.prepare(mint, stack.wiring.brokers["gateway"], database, wallets, seconds * _INVOICES_PER_S)
        )
        say("load", f"{wallets} wallets and {len(world.invoices)} invoices in {time.monotonic() - began:.1f} s")
        urls = state["urls"]
        # A seeded generator for a repeatable mix of requests; nothing secret comes out of it.
        traffic = Traffic(world, urls["payments-gateway"], urls["subscriptions"], random.Random(seed))
        asyncio.run(traffic.run(clients, seconds))
        say("load", f"{len(traffic.asked)} requests were accepted; waiting until all is settled")
        settled = measure.settle(database)
        report = {
            "seed": seed,
            "seconds": seconds,
            "clients": clients,
            "wallets": wallets,
            "decisions": measure.decided(database, traffic.asked),
            "settling": settled,
            "outcomes": measure.outcomes(database),
            "errors": dict(traffic.errors.most_common(20)),
            "below_zero": [list(map(str, row)) for row in measure.below_zero(database)],
            "books_clean": print_operator(state, "ledger", "verify") == 0
            and print_operator(state, "replay", "--check") == 0,
        }
    report["failed"] = _failures(report, full=seconds >= 60)
    return report


def _failures(report: dict[str, Any], *, full: bool) -> list[str]:
    """Say what does not hold. The rate is a requirement of the full run only."""
    found = []
    if full and report["decisions"]["all"]["per_second"] < REQUIRED_PER_SECOND:
        found.append(f"fewer than {REQUIRED_PER_SECOND:.0f} operations a second")
    if report["decisions"]["undecided"]:
        found.append(f"{report['decisions']['undecided']} requests were never decided")
    if report["settling"]["left"]:
        found.append(f"{report['settling']['left']} are left after {measure.SETTLE_TIMEOUT_S:.0f} s")
    if report["below_zero"]:
        found.append("a wallet was below zero")
    if not report["books_clean"]:
        found.append("the books are not clean")
    if report["errors"]:
        found.append("requests were refused or not answered")
    return found


def _print(report: dict[str, Any]) -> None:
    console.print_json(json.dumps({name: report[name] for name in ("decisions", "outcomes", "errors", "below_zero")}))
    settling = {name: value for name, value in report["settling"].items() if name != "curve"}
    console.print_json(json.dumps({"settling": settling, "books_clean": report["books_clean"]}))
    console.print(f"figures in {OUTPUT}")
    for line in report["failed"]:
        console.print(f"FAILED: {line}", style="red")


if __name__ == "__main__":
    app()
