"""`pgbench -N` on the same server: what Postgres does with one small transaction after another."""

import re
import shutil
import subprocess
from pathlib import Path

import psycopg
from psycopg import sql

from copeck.testkit.postgres import ADMIN_URL, database_url

SCALE = 10
ARGUMENTS = ("-N", "-M", "prepared", "-c", "32", "-j", "2")
_SETUP_TIMEOUT_S = 120


def binary() -> str:
    """Return the path of pgbench; RuntimeError says what to install."""
    found = shutil.which("pgbench") or next(
        iter(sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin/pgbench")))), None
    )
    if found is None:
        raise RuntimeError("pgbench was not found: install the server package of PostgreSQL, which has it")
    return found


def prepare(database: str) -> None:
    """Make pgbench's tables in a database of their own."""
    with psycopg.connect(ADMIN_URL, autocommit=True) as admin:
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(database)))
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
    subprocess.run(
        [binary(), "-i", "-q", "-s", str(SCALE), database_url(database)],
        check=True, capture_output=True, timeout=_SETUP_TIMEOUT_S,
    )  # fmt: skip


def run(database: str, seconds: int) -> float:
    """Return transactions a second."""
    answer = subprocess.run(
        [binary(), *ARGUMENTS, "-T", str(seconds), database_url(database)],
        check=True, capture_output=True, text=True, timeout=seconds + 60,
    )  # fmt: skip
    found = re.search(r"^tps = ([0-9.]+)", answer.stdout, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"pgbench did not say its rate: {answer.stdout[-300:]}")
    return float(found.group(1))


def settings() -> dict[str, str]:
    """Return the server's settings that the figures depend on."""
    names = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "wal_level")
    with psycopg.connect(ADMIN_URL) as connection:
        return {name: str(connection.execute(f"SHOW {name}").fetchone()[0]) for name in names}  # type: ignore[index]
