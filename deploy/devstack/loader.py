"""Starts Python processes by forking an interpreter that has loaded their libraries; see `loaded`."""

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.devstack.console import RunnerError

_ROOT = Path(__file__).resolve().parents[2]
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 10.0
_LOST = -9
"""The exit status of a process whose loader is gone: nobody was told how it ended."""


class Forked:
    """A process that was forked, with what `subprocess.Popen` has: it is no child of ours, so its loader tells."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = threading.Event()

    def end(self, status: int) -> None:
        """Take note of the end."""
        if self.returncode is None:
            self.returncode = status
        self._ended.set()

    def poll(self) -> int | None:
        """Return the exit status, None while it runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; subprocess.TimeoutExpired when it does not come in time."""
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return self.returncode or 0

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Loader:
    """The loaded interpreter of one run; it loads while the servers start."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "deploy.devstack.loaded"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_ROOT,
            start_new_session=True,
        )
        pipe = self._process.stdin
        if pipe is None:
            raise RunnerError("the interpreter that starts the processes has no standard input")
        self._pipe = pipe
        self._lock = threading.Lock()
        self._answered = threading.Condition(self._lock)
        self._last = 0
        self._started: dict[int, Forked] = {}
        self._running: dict[int, Forked] = {}
        self._gone = False
        self._reader = threading.Thread(target=self._read, name="loader", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The loader's own number, for the guard."""
        return self._process.pid

    def start(self, command: Sequence[str], env: Mapping[str, str], cwd: Path, log: Path) -> Forked:
        """Start `python -m` of a command, in a session of its own, with its output appended to a file."""
        with self._lock:
            self._last += 1
            number = self._last
            request = {"number": number, "command": list(command), "env": dict(env), "cwd": str(cwd), "log": str(log)}
            self._send(json.dumps(request).encode() + b"\n")
            if not self._answered.wait_for(lambda: number in self._started or self._gone, _START_TIMEOUT_S):
                raise RunnerError(f"{' '.join(command)} was not started within {_START_TIMEOUT_S:.0f} s")
            if number not in self._started:
                raise RunnerError("the interpreter that starts the processes has ended")
            return self._started.pop(number)

    def close(self) -> None:
        """End the loader; what it started and still runs goes on."""
        with contextlib.suppress(OSError):
            self._pipe.close()
        try:
            self._process.wait(timeout=_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(_STOP_TIMEOUT_S)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _send(self, line: bytes) -> None:
        try:
            self._pipe.write(line)
            self._pipe.flush()
        except (OSError, ValueError) as error:
            raise RunnerError(f"the interpreter that starts the processes has ended: {error}") from error

    def _read(self) -> None:
        for line in self._process.stdout or ():
            told = json.loads(line)
            with self._lock:
                if "number" in told:
                    self._started[told["number"]] = self._running[told["pid"]] = Forked(told["pid"])
                    self._answered.notify_all()
                elif told["pid"] in self._running:
                    self._running.pop(told["pid"]).end(told["status"])
        with self._lock:
            self._gone = True
            for forked in self._running.values():
                forked.end(_LOST)
            self._answered.notify_all()
