"""Plants known bugs one at a time, in a copy of the checkout, and shows which test catches each.

A test that passes with its bug planted proves nothing; then the command fails. `python -m tests.chaos.bugs --help`.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from tests.chaos.planted import Bug, Change
from tests.coffee.bugs import COFFEE_BUGS

ROOT = Path(__file__).resolve().parents[2]
UPDATER = "services/billing-state-updater/src/billing_state_updater"
FAULTS = "services/billing-state-updater/tests/integration/test_updater_faults.py"
GATEWAY = "services/payments-gateway/src/payments_gateway"
_TIMEOUT_S = 240


BUGS = (
    Bug(
        "a message is acked before its batch is committed",
        (
            Change(
                f"{UPDATER}/consumer.py",
                "        await self._apply(items, {part.shard.number: part.shard for part in taken})\n",
                "        for part in taken:\n            await self._ack(part)\n"
                "        await self._apply(items, {part.shard.number: part.shard for part in taken})\n",
            ),
        ),
        f"{FAULTS}::test_a_command_outlives_a_crash_in_the_middle_of_its_batch",
    ),
    Bug(
        "there is no inbox",
        (
            Change(
                f"{UPDATER}/handlers.py",
                "    first = {found[0] for found in await inbox.fetchall()}\n",
                "    first = {item.id for item in batch.incoming}\n",
            ),
        ),
        f"{FAULTS}::test_a_message_delivered_twice_is_answered_once",
    ),
    Bug(
        "events are published before the commit",
        (
            Change(
                f"{UPDATER}/handlers.py",
                "            await _save(connection, world, batch)\n",
                "            EARLY[0](world.outgoing)\n            await _save(connection, world, batch)\n",
            ),
            Change(f"{UPDATER}/handlers.py", "\n\nclass FencedError", "\n\nEARLY = [print]\n\n\nclass FencedError"),
            Change(
                f"{UPDATER}/consumer.py",
                "        began = time.monotonic()\n        try:\n            committed =",
                "        began = time.monotonic()\n        handlers.EARLY[0] = self._outbox.committed\n"
                "        try:\n            committed =",
            ),
        ),
        f"{FAULTS}::test_nothing_is_announced_that_was_not_committed",
    ),
    Bug(
        "events are published without `mandatory`",
        (Change(f"{UPDATER}/transport.py", "_MANDATORY = 0b01\n", "_MANDATORY = 0b00\n"),),
        f"{FAULTS}::test_an_event_without_a_queue_is_published_again",
    ),
    Bug(
        "epochs are not checked",
        (
            Change(
                f"{UPDATER}/handlers.py",
                "    lost = {shard for shard in batch.shards if held.get(shard) != batch.epochs.get(shard)}\n",
                "    lost: set[int] = set()\n",
            ),
        ),
        f"{FAULTS}::test_a_batch_under_an_old_epoch_is_refused",
    ),
    Bug(
        "nobody sweeps what a crash left in the outbox",
        (
            Change(
                f"{UPDATER}/outbox.py",
                "        self._places[shard] = Place(written, published, published, clean=False)\n",
                "        self._places[shard] = Place(written, written, written, clean=True)\n",
            ),
        ),
        f"{FAULTS}::test_what_a_crash_left_unpublished_is_swept",
    ),
    Bug(
        "a forged callback is accepted",
        (
            Change(
                f"{GATEWAY}/providers/cloudpayments/webhook.py",
                "    return raw_fits and plain_fits\n",
                "    return True\n",
            ),
        ),
        "services/payments-gateway/tests/integration/test_gateway_paid.py"
        "::test_i07_a_forged_callback_changes_nothing_and_is_kept",
    ),
    Bug(
        "money for a paid invoice is taken for its payment again",
        (
            Change(
                f"{UPDATER}/domain/invoices/payments.py",
                "    if not ((invoice.status in OPEN or _is_held(invoice, payment)) and _fits(invoice, payment)):\n",
                "    if not _fits(invoice, payment):\n",
            ),
        ),
        "services/billing-state-updater/tests/unit/test_model.py",
    ),
    Bug(
        "a wallet may pay more than it has",
        (Change(f"{UPDATER}/domain/books.py", "            if running[key] < 0:\n", "            if False:\n"),),
        "services/billing-state-updater/tests/unit/test_model.py",
    ),
    *COFFEE_BUGS,
)


def check(bug: Bug, copy: Path) -> None:
    """See that a bug fits; RuntimeError when the code has moved on."""
    for change in bug.changes:
        if (copy / change.path).read_text(encoding="utf-8").count(change.old) != 1:
            raise RuntimeError(f"{bug.name}: its place in {change.path} is gone; bring tests/chaos/bugs.py up to date")


def plant(bug: Bug, copy: Path) -> None:
    """Put a bug into a copy."""
    for change in bug.changes:
        file = copy / change.path
        file.write_text(file.read_text(encoding="utf-8").replace(change.old, change.new), encoding="utf-8")


def copy_of_checkout(target: Path) -> Path:
    """Copy the files that git knows, as they are in the work tree."""
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.decode().split("\0")):
        source = ROOT / name
        if source.is_file():
            place = target / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, place)
    return target


def run_test(copy: Path, test: str) -> tuple[int, str]:
    """Run a test against a copy; returns pytest's exit status and the last lines."""
    path = [str(copy), str(copy / "shared/src"), *(str(path) for path in sorted(copy.glob("services/*/src")))]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-n", "0", test],
            cwd=copy, env={**os.environ, "PYTHONPATH": ":".join(path)},
            capture_output=True, text=True, timeout=_TIMEOUT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        # A test that was cut off has caught nothing.
        return -1, f"cut off after {_TIMEOUT_S} s"
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    return done.returncode, "\n".join(lines[-6:])


def failed_tests(output: str) -> str:
    """Return the names of failed tests in pytest's summary."""
    return ", ".join(re.findall(r"^FAILED \S+?::(\S+)", output, re.MULTILINE))


app = typer.Typer(add_completion=False)


@app.command()
def main(only: str = typer.Option("", help="Plant only the bugs whose names contain this text.")) -> None:
    """Plant each bug, run its test, and expect it to fail; the sound code must pass the same tests first."""
    console = Console(width=140)
    table = Table("bug", "caught by", "s")
    missed = 0
    chosen = [bug for bug in BUGS if only in bug.name]
    with tempfile.TemporaryDirectory(prefix="bugs-") as scratch:
        sound = copy_of_checkout(Path(scratch) / "sound")
        for bug in chosen:
            check(bug, sound)
        for test in dict.fromkeys(bug.test for bug in chosen):
            status, output = run_test(sound, test)
            console.print(f"without a bug: {test.rpartition('/')[2]} {'passes' if status == 0 else 'FAILS'}")
            if status:
                console.print(f"[red]{test} fails without any bug:[/red]\n{output}")
                raise SystemExit(2)
        for number, bug in enumerate(chosen):
            began = time.monotonic()
            copy = copy_of_checkout(Path(scratch) / str(number))
            plant(bug, copy)
            status, output = run_test(copy, bug.test)
            caught = status == 1
            missed += not caught
            shown = failed_tests(output) if caught else f"[red]NOT CAUGHT[/red] (status {status}): {output[-300:]}"
            console.print(f"planted: {bug.name}: {'caught' if caught else 'NOT CAUGHT'}")
            table.add_row(bug.name, shown, f"{time.monotonic() - began:.0f}")
            shutil.rmtree(copy)
    console.print(table)
    console.print(f"{len(chosen) - missed} of {len(chosen)} bugs caught")
    raise SystemExit(1 if missed else 0)


if __name__ == "__main__":
    app()
