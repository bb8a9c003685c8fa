"""A private PostgreSQL: initdb in the scratch directory, TCP on 127.0.0.1 only, as durable as in production."""

import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from deploy.devstack import health
from deploy.devstack.console import RunnerError
from deploy.devstack.infra.base import Context
from deploy.devstack.ports import HOST
from deploy.devstack.process import Process, Spec

VERSION_MIN = 15
_INITDB_TIMEOUT_S = 120

# Durability is on as it has to be for money; the sizes suit a laptop and are those that measurements are made with.
SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "fsync": "on",
    "synchronous_commit": "on",
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    # A page written for the first time after a checkpoint goes into the log whole: packed, that costs a fraction.
    "wal_compression": "lz4",
    "max_connections": "200",
    "log_lock_waits": "on",
    "log_timezone": "UTC",
    "timezone": "UTC",
}


def find_bin() -> Path | None:
    """Return the directory of the newest PostgreSQL that is new enough, or nothing."""
    found: list[tuple[int, Path]] = []
    places = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin")]
    on_path = shutil.which("initdb")
    if on_path:
        places.append(Path(on_path).resolve().parent)
    for place in places:
        if not (place / "initdb").exists() or not (place / "postgres").exists():
            continue
        text = subprocess.run([place / "postgres", "--version"], capture_output=True, text=True, check=False).stdout
        match = re.search(r"\) (\d+)", text)
        if match and int(match[1]) >= VERSION_MIN:
            found.append((int(match[1]), place))
    return max(found)[1] if found else None


def run_as() -> str | None:
    """Return the user that the server runs as: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        return "nobody"
    return "postgres"


def create(context: Context) -> tuple[Process, str]:
    """Make the cluster; return its process, not started, and the superuser's URL."""
    binaries = find_bin()
    if binaries is None:
        raise RunnerError(f"PostgreSQL {VERSION_MIN} or later was not found")
    user = run_as()
    data = context.scratch.data_dir("postgres", user)
    data.chmod(0o700)
    password = secrets.token_urlsafe(18)
    entry = pwd.getpwnam(user) if user else None
    with tempfile.NamedTemporaryFile("w", suffix=".pw") as file:
        file.write(password)
        file.flush()
        if entry:
            os.chown(file.name, entry.pw_uid, entry.pw_gid)
        # Nothing is worth syncing before the first start; the server itself runs with fsync on.
        command = [binaries / "initdb", "-D", data, "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
        command += ["--auth=scram-sha-256", f"--pwfile={file.name}"]
        done = subprocess.run(  # type: ignore[call-overload]
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            timeout=_INITDB_TIMEOUT_S,
            **({"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []} if entry else {}),
        )
    if done.returncode != 0:
        raise RunnerError(f"initdb failed: {done.stderr.strip()[-600:]}")
    port = context.ports.take("postgres")
    url = f"postgresql://postgres:{password}@{HOST}:{port}/postgres"
    options = [item for key, value in {**SETTINGS, "port": str(port)}.items() for item in ("-c", f"{key}={value}")]
    spec = Spec(
        name="postgres",
        command=[str(binaries / "postgres"), "-D", str(data), *options],
        cwd=Path("/"),
        user=user,
        stop_signal=signal.SIGINT,  # "fast": sessions are ended, the log is flushed
        health=health.postgres(url),
        ready_timeout_s=120,
    )
    return Process(spec, context.scratch.logs, context.guard), url
