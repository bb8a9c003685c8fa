"""`make payouts-batch`: ten thousand payouts out of one file, some lines bad, the worker killed on the way."""

import csv
import io
import json
import random
import time
import uuid
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import typer
from rich.console import Console

from copeck.testkit.tokens import JwksServer, TokenMint
from deploy.devstack.console import say
from deploy.devstack.running import print_operator
from deploy.devstack.stack import Stack

PATH = "/payments/api/v1/payouts/batches"
COLUMNS = ("amount", "currency", "recipient_kind", "recipient", "bank_id", "name", "description", "reference")
OUTPUT = Path("build/batch.json")
# What may be wrong with a line: each gets its share of the bad ones.
FAULTS: tuple[dict[str, str], ...] = (
    {"amount": "0.00"},
    {"amount": "12.345"},
    {"amount": "many"},
    {"currency": "XXX"},
    {"recipient_kind": "pigeon"},
    {"recipient": "+7"},
    {"bank_id": ""},
)
_DONE_TIMEOUT_S = 900.0

app = typer.Typer(add_completion=False)
console = Console(width=110)


def file_of(lines: int, bad: int, seed: int) -> tuple[str, list[int]]:
    """Return a file of payouts and the numbers of its bad lines; the header is line 1."""
    chance = random.Random(seed)
    wrong = sorted(chance.sample(range(2, lines + 2), bad))
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS)
    writer.writeheader()
    for number in range(2, lines + 2):
        minor = chance.randint(100, 100_000)
        row = {
            "amount": f"{minor // 100}.{minor % 100:02d}",
            "currency": "RUB",
            "recipient_kind": "sbp",
            "recipient": f"+79{number:09d}",
            "bank_id": "100000000004",
            "name": f"Recipient {number}",
            "description": f"royalties {number}",
            "reference": f"{seed}-{number}",
        }
        if number in wrong:
            row |= FAULTS[wrong.index(number) % len(FAULTS)]
        writer.writerow(row)
    return out.getvalue(), wrong


@app.command()
def main(
    lines: int = typer.Option(10_000, min=10, max=20_000, help="Lines of the file."),
    bad: int = typer.Option(37, min=0, max=1000, help="How many of them are bad."),
    kills: int = typer.Option(2, min=0, max=10, help="How often the worker is killed on the way."),
    seed: int = typer.Option(7, min=1, help="Repeats the file of another run."),
) -> None:
    """Check a file, send it, kill the worker on the way, and compare with what the provider's log says."""
    mint = TokenMint()
    keys = JwksServer(mint)
    keys.start()
    settings = {
        "COPECK_JWKS_URL": keys.url,
        "COPECK_LOG_LEVEL": "WARNING",
        "COPECK_JANITOR_INTERVAL_S": "2",
        "COPECK_PAYOUT_APPROVAL_ABOVE": json.dumps({"RUB": 10**12}),
    }
    try:
        with Stack("batch", extra_env=settings) as stack:
            report = _run(stack, mint, lines, bad, kills, seed)
    finally:
        keys.stop()
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    console.print_json(json.dumps({name: value for name, value in report.items() if name != "bad_lines"}))
    raise typer.Exit(1 if report["failed"] else 0)


def _run(stack: Stack, mint: TokenMint, lines: int, bad: int, kills: int, seed: int) -> dict[str, Any]:
    state = stack.state()
    text, wrong = file_of(lines, bad, seed)
    headers = {
        "Authorization": f"Bearer {mint.token(uuid.uuid4(), ('manager',), ttl_s=7200)}",
        "Content-Type": "text/csv; charset=utf-8",
    }
    query = {"source": "house:payouts", "provider": "mock", "file_name": "royalties.csv"}
    with (
        httpx2.Client(
            base_url=state["urls"]["payments-gateway"], timeout=60, trust_env=False, headers=headers
        ) as manager,
        psycopg.connect(state["databases"]["postgres"], autocommit=True) as database,
    ):
        began = time.monotonic()
        tried = _answer(manager.post(PATH, params={**query, "dry_run": "true"}, content=text.encode()), 200)
        dry_run_s = time.monotonic() - began
        for line in tried["bad_lines"]:
            console.print(f"line {line['line']}: {line['field']}: {line['reason']}", highlight=False)
        stored = database.execute("SELECT count(*) FROM gateway.payout_batches").fetchone()
        began = time.monotonic()
        key = {"Idempotency-Key": str(uuid.uuid4())}
        batch = _answer(manager.post(PATH, params=query, content=text.encode(), headers=key), 202)
        upload_s = time.monotonic() - began
        again = _answer(
            manager.post(PATH, params=query, content=text.encode(), headers={"Idempotency-Key": str(uuid.uuid4())}), 200
        )
        shown, killed = _until_done(stack, manager, str(batch["id"]), lines - bad, kills)
        settled_s = time.monotonic() - began
        with httpx2.Client(base_url=state["urls"]["mock-gateway"], timeout=60, trust_env=False) as provider:
            sent = provider.get("/sandbox/totals", params={"type": "withdraw"}).json()
        rows = database.execute("SELECT status, count(*), sum(amount_minor)::bigint FROM state.payouts GROUP BY 1")
        statuses = {str(row[0]): [int(row[1]), int(row[2])] for row in rows}
        clean = print_operator(state, "ledger", "verify") == 0
    good = lines - bad
    checks = {
        f"the worker was killed {kills} times": killed == kills,
        "the dry run stored nothing": stored == (0,),
        "the dry run named each bad line": sorted({line["line"] for line in tried["bad_lines"]}) == wrong,
        "the same file again is the same batch": again["id"] == batch["id"],
        "every good line is a completed payout": statuses.get("completed", [0])[0] == good and len(statuses) == 1,
        "the provider sent each once": len(sent["items"]) == good and not sent["repeated"],
        "amounts agree": sent["withdrawn_minor"] == statuses.get("completed", [0, 0])[1],
        "the books are clean": clean,
    }
    return {
        "lines": lines,
        "bad_lines": tried["bad_lines"],
        "dry_run_s": round(dry_run_s, 2),
        "upload_s": round(upload_s, 2),
        "done_after_s": round(settled_s, 1),
        "payouts_per_second": round(good / settled_s, 1),
        "progress": shown,
        "checks": checks,
        "failed": [name for name, holds in checks.items() if not holds],
    }


def _until_done(
    stack: Stack, manager: httpx2.Client, batch_id: str, good: int, kills: int
) -> tuple[dict[str, Any], int]:
    """Wait until every payout has ended; kill the worker at even steps of the way. Returns the view, and the kills."""
    left = [good * (n + 1) // (kills + 1) for n in range(kills)]
    deadline = time.monotonic() + _DONE_TIMEOUT_S
    while True:
        shown = _answer(manager.get(f"{PATH}/{batch_id}"), 200)
        counts: dict[str, int] = shown["counts"]
        done = sum(counts.get(status, 0) for status in ("completed", "failed", "canceled"))
        if left and done >= left[0]:
            left.pop(0)
            worker = stack.processes["gateway-worker"]
            worker.kill()
            say("batch", f"killed the worker after {done} payouts")
            worker.start()
        if done >= good or time.monotonic() > deadline:
            return shown, kills - len(left)
        time.sleep(0.3)


def _answer(answer: httpx2.Response, status: int) -> dict[str, Any]:
    if answer.status_code != status:
        raise RuntimeError(f"{answer.request.method} {answer.request.url}: {answer.status_code}: {answer.text[:500]}")
    return dict(answer.json())


if __name__ == "__main__":
    app()
