"""Kills the runner's children when the runner itself dies without stopping them (kill -9, a crash).

Runs as a process of its own, with its standard input a pipe from the runner: "+ PID" and "- PID" lines say which
process groups live. The end of the pipe means that the runner is gone. Standard library only, started with -I -S.
"""

import os
import signal
import sys
import time

_GRACE_S = 8.0


def _signal(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def main() -> None:
    """Follow the pipe until it ends, then stop what is left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: dict[int, None] = {}
    for line in sys.stdin:
        sign, _, pid = line.strip().partition(" ")
        if sign == "+":
            groups[int(pid)] = None
        else:
            groups.pop(int(pid), None)
    # The newest first: services before the servers that they use.
    left = [group for group in reversed(groups) if _signal(group, signal.SIGTERM)]
    deadline = time.monotonic() + _GRACE_S
    while left and time.monotonic() < deadline:
        left = [group for group in left if _signal(group, 0)]
        time.sleep(0.05)
    for group in left:
        _signal(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
