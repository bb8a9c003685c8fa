"""Processes that begin as copies of a loaded interpreter behave as if each had been started by itself."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from copeck.testkit.waiting import eventually_sync
from deploy.devstack.console import RunnerError
from deploy.devstack.loader import Forked, Loader

MODULE = "tests.runner.loaded_probe"


@pytest.fixture(scope="module")
def loader() -> Iterator[Loader]:
    made = Loader()
    yield made
    made.close()


def start(loader: Loader, tmp_path: Path, argument: str) -> tuple[Forked, Path]:
    log = tmp_path / "probe.log"
    return loader.start((MODULE, argument), {"PROBE": "value"}, tmp_path, log), log


def said(log: Path) -> str:
    return log.read_text(encoding="utf-8") if log.exists() else ""


def test_it_has_its_own_arguments_environment_directory_session_log_and_status(loader: Loader, tmp_path: Path) -> None:
    process, log = start(loader, tmp_path, "ends")
    assert process.wait(timeout=20) == 3
    assert process.poll() == 3
    assert said(log).split() == ["ends", "value", str(tmp_path), "True", "False"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_it_and_its_status_says_which(loader: Loader, tmp_path: Path, number: int) -> None:
    process, log = start(loader, tmp_path, "waits")
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.01)
    eventually_sync(lambda: "waits" in said(log))
    process.send_signal(number)
    assert process.wait(timeout=20) == -number
    process.send_signal(number)


def test_a_module_that_is_not_there_says_so_in_its_log(loader: Loader, tmp_path: Path) -> None:
    log = tmp_path / "none.log"
    process = loader.start(("no_such_module",), {}, tmp_path, log)
    assert process.wait(timeout=20) == 1
    assert "no_such_module" in said(log)


def test_without_the_loader_nothing_starts_and_what_runs_is_no_longer_known(tmp_path: Path) -> None:
    made = Loader()
    process, _ = start(made, tmp_path, "waits")
    made.close()
    assert process.wait(timeout=5) < 0
    with pytest.raises(RunnerError, match="has ended"):
        start(made, tmp_path, "ends")
    subprocess.run(["kill", "-KILL", str(process.pid)], check=True)
