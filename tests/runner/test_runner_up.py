"""`make up` and `make down` as a person uses them, with servers of their own: signals, a second run, a crash."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from copeck.testkit.waiting import eventually_sync
from deploy.devstack.process import start_ticks
from deploy.devstack.scratch import ROOT
from deploy.devstack.services import SERVICES

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

INSTANCE = "updown"
# Servers, and one service: enough to see that both kinds are started, watched and stopped.
WITHOUT = [word for service in SERVICES if service.name != "auth" for word in ("--without", service.name)]


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("COPECK_SCRATCH_DIR", str(tmp_path))
    monkeypatch.delenv("COPECK_STACK_FILE", raising=False)
    for variable in [name for name in os.environ if name.startswith("COPECK_TEST_")]:
        monkeypatch.delenv(variable)
    yield tmp_path
    devstack("down", "--instance", INSTANCE)


def devstack(*arguments: str, timeout_s: float = 200) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.devstack", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )


def state_of(scratch: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((scratch / f"stack-{INSTANCE}.json").read_text(encoding="utf-8"))
    return state


def living(state: dict[str, Any]) -> list[str]:
    return [
        name
        for name, process in state["processes"].items()
        if process["pid"] and start_ticks(process["pid"]) == process["start_ticks"]
    ]


@pytest.mark.covers("make up", "make down")
def test_up_a_second_run_a_crash_and_down(scratch: Path) -> None:
    up = devstack("up", "--detach", "--instance", INSTANCE, *WITHOUT)
    assert up.returncode == 0, up.stderr
    state = state_of(scratch)
    assert state["ready"]
    assert {"auth", "nginx"} <= set(living(state))
    again = devstack("up", "--instance", INSTANCE)
    assert again.returncode == 1
    assert f"already up at {state['urls']['public']}" in again.stderr
    assert devstack("status", "--instance", INSTANCE).returncode == 0

    os.kill(state["processes"]["auth"]["pid"], signal.SIGKILL)
    eventually_sync(lambda: state_of(scratch)["processes"]["auth"]["pid"] != state["processes"]["auth"]["pid"])
    state = state_of(scratch)

    # A runner that is killed takes everything with it, and what it left does not hold the next one up.
    os.kill(state["runner"]["pid"], signal.SIGKILL)
    eventually_sync(lambda: living(state) == [], timeout_s=20)
    assert devstack("status", "--instance", INSTANCE).returncode == 1
    assert devstack("up", "--detach", "--instance", INSTANCE, *WITHOUT).returncode == 0
    state = state_of(scratch)

    assert devstack("down", "--instance", INSTANCE).returncode == 0
    assert living(state) == []
    assert not (scratch / f"stack-{INSTANCE}.json").exists()
    assert "nothing is up" in devstack("down", "--instance", INSTANCE).stderr


def test_ctrl_c_while_starting_leaves_nothing(scratch: Path) -> None:
    command = [sys.executable, "-m", "deploy.devstack", "up", "--instance", INSTANCE, *WITHOUT]
    runner = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert runner.stderr is not None
    if "native" in runner.stderr.readline():
        log = scratch / INSTANCE / "logs" / "rabbitmq.log"
        eventually_sync(log.exists, timeout_s=30)
    runner.send_signal(signal.SIGINT)
    _, told = runner.communicate(timeout=120)
    assert runner.returncode in (0, 130), told
    assert "Traceback" not in told
    assert not (scratch / f"stack-{INSTANCE}.json").exists()
