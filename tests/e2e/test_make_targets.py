"""The targets that work beside a running stack: migrate, status, operator, shell, worker, beat, docs, install."""

import json
import os
import signal
import subprocess
import time
from typing import Any

import pytest

from copeck.testkit.waiting import eventually_sync
from deploy.devstack import health
from deploy.devstack.ports import Ports
from deploy.devstack.scratch import ROOT


def make(*arguments: str, text: str = "", timeout_s: float = 90) -> subprocess.CompletedProcess[str]:
    """Run one target; no terminal, so that nothing waits for a person."""
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT,
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )


@pytest.fixture(autouse=True)
def _stack(state: dict[str, Any]) -> None:
    """Every target here asks the state file of the running stack."""


def test_install_is_instant_when_it_is_fresh() -> None:
    began = time.monotonic()
    done = make("install")
    assert (done.returncode, done.stdout) == (0, "")
    assert time.monotonic() - began < 5


def test_migrate_finds_nothing_to_do() -> None:
    done = make("migrate")
    assert done.returncode == 0
    assert done.stderr.count("up to date") == 6


def test_status_tells_of_every_process() -> None:
    done = make("status", "ARGS=--json")
    assert done.returncode == 0
    rows = json.loads(done.stdout)
    assert {"rabbitmq", "postgres", "redis", "mosquitto", "nginx", "billing-state-updater"} <= set(rows)
    assert {name for name, row in rows.items() if row["health"] == "ok"} >= {"rabbitmq", "postgres", "nginx"}


def test_the_operator_s_tool_knows_the_running_stack() -> None:
    done = make("operator", "ARGS=ledger verify --json")
    assert done.returncode == 0
    assert json.loads(done.stdout)


def test_the_shell_reads_as_the_operator_and_writes_nothing() -> None:
    read = make("shell", text="SELECT count(*) >= 0 AS readable FROM state_api.invoices_v1;\n")
    assert "readable" in read.stdout
    written = make("shell", text="DELETE FROM state.invoices;\n")
    assert "permission denied" in written.stderr


@pytest.mark.covers("make worker", "make beat")
@pytest.mark.parametrize(("target", "service"), [("worker", "gateway-worker"), ("beat", "reminder-beat")])
def test_one_more_process_runs_beside_the_stack_and_stops(target: str, service: str) -> None:
    process = subprocess.Popen(
        ["make", "--no-print-directory", target],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline().decode()
        assert service in line
        port = int(line.rpartition("port ")[2].partition(";")[0])
        answers = health.http(f"http://127.0.0.1:{port}/metrics")
        eventually_sync(lambda: answers() is None, timeout_s=60)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=30)
    assert Ports("free again").take("any", preferred=(port,)) == port


def test_generated_documents_are_fresh() -> None:
    done = make("docs")
    assert done.returncode == 0
    assert ", 0 written" in done.stdout
