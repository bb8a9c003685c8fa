"""The emulator's memory: one SQLite file in WAL mode, so that kill -9 loses nothing that was answered.

Writes are short and run in the event loop's thread: nothing is awaited between reading a key and committing its
answer, which is what makes it one effect per key. ``log`` is append-only by trigger; it is the ground truth that
tests compare the product's books with.
"""

from __future__ import annotations

import fcntl
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import orjson

SCHEMA = """
CREATE TABLE IF NOT EXISTS keep (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS balances (currency TEXT PRIMARY KEY, minor INTEGER NOT NULL CHECK (minor >= 0))
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, request BLOB NOT NULL, status INTEGER NOT NULL, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tries (subject TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS log (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, event TEXT NOT NULL, payment_id TEXT, key TEXT,
    type TEXT, amount_minor INTEGER, currency TEXT, transaction_id TEXT, details BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS log_payment ON log (payment_id, seq);
CREATE INDEX IF NOT EXISTS log_event ON log (event, seq);
CREATE TRIGGER IF NOT EXISTS log_no_update BEFORE UPDATE ON log BEGIN SELECT RAISE(ABORT, 'log is append-only'); END;
CREATE TRIGGER IF NOT EXISTS log_no_delete BEFORE DELETE ON log
    WHEN (SELECT value FROM keep WHERE name = 'resetting') IS NOT '1'
    BEGIN SELECT RAISE(ABORT, 'log is append-only'); END;
"""
TABLES = ("balances", "answers", "tries", "log")
MADE, DECLINED = "transfer.made", "transfer.declined"


@dataclass(frozen=True, slots=True)
class Transfer:
    """One movement of money as it was asked for; the amount is of minor units."""

    payment_id: str
    type: str
    amount: int
    currency: str
    key: str | None = None
    recipient: str | None = None

    def fingerprint(self) -> bytes:
        """What has to be the same when a key is used again."""
        return orjson.dumps([self.payment_id, self.type, self.amount, self.currency])


class Store:
    """All reads and writes of the emulator."""

    def __init__(self, data_dir: Path, opening_minor: int) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        self._opening_minor = opening_minor
        self._lock: IO[str] = (data_dir / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise RuntimeError(f"another emulator is running on {data_dir}") from error
        self._db = sqlite3.connect(data_dir / "mock.sqlite", isolation_level=None, cached_statements=256)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(SCHEMA)
        self._open()

    def _open(self) -> None:
        self._db.execute("INSERT OR IGNORE INTO balances VALUES ('RUB', ?)", (self._opening_minor,))

    def close(self) -> None:
        """Release the file and its lock."""
        self._db.close()
        self._lock.close()

    @contextmanager
    def unit(self) -> Iterator[None]:
        """One commit. Nothing may be awaited inside."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def reset(self) -> None:
        """Forget everything, and open with the first balance again."""
        with self.unit():
            self.keep_set("resetting", "1")
            for table in TABLES:
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608 - names are ours
            self._db.execute("DELETE FROM keep")
            self._open()

    def keep_get(self, name: str) -> str | None:
        """A small named value."""
        row = self._db.execute("SELECT value FROM keep WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def keep_set(self, name: str, value: str) -> None:
        """Set a small named value."""
        self._db.execute("INSERT OR REPLACE INTO keep VALUES (?, ?)", (name, value))

    def rows(self, query: str, arguments: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """Rows of a read-only query of another module of this package."""
        return self._db.execute(query, arguments).fetchall()

    # Money

    def balance(self, currency: str) -> int:
        """What there is of a currency."""
        row = self._db.execute("SELECT minor FROM balances WHERE currency = ?", (currency,)).fetchone()
        return 0 if row is None else int(row[0])

    def add(self, currency: str, minor: int) -> None:
        """Change a balance; it cannot go below zero."""
        self.set_balance(currency, self.balance(currency) + minor)

    def set_balance(self, currency: str, minor: int) -> None:
        """Set a balance."""
        self._db.execute("INSERT OR REPLACE INTO balances VALUES (?, ?)", (currency, minor))

    def balances(self) -> dict[str, int]:
        """All balances."""
        return dict(self._db.execute("SELECT currency, minor FROM balances ORDER BY currency"))

    # Answers

    def answer(self, key: str) -> tuple[bytes, int, bytes] | None:
        """What was asked under a key, and how that was answered: fingerprint, status and body."""
        row = self._db.execute("SELECT request, status, body FROM answers WHERE key = ?", (key,)).fetchone()
        return None if row is None else (bytes(row[0]), int(row[1]), bytes(row[2]))

    def keep_answer(self, transfer: Transfer, status: int, body: bytes) -> None:
        """Keep the answer to a key for ever."""
        if transfer.key is not None:
            self._db.execute(
                "INSERT INTO answers VALUES (?, ?, ?, ?)", (transfer.key, transfer.fingerprint(), status, body)
            )

    def next_try(self, subject: str) -> int:
        """Count one more call of a subject; 1 is the first."""
        row = self._db.execute(
            "INSERT INTO tries VALUES (?, 1) ON CONFLICT (subject) DO UPDATE SET count = count + 1 RETURNING count",
            (subject,),
        ).fetchone()
        return int(row[0])

    # The log

    def log(
        self, event: str, transfer: Transfer | None = None, transaction_id: str | None = None, **details: object
    ) -> None:
        """Append one fact."""
        about: tuple[object, ...] = (None,) * 5
        if transfer is not None:
            about = (transfer.payment_id, transfer.key, transfer.type, transfer.amount, transfer.currency)
        self._db.execute(
            "INSERT INTO log (at_ms, event, payment_id, key, type, amount_minor, currency, transaction_id, details)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (time.time_ns() // 1_000_000, event, *about, transaction_id, orjson.dumps(details)),
        )

    def outcome(self, payment_id: str) -> tuple[str, str, str | None, int, str] | None:
        """Event, type, transaction, amount and currency of a payment: the last transfer made, else the last refusal."""
        row = self._db.execute(
            "SELECT event, type, transaction_id, amount_minor, currency FROM log"
            " WHERE payment_id = ? AND event IN (?, ?) ORDER BY event = ? DESC, seq DESC LIMIT 1",
            (payment_id, MADE, DECLINED, MADE),
        ).fetchone()
        return None if row is None else tuple(row)
