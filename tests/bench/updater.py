"""The updater's full path, measured from outside: its own counters over HTTP, its memory from the kernel."""

import asyncio
import re
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from tests.bench.servers import Bench, enqueue, environment, reports

_TIMEOUT_S = 60.0
_POLL_S = 0.1
_WARM_SHARE = 0.1


@dataclass(frozen=True)
class Measured:
    """One run: commands, commands a second between the first and the last tenth, and the peak of memory."""

    commands: int
    per_second: float
    memory_mib: float
    cpu_share: float


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def counter(port: int, name: str) -> float:
    """Read a counter of a process; 0 while it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2) as answer:
            text = answer.read().decode()
    except OSError:
        return 0.0
    found = re.findall(rf"^{re.escape(name)}(?:{{[^}}]*}})? ([0-9.e+]+)$", text, re.MULTILINE)
    return sum(float(value) for value in found)


def published(port: int) -> int:
    """Return how many events an updater has had confirmed."""
    names = ("copeck_updater_events_published_total", "copeck_updater_events_swept_total")
    return sum(int(counter(port, name)) for name in names)


def peak_memory_mib(pid: int) -> float:
    """Return the greatest resident size that a process has had."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found.group(1)) / 1024 if found else 0.0


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


async def measure(bench: Bench, database: str, invoices: Sequence[tuple[UUID, str]], seed: int) -> Measured:
    """Queue one command an invoice, start an updater, and time it from a tenth to the end, confirms included."""
    await bench.purge()
    count = await enqueue(bench.broker, reports(invoices, seed))
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "billing_state_updater", "serve",
        env=environment(bench, database, metrics_port=port, lease_s=10),
    )  # fmt: skip
    warm = int(count * _WARM_SHARE)
    began, first, began_cpu = 0.0, 0, 0.0
    done = 0
    deadline = time.monotonic() + _TIMEOUT_S
    try:
        while True:
            if time.monotonic() > deadline or process.returncode is not None:
                raise RuntimeError(f"the updater did not finish: {done} of {count} events confirmed")
            done = published(port)
            now = time.monotonic()
            if not began and done >= warm:
                began, first, began_cpu = now, done, cpu_seconds(process.pid)
            if done >= count:
                elapsed = now - began
                break
            await asyncio.sleep(_POLL_S)
        used = cpu_seconds(process.pid) - began_cpu
        memory = peak_memory_mib(process.pid)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(process.wait(), 30)
    return Measured(count, (count - first) / elapsed, memory, used / elapsed)
