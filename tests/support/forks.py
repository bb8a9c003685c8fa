"""Processes of ours that begin as copies of one that has loaded their code: a fork costs a tenth of an interpreter.

They are processes like any other, with an environment, arguments, standard streams, signals and an exit status of
their own; only the second of imports at the start of each is saved.
"""

import asyncio
import contextlib
import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
from pathlib import Path

_LOADED = (
    "tests.support.forks",
    "billing_state_updater.main",
    "copeck.operator.app",
    "billing_state_updater.operator.invoices",
    "billing_state_updater.operator.ledger",
    "billing_state_updater.operator.payouts",
    "billing_state_updater.operator.quarantine",
    "billing_state_updater.operator.replay",
    "billing_state_updater.operator.wallets",
    "copeck.operator.dlq",
    "copeck.operator.outboxes",
)
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(list(_LOADED))


class Fork:
    """A running copy. `out` and `err` are what it has printed so far, where they were kept."""

    def __init__(self, module: str, *arguments: str, env: dict[str, str], keep: bool = False) -> None:
        self._kept = tempfile.TemporaryDirectory() if keep else None
        places = [str(Path(self._kept.name) / name) for name in ("out", "err")] if self._kept else None
        self._process = _FORKS.Process(target=_run, args=(module, arguments, env, places), daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        """The exit status, None while it runs; minus a signal's number when one ended it."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End the process at once."""
        self.send_signal(signal.SIGKILL)

    async def wait(self, timeout_s: float = 60) -> int:
        """Wait for the end; returns the exit status. TimeoutError, and the process killed, when it takes too long."""
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(self._process.sentinel, ended.set)
        try:
            async with asyncio.timeout(timeout_s):
                await ended.wait()
        except TimeoutError:
            self.kill()
            raise
        finally:
            loop.remove_reader(self._process.sentinel)
        self._process.join()
        return self._process.exitcode or 0

    def said(self) -> tuple[str, str]:
        """Return what was printed, and forget it; only of one that was started with `keep`."""
        assert self._kept is not None
        with self._kept as directory:
            out, err = ((Path(directory) / name).read_text(encoding="utf-8") for name in ("out", "err"))
        return out, err


def _run(module: str, arguments: tuple[str, ...], env: dict[str, str], places: list[str] | None) -> None:
    os.environ.clear()
    os.environ.update(env)
    for descriptor, place in enumerate(places or (), start=1):
        file = os.open(place, os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(file, descriptor)
        os.close(file)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
