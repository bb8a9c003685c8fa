"""The scratch directory of one run: its lock, its state file, its logs and the servers' data."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

from deploy.devstack.console import RunnerError, say
from deploy.devstack.process import start_ticks

ROOT = Path(__file__).resolve().parents[2]
MAIN = "main"


def base_dir() -> Path:
    """Return where scratch directories are: COPECK_SCRATCH_DIR, or `.devstack` in the checkout."""
    named = os.environ.get("COPECK_SCRATCH_DIR")
    return Path(named).resolve() if named else ROOT / ".devstack"


def state_file(instance: str = MAIN) -> Path:
    """Return the path of an instance's state file: COPECK_STACK_FILE, or `stack.json`, `stack-<instance>.json`."""
    named = os.environ.get("COPECK_STACK_FILE")
    if named and instance == MAIN:
        return Path(named)
    return base_dir() / ("stack.json" if instance == MAIN else f"stack-{instance}.json")


def read_state(instance: str = MAIN) -> dict[str, Any] | None:
    """Return the state of a running stack, or nothing when none runs (a stale file counts as none)."""
    try:
        state: dict[str, Any] = json.loads(state_file(instance).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    runner = state.get("runner", {})
    if not runner or start_ticks(runner.get("pid", 0)) != runner.get("start_ticks"):
        return None
    return state


def _others_may_enter(path: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in (path, *path.parents) if parent.exists())


class Scratch:
    """One instance's directory, held by a lock for as long as the runner lives."""

    def __init__(self, instance: str = MAIN) -> None:
        self.instance = instance
        self.base = base_dir()
        self.dir = self.base / instance
        self.logs = self.dir / "logs"
        self.state_path = state_file(instance)
        self._lock: int | None = None
        self._outside: list[Path] = []

    def acquire(self) -> None:
        """Take the instance, or say who has it; clears what an earlier run that crashed left."""
        self.base.mkdir(parents=True, exist_ok=True)
        path = self.base / f"{self.instance}.lock"
        self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            self._lock = None
            state = read_state(self.instance) or {}
            who = state.get("runner", {}).get("pid", "another process")
            url = state.get("urls", {}).get("public")
            where = f" at {url}" if url else ""
            hint = "make down stops it" if self.instance == MAIN else f"make down ARGS='--instance {self.instance}'"
            raise RunnerError(f"already up{where} (runner {who}); {hint}") from None
        self._clear_crashed()
        shutil.rmtree(self.dir, ignore_errors=True)
        self.logs.mkdir(parents=True)
        # From here on `make down` knows whom to ask, though nothing answers yet.
        self.write_state({"instance": self.instance, "ready": False, "processes": {}})

    def _clear_crashed(self) -> None:
        """Stop the processes of a run whose runner is gone; a pid that was given to another process is left alone."""
        try:
            state = json.loads(self.state_path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        for name, process in state.get("processes", {}).items():
            pid, ticks = process.get("pid"), process.get("start_ticks")
            if not pid or ticks is None or start_ticks(pid) != ticks:
                continue
            say(name, f"left by a run that crashed (pid {pid}): stopped")
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            deadline = time.monotonic() + 10
            while start_ticks(pid) == ticks and time.monotonic() < deadline:
                time.sleep(0.05)
        for path in state.get("outside", []):
            if Path(path).name.startswith("copeck-"):
                shutil.rmtree(path, ignore_errors=True)
        self.state_path.unlink(missing_ok=True)

    def data_dir(self, name: str, user: str | None = None) -> Path:
        """Return a fresh directory for a server's data, which `user` can reach when the server runs as another one."""
        path = self.dir / name
        if user and not _others_may_enter(self.base):
            path = Path(tempfile.mkdtemp(prefix=f"copeck-{name}-"))
            self._outside.append(path)
        path.mkdir(parents=True, exist_ok=True)
        if user:
            shutil.chown(path, user)
        return path

    def write_state(self, state: dict[str, Any]) -> None:
        """Replace the state file; it holds passwords, so only its owner may read it."""
        runner = {"pid": os.getpid(), "start_ticks": start_ticks(os.getpid())}
        state = {**state, "runner": runner, "outside": [str(path) for path in self._outside]}
        partial = self.state_path.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(state, file, indent=2, default=str)
            file.write("\n")
        partial.replace(self.state_path)

    def release(self) -> None:
        """Give the instance up, if it is ours; logs stay until the next run."""
        if self._lock is None:
            return
        for path in self._outside:
            shutil.rmtree(path, ignore_errors=True)
        self._outside.clear()
        self.state_path.unlink(missing_ok=True)
        os.close(self._lock)
        self._lock = None
