"""Installing missing servers with Debian's package manager, without starting the system's own instances."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from deploy.devstack.console import RunnerError, say

_POLICY = Path("/usr/sbin/policy-rc.d")
_TIMEOUT_S = 900


def may_install() -> bool:
    """Tell whether this is a Debian on which we are root."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None and Path("/etc/debian_version").exists()


def install(packages: list[str]) -> None:
    """Install packages and nothing more; their daemons stay down."""
    say("packages", f"installing {' '.join(packages)}")
    with _no_daemons():
        _apt("update", "--quiet=2")
        _apt("install", "--quiet=2", "--yes", "--no-install-recommends", *packages)
    say("packages", "installed")


@contextlib.contextmanager
def _no_daemons() -> Iterator[None]:
    """Tell the packages' scripts, while they run, that no service may be started (Debian policy 9.3.3.1)."""
    kept = _POLICY.read_bytes() if _POLICY.exists() else None
    mode = _POLICY.stat().st_mode if kept is not None else 0
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        if kept is None:
            _POLICY.unlink(missing_ok=True)
        else:
            _POLICY.write_bytes(kept)
            _POLICY.chmod(mode)


def _apt(*arguments: str) -> None:
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "APT_LISTCHANGES_FRONTEND": "none"}
    options = ["-o", "Dpkg::Use-Pty=0", "-o", "DPkg::Lock::Timeout=120", "-o", "Acquire::Retries=3"]
    done = subprocess.run(
        ["apt-get", *options, *arguments],
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=_TIMEOUT_S,
    )
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
        raise RunnerError(f"apt-get {arguments[0]} failed:\n{tail}")
