"""An interpreter that has loaded the libraries and becomes our processes by forking.

A service of ours takes a second of processor to start, most of it the same libraries in each. Only libraries are
loaded here: what is ours, and `prometheus_client`, which reads its environment as it is loaded, every process loads
itself. Apart from that they are processes like any other, each with a session, an environment and a log of its own.

Requests come as lines of JSON on standard input, answers go as lines to standard output; its end is the end of this.
"""

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import sys
import time
from typing import Any

_LIBRARIES = (
    "aio_pika",
    "aiormq",
    "anyio",
    "celery.apps.worker",
    "celery.bin.worker",
    "celery.concurrency.prefork",
    "fastapi",
    "h11",
    "httpx2",
    "jwt",
    "kombu.transport.pyamqp",
    "limits.aio.storage",
    "orjson",
    "psycopg",
    "psycopg.types.json",
    "pydantic_settings",
    "redis.asyncio",
    "rich.console",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.ext.asyncio",
    "structlog",
    "typer",
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
    "uvicorn.protocols.http.auto",
    "yarl",
)
_READ_BYTES = 65_536
_CHILD_TIMEOUT_S = 10.0


def main() -> None:
    """Load, then serve; a child comes back from there with what it is to become."""
    for name in _LIBRARIES:
        # An environment without one of them starts a little slower, and that is all.
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()
    request = _serve()
    if request is not None:
        _become(request)


def _serve() -> dict[str, Any] | None:
    """Fork for each request and tell of each end, until standard input ends; returns a request in its child alone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    read, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    rest = b""
    while True:
        ready, _, _ = select.select([0, read], [], [])
        if read in ready:
            os.read(read, _READ_BYTES)
            _tell_of_ended()
        if 0 not in ready:
            continue
        came = os.read(0, _READ_BYTES)
        if not came:
            return None
        *lines, rest = (rest + came).split(b"\n")
        for line in lines:
            request: dict[str, Any] = json.loads(line)
            if _fork(request):
                os.close(read)
                os.close(wake)
                return request


def _tell(**what: Any) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


def _tell_of_ended() -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            _tell(pid=pid, status=os.waitstatus_to_exitcode(status))


def _fork(request: dict[str, Any]) -> bool:
    """Fork; True in the child. The parent tells the number once the child leads a session, so that it can be killed."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ours)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        os.setsid()
        os.write(theirs, b".")
        os.close(theirs)
        return True
    os.close(theirs)
    select.select([ours], [], [], _CHILD_TIMEOUT_S)
    os.close(ours)
    _tell(number=request["number"], pid=pid)
    return False


def _become(request: dict[str, Any]) -> None:
    """Be the process that was asked for, as `python -m module arguments` would."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(request["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for descriptor, place in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, place)
    os.close(nothing)
    os.close(log)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    os.chdir(request["cwd"])
    module, *arguments = request["command"]
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
