"""What the runner says while it works: one line a step, with the time since it began."""

import os
import sys
import threading
import time

_lock = threading.Lock()
_began = time.monotonic()


class RunnerError(Exception):
    """Something that the person who called the runner has to know; printed as one line, without a traceback."""


def coloured() -> bool:
    """Tell whether the terminal takes colours."""
    return sys.stderr.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def say(name: str, text: str) -> None:
    """Print one line of progress to standard error, which leaves standard output to results."""
    elapsed = f"{time.monotonic() - _began:6.1f}s"
    head = f"\x1b[2m{elapsed}\x1b[0m \x1b[36m{name:<18}\x1b[0m" if coloured() else f"{elapsed} {name:<18}"
    with _lock:
        print(f"{head} {text}", file=sys.stderr, flush=True)
