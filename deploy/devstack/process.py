"""One supervised process: started in its own session, logged to a file, health-checked, stopped within a limit."""

import contextlib
import os
import pwd
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from deploy.devstack.console import RunnerError, say
from deploy.devstack.loader import Forked, Loader

Health = Callable[[], str | None]
"""Returns nothing when all is well, else one line that says what is not."""

_POLL_S = 0.05
_LOG_TAIL_LINES = 15
_LOG_TAIL_BYTES = 16_384


class Guard:
    """The process that outlives a killed runner, to stop its children."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("guard.py")
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._lock = threading.Lock()

    def tell(self, line: str) -> None:
        """Send one line; a guard that is gone is no reason to fail."""
        pipe = self._process.stdin
        if pipe is None or pipe.closed:
            return
        with self._lock, contextlib.suppress(OSError):
            pipe.write(line.encode() + b"\n")
            pipe.flush()

    def close(self) -> None:
        """End the guard, once everything has been stopped."""
        pipe = self._process.stdin
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=15)


@dataclass(frozen=True)
class Spec:
    """What to run and how to tell that it runs."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    user: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    health: Health | None = None
    ready_timeout_s: float = 60.0
    stop_timeout_s: float = 20.0
    inherit_env: bool = True
    nice: int = 0
    """How far it yields the processor to others, as `nice` counts."""
    module: Sequence[str] = ()
    """What comes after `python -m` in the command, where a loaded interpreter may start it."""


@contextlib.contextmanager
def handling_stops(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Have the signals that stop the runner handled otherwise in the block; the main thread alone gets them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, before in kept.items():
            signal.signal(number, before if before is not None else signal.SIG_DFL)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Put off a Ctrl-C that falls into the block: a process that was started and is in no list would be left behind."""
    came: list[int] = []
    try:
        with handling_stops(lambda number, _frame: came.append(number)):
            yield
    finally:
        if came:
            signal.raise_signal(came[0])


def start_ticks(pid: int) -> int | None:
    """Return when a process was started, in kernel ticks: with the pid it names one process for ever."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[19])


def _yield_to_others(pid: int, nice: int) -> None:
    """Lower a process's priority. Where the kernel groups sessions, it is the group's that counts: each is one here."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, nice)
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(nice), encoding="ascii")


def log_tail(path: Path) -> str:
    """Return the last lines of a log file."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _LOG_TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(f"    {line}" for line in text.splitlines()[-_LOG_TAIL_LINES:])


class Process:
    """A process that can be started, killed, paused, and started again (chaos tests do all four)."""

    def __init__(self, spec: Spec, log_dir: Path, guard: Guard, loader: Loader | None = None) -> None:
        self.spec = spec
        self._loader = loader
        self.name = spec.name
        self.log = log_dir / f"{spec.name}.log"
        self._guard = guard
        self._popen: subprocess.Popen[bytes] | Forked | None = None
        self.wanted = False

    @property
    def pid(self) -> int | None:
        """The process id, also after its end, until the next start."""
        return self._popen.pid if self._popen else None

    @property
    def alive(self) -> bool:
        """Whether the process has not ended."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def exit_code(self) -> int | None:
        """The exit status of an ended process."""
        return self._popen.poll() if self._popen else None

    def start(self) -> None:
        """Start the process, without waiting for it to answer."""
        if self.alive:
            return
        spec = self.spec
        env = {**(os.environ if spec.inherit_env else {}), **spec.env}
        self.log.parent.mkdir(parents=True, exist_ok=True)
        identity: dict[str, object] = {}
        if spec.user:
            entry = pwd.getpwnam(spec.user)
            identity = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
            env |= {"HOME": entry.pw_dir, "USER": spec.user, "LOGNAME": spec.user}
        with uninterrupted(), self.log.open("ab") as log:
            if self._loader is not None and spec.module:
                self._popen = self._loader.start(spec.module, env, spec.cwd or Path.cwd(), self.log)
            else:
                self._popen = subprocess.Popen(  # type: ignore[call-overload]
                    list(spec.command),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=env,
                    cwd=spec.cwd,
                    start_new_session=True,
                    **identity,
                )
            self.wanted = True
            self._guard.tell(f"+ {self._popen.pid}")
        if spec.nice:
            _yield_to_others(self._popen.pid, spec.nice)

    def wait_ready(self) -> None:
        """Wait until the health check passes; a RunnerError with the end of the log when it does not."""
        deadline = time.monotonic() + self.spec.ready_timeout_s
        reason: str | None = "it has no health check"
        while True:
            if not self.alive:
                raise RunnerError(f"{self.name} ended with status {self.exit_code}; {self.log}:\n{log_tail(self.log)}")
            reason = self.spec.health() if self.spec.health else None
            if reason is None:
                return
            if time.monotonic() > deadline:
                raise RunnerError(
                    f"{self.name} was not ready after {self.spec.ready_timeout_s:.0f} s ({reason}); {self.log}:\n"
                    f"{log_tail(self.log)}"
                )
            time.sleep(_POLL_S)

    def start_and_wait(self) -> None:
        """Start, wait until it answers, and say so."""
        began = time.monotonic()
        self.start()
        self.wait_ready()
        say(self.name, f"ready in {time.monotonic() - began:.1f} s")

    def signal(self, number: int) -> None:
        """Send a signal to the process alone (not its group); nothing when it has ended."""
        if self.alive and self._popen:
            self._popen.send_signal(number)

    def pause(self) -> None:
        """Stop the whole group with SIGSTOP."""
        self._signal_group(signal.SIGSTOP)

    def resume(self) -> None:
        """Wake a paused group."""
        self._signal_group(signal.SIGCONT)

    def kill(self) -> None:
        """End the whole group at once, as a crash would; it is not restarted by the monitor."""
        self.wanted = False
        self._signal_group(signal.SIGKILL)
        self._reap()

    def stop(self) -> None:
        """Ask the process to end; after the limit, kill its group."""
        self.wanted = False
        if self._popen is None:
            return
        if self.alive:
            self._signal_group(signal.SIGCONT)
            self.signal(self.spec.stop_signal)
            try:
                self._popen.wait(timeout=self.spec.stop_timeout_s)
            except subprocess.TimeoutExpired:
                say(self.name, f"did not stop within {self.spec.stop_timeout_s:.0f} s: killed")
        # What the process started and left behind is in its group.
        self._signal_group(signal.SIGKILL)
        self._reap()

    def restart(self) -> None:
        """Stop, start, and wait until it answers."""
        self.stop()
        self.start()
        self.wait_ready()

    def _signal_group(self, number: int) -> None:
        if self._popen is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, number)

    def _reap(self) -> None:
        if self._popen is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(timeout=10)
        self._guard.tell(f"- {self._popen.pid}")
