"""What machines remember, and the brew log: one SQLite file in WAL mode, so that kill -9 loses no poured cup.

Writes are short and run in the event loop's thread. ``log`` is append-only by trigger; it is the ground truth that
tests compare the product's orders with.
"""

from __future__ import annotations

import fcntl
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from sandbox.machines.wire import now_ms

SCHEMA = """
CREATE TABLE IF NOT EXISTS keep (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS machines (
    device TEXT PRIMARY KEY, config TEXT NOT NULL, switches TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS commands (
    device TEXT NOT NULL, command_id TEXT NOT NULL, document TEXT NOT NULL, state TEXT NOT NULL, n INTEGER NOT NULL,
    at_ms INTEGER NOT NULL, PRIMARY KEY (device, command_id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS commands_open ON commands (device) WHERE state IN ('accepted', 'started');
CREATE INDEX IF NOT EXISTS commands_age ON commands (device, at_ms);
CREATE TABLE IF NOT EXISTS reports (
    device TEXT NOT NULL, n INTEGER NOT NULL, command_id TEXT NOT NULL, state TEXT NOT NULL, code TEXT NOT NULL,
    at_ms INTEGER NOT NULL, confirmed INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (device, n)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS reports_open ON reports (device, n) WHERE confirmed = 0;
CREATE TABLE IF NOT EXISTS log (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, event TEXT NOT NULL, device TEXT NOT NULL,
    command_id TEXT, order_id TEXT, drink TEXT, size TEXT, price_minor INTEGER, details TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS log_order ON log (order_id, seq);
CREATE INDEX IF NOT EXISTS log_event ON log (event, seq);
CREATE INDEX IF NOT EXISTS log_device ON log (device, seq);
CREATE TABLE IF NOT EXISTS mails (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, sender TEXT NOT NULL, recipients TEXT NOT NULL,
    subject TEXT NOT NULL, content BLOB NOT NULL);
CREATE TRIGGER IF NOT EXISTS log_no_update BEFORE UPDATE ON log BEGIN SELECT RAISE(ABORT, 'log is append-only'); END;
CREATE TRIGGER IF NOT EXISTS log_no_delete BEFORE DELETE ON log
    WHEN (SELECT value FROM keep WHERE name = 'resetting') IS NOT '1'
    BEGIN SELECT RAISE(ABORT, 'log is append-only'); END;
"""
COMMANDS_REMEMBERED = 256
MAILS_KEPT = 2_000


class Store:
    """All reads and writes of the process."""

    def __init__(self, data_dir: Path) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        self._lock: IO[str] = (data_dir / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise RuntimeError(f"another fleet is running on {data_dir}") from error
        self._db = sqlite3.connect(data_dir / "machines.sqlite", isolation_level=None, cached_statements=256)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(SCHEMA)
        self._depth = 0

    def close(self) -> None:
        """Close the file; another process may open it then."""
        self._db.close()
        self._lock.close()

    @contextmanager
    def unit(self) -> Iterator[None]:
        """Do several writes as one; units nest."""
        self._depth += 1
        if self._depth == 1:
            self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._depth -= 1
            if self._depth == 0:
                self._db.execute("ROLLBACK")
            raise
        self._depth -= 1
        if self._depth == 0:
            self._db.execute("COMMIT")

    def write(self, sql: str, values: tuple[Any, ...] = ()) -> int:
        """Run a statement and return the id of a row that it made."""
        return int(self._db.execute(sql, values).lastrowid or 0)

    def rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Return what a query finds."""
        return self._db.execute(sql, values).fetchall()

    def log(
        self, event: str, device: str, *, command_id: str | None = None, order_id: str | None = None,
        drink: str | None = None, size: str | None = None, price_minor: int | None = None, **details: Any,
    ) -> None:  # fmt: skip
        """Write a fact down."""
        self.write(
            "INSERT INTO log (at_ms, event, device, command_id, order_id, drink, size, price_minor, details)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (now_ms(), event, device, command_id, order_id, drink, size, price_minor, json.dumps(details)),
        )

    def remember(self, device: str, command_id: str, document: dict[str, Any], state: str, n: int) -> None:
        """Note a command that a machine sees for the first time, and forget the oldest of those that have ended."""
        self.write(
            "INSERT INTO commands (device, command_id, document, state, n, at_ms) VALUES (?, ?, ?, ?, ?, ?)",
            (device, command_id, json.dumps(document), state, n, now_ms()),
        )
        self.write(
            "DELETE FROM commands WHERE device = ? AND state NOT IN ('accepted', 'started') AND at_ms <"
            " (SELECT at_ms FROM commands WHERE device = ? ORDER BY at_ms DESC LIMIT 1 OFFSET ?)",
            (device, device, COMMANDS_REMEMBERED),
        )

    def reset(self) -> None:
        """Forget commands, reports, mails and the log, but not the machines."""
        with self.unit():
            self.write("INSERT OR REPLACE INTO keep VALUES ('resetting', '1')")
            for table in ("commands", "reports", "mails", "log"):
                self.write(f"DELETE FROM {table}")  # noqa: S608 - our own names
            self.write("DELETE FROM keep WHERE name = 'resetting'")
