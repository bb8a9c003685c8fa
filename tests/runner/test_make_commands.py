"""Targets that no other test goes through: each does its work in a copy, or says what it would do."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.devstack import check
from deploy.devstack.scratch import ROOT

# `install` is made already; the Makefile is asked from other folders, so its tools are named by their place.
MAKE = [
    "make",
    "--no-print-directory",
    "-o",
    "install",
    f"BIN={Path(sys.executable).parent}",
    f"--file={ROOT}/Makefile",
]


def make(*arguments: str, folder: Path = ROOT, timeout_s: float = 90) -> subprocess.CompletedProcess[str]:
    """Run one target, in another folder if it writes."""
    command = [*MAKE, f"--directory={folder}", *arguments]
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=timeout_s
    )


def test_help_is_what_make_alone_says() -> None:
    alone, asked = make(), make("help")
    assert asked.returncode == 0
    assert asked.stdout == alone.stdout
    assert "make" not in asked.stdout.split()[0]


def test_format_writes_what_ruff_wants(tmp_path: Path) -> None:
    file = tmp_path / "x.py"
    file.write_text("import sys\nimport os\nx = { 'a':os.sep,'b' : sys.path }\n")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    assert make("format", folder=tmp_path).returncode == 0
    assert file.read_text() == 'import os\nimport sys\n\nx = {"a": os.sep, "b": sys.path}\n'


def test_clean_removes_what_runs_left_and_nothing_else(tmp_path: Path) -> None:
    for name in ("build/x", ".devstack/main/x", ".mypy_cache/x", ".venv/x", "arch/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert make("clean", folder=tmp_path).returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {".venv", "arch"}


def test_lock_compiles_every_lock_from_the_constraints(tmp_path: Path) -> None:
    """With a stand-in for uv, which needs the network: what it is asked for is what counts."""
    for source in [ROOT / "pyproject.toml", *ROOT.glob("*/pyproject.toml"), *ROOT.glob("services/*/pyproject.toml")]:
        target = tmp_path / source.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    (tmp_path / "deploy").mkdir()
    shutil.copytree(ROOT / "deploy" / "lock", tmp_path / "deploy" / "lock")
    stand_in = tmp_path / "uv"
    stand_in.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\n')
    stand_in.chmod(0o755)
    done = make("lock", f"BIN={tmp_path}", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    asked = (tmp_path / "asked").read_text().splitlines()
    outputs = {line.partition("--output-file ")[2].split()[0] for line in asked}
    assert outputs == {f"deploy/lock/{path.name}" for path in (ROOT / "deploy" / "lock").glob("*.txt")}
    assert all("--generate-hashes" in line and "--no-emit-index-url" in line for line in asked)


@pytest.mark.covers("make check")
def test_check_runs_every_lane_and_shows_what_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "-m deploy.devstack.check" in make("--dry-run", "check").stdout
    named = {name for lane in check.checks().values() for name, _ in lane}
    assert named >= {"mypy", "format", "lint", "locks", "borders", "documents", "architecture"}
    lanes = {"one": [("good", lambda: (True, ""))], "two": [("bad", lambda: (False, "this is wrong"))]}
    monkeypatch.setattr(check, "checks", lambda: lanes)
    assert check.main() == 1
    said = capsys.readouterr().out
    assert "this is wrong" in said
    assert "1 checks passed, 1 failed" in said


@pytest.mark.covers(
    "make bench", "make chaos", "make bugs", "make load", "make payouts-batch", "make coffee-chaos",
    "make coffee-latency", "make machines-load",
)  # fmt: skip
@pytest.mark.parametrize(
    "target",
    ["bench", "chaos", "bugs", "load", "payouts-batch", "coffee-chaos", "coffee-latency", "machines-load"],
)
def test_long_runs_explain_themselves(target: str) -> None:
    done = make(target, "ARGS=--help")
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


@pytest.mark.covers("make compose-demo")
def test_compose_demo_says_when_there_is_no_engine(tmp_path: Path) -> None:
    """Without an engine it is one line; with one, the continuous integration runs it whole."""
    assert make("compose-demo", "ARGS=--help").returncode == 0
    without = {**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/nothing.sock", "PATH": f"{tmp_path}:/usr/bin:/bin"}
    command = [*MAKE, "compose-demo"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=without,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr


@pytest.mark.covers("make demo")
@pytest.mark.integration
@pytest.mark.timeout(300)
def test_demo_sells_a_subscription_and_two_coffees_and_leaves_nothing(tmp_path: Path) -> None:
    """Must show 1, with servers and a scratch directory of its own."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COPECK_TEST_")}
    inherited.pop("COPECK_STACK_FILE", None)
    began = time.monotonic()
    done = subprocess.run(
        ["make", "--no-print-directory", "demo"],
        cwd=ROOT,
        env={**inherited, "COPECK_SCRATCH_DIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert time.monotonic() - began < 270
    subscription = ("issued", "pending", "paid", "active", "provider:cloudpayments", "revenue:")
    coffees = ("brew_commanded", "brew_done", "successful", "brew_failed", "refunds:in_transit", "merchant:")
    for word in (*subscription, *coffees, "the books are right"):
        assert word in done.stdout, word
    assert not (tmp_path / "stack.json").exists()
