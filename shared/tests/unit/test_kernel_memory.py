"""The collector of a service: what was loaded at the start is left alone."""

import subprocess
import sys


def test_a_calm_collector_looks_less_often_and_leaves_the_start_alone() -> None:
    # In a process of its own: the setting is the process's.
    script = (
        "import gc; from copeck.kernel.memory import calm_collector; before = gc.get_threshold()[0]; calm_collector();"
        "print(gc.get_threshold()[0] > before, gc.get_freeze_count() > 1000)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["True", "True"]
