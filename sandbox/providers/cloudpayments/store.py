"""The emulator's memory: one SQLite file in WAL mode, so that kill -9 loses nothing that was answered.

Writes are short and run in the event loop's thread: a commit in WAL mode costs tens of microseconds. ``log`` is
append-only by trigger; it is the ground truth that tests compare the product's books with.
"""

from __future__ import annotations

import fcntl
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import orjson

SCHEMA = """
CREATE TABLE IF NOT EXISTS keep (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS transactions (
    id INTEGER PRIMARY KEY, public_id TEXT NOT NULL, kind TEXT NOT NULL, status TEXT NOT NULL, stage TEXT NOT NULL,
    invoice_id TEXT, account_id TEXT, created_ms INTEGER NOT NULL, request_id TEXT, document BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS transactions_request ON transactions (public_id, request_id) WHERE request_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS transactions_invoice ON transactions (public_id, invoice_id, id);
CREATE INDEX IF NOT EXISTS transactions_created ON transactions (public_id, created_ms, id);
CREATE INDEX IF NOT EXISTS transactions_unfinished ON transactions (stage) WHERE stage <> 'done';
CREATE TABLE IF NOT EXISTS notifications (
    id INTEGER PRIMARY KEY AUTOINCREMENT, public_id TEXT NOT NULL, type TEXT NOT NULL, transaction_id INTEGER,
    invoice_id TEXT, body BLOB NOT NULL,
    content_type TEXT NOT NULL, forged TEXT, copy_of INTEGER, attempts INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL, due_ms INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS notifications_pending ON notifications (state, due_ms) WHERE state = 'pending';
CREATE TABLE IF NOT EXISTS addresses (
    public_id TEXT NOT NULL, type TEXT NOT NULL, document BLOB NOT NULL, PRIMARY KEY (public_id, type)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tokens (
    token TEXT PRIMARY KEY, public_id TEXT NOT NULL, account_id TEXT NOT NULL, card BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS subscriptions (
    id TEXT PRIMARY KEY, public_id TEXT NOT NULL, account_id TEXT NOT NULL, document BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS answers (
    public_id TEXT NOT NULL, request_id TEXT NOT NULL, body BLOB NOT NULL, success INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (public_id, request_id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS intents (id TEXT PRIMARY KEY, document BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS log (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, event TEXT NOT NULL, public_id TEXT NOT NULL,
    transaction_id INTEGER, invoice_id TEXT, amount_minor INTEGER, currency TEXT, details BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS log_invoice ON log (invoice_id, seq);
CREATE INDEX IF NOT EXISTS log_event ON log (event, seq);
CREATE TRIGGER IF NOT EXISTS log_no_update BEFORE UPDATE ON log BEGIN SELECT RAISE(ABORT, 'log is append-only'); END;
CREATE TRIGGER IF NOT EXISTS log_no_delete BEFORE DELETE ON log
    WHEN (SELECT value FROM keep WHERE name = 'resetting') IS NOT '1'
    BEGIN SELECT RAISE(ABORT, 'log is append-only'); END;
"""
TABLES = ("transactions", "notifications", "addresses", "tokens", "subscriptions", "answers", "intents", "log")
DONE = "done"


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class Transaction:
    """A payment, a refund or a payout, as the provider keeps it. Amounts are kopecks."""

    id: int
    public_id: str
    kind: str
    status: str
    stage: str
    amount: int
    currency: str
    created_ms: int
    scheme: str = "Single"
    invoice_id: str | None = None
    account_id: str | None = None
    email: str | None = None
    name: str | None = None
    description: str | None = None
    ip: str | None = None
    data: str | None = None
    asked_amount: int | None = None
    card: dict[str, Any] = field(default_factory=dict)
    by_token: bool = False
    token: str | None = None
    parent_id: int | None = None
    subscription_id: str | None = None
    reason_code: int = 0
    auth_code: str | None = None
    rrn: str | None = None
    auth_ms: int | None = None
    confirmed_ms: int | None = None
    refunded: int = 0
    held: int = 0
    late_due_ms: int | None = None
    recurrent: dict[str, Any] | None = None
    receipt: dict[str, Any] | None = None
    receiver: dict[str, Any] | None = None
    force_decline: int = 0
    request_id: str | None = None


class Store:
    """All reads and writes of the emulator."""

    def __init__(self, data_dir: Path) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        self._lock: IO[str] = (data_dir / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise RuntimeError(f"another emulator is running on {data_dir}") from error
        self._db = sqlite3.connect(data_dir / "cloudpayments.sqlite", isolation_level=None, cached_statements=256)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(SCHEMA)
        # Ids never repeat, not even after a reset or a deleted directory: receivers keep them as permanent keys.
        floor = (int(time.time()) - 1_700_000_000) * 100 + 1_000_000_000
        self._next_id = self._reserved = max(floor, int(self.keep_get("next_id") or 0))

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

    def next_id(self) -> int:
        """A fresh transaction id; blocks of a thousand are reserved so that a crash cannot give one twice."""
        self._next_id += 1
        if self._next_id > self._reserved:
            self._reserved = self._next_id + 1000
            self.keep_set("next_id", str(self._reserved))
        return self._next_id

    def keep_get(self, name: str) -> str | None:
        """A small named value."""
        row = self._db.execute("SELECT value FROM keep WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def keep_set(self, name: str, value: str) -> None:
        """Set a small named value."""
        self._db.execute("INSERT OR REPLACE INTO keep VALUES (?, ?)", (name, value))

    def reset(self) -> None:
        """Forget everything but the id counter."""
        with self.unit():
            self.keep_set("resetting", "1")
            for table in TABLES:
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608 - names are ours
            self._db.execute("DELETE FROM keep WHERE name <> 'next_id'")

    # Transactions

    def save(self, tx: Transaction) -> None:
        """Insert or replace a transaction."""
        self._db.execute(
            "INSERT OR REPLACE INTO transactions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (tx.id, tx.public_id, tx.kind, tx.status, tx.stage, tx.invoice_id, tx.account_id, tx.created_ms,
             tx.request_id, orjson.dumps(asdict(tx))),
        )  # fmt: skip

    def transaction(self, tx_id: int, public_id: str | None = None) -> Transaction | None:
        """One transaction; of that terminal only, when one is named."""
        found = self._transactions("WHERE id = ?", (tx_id,))
        return found[0] if found and public_id in (None, found[0].public_id) else None

    def by_invoice(self, public_id: str, invoice_id: str) -> list[Transaction]:
        """Everything of one order, oldest first."""
        return self._transactions("WHERE public_id = ? AND invoice_id = ? ORDER BY id", (public_id, invoice_id))

    def by_request(self, public_id: str, request_id: str, since_ms: int) -> Transaction | None:
        """What a request with this id has started, if it did so after the given moment."""
        found = self._transactions(
            "WHERE public_id = ? AND request_id = ? AND created_ms >= ? ORDER BY id DESC LIMIT 1",
            (public_id, request_id, since_ms),
        )
        return found[0] if found else None

    def created_between(
        self, public_id: str, start_ms: int, end_ms: int, *, statuses: list[str], limit: int, offset: int
    ) -> list[Transaction]:
        """Transactions created in [start, end), oldest first; of these statuses only, when any are named."""
        return self._transactions(
            "WHERE public_id = ? AND created_ms >= ? AND created_ms < ?"
            " AND (? = '[]' OR status IN (SELECT value FROM json_each(?))) ORDER BY created_ms, id LIMIT ? OFFSET ?",
            (public_id, start_ms, end_ms, *[orjson.dumps(statuses).decode()] * 2, limit, offset),
        )

    def unfinished(self) -> list[Transaction]:
        """Transactions that a crash may have cut short."""
        return self._transactions("WHERE stage <> 'done' ORDER BY id", ())

    def _transactions(self, where: str, arguments: tuple[object, ...]) -> list[Transaction]:
        rows = self._db.execute(f"SELECT document FROM transactions {where}", arguments)  # noqa: S608 - text is ours
        return [Transaction(**orjson.loads(row[0])) for row in rows]

    def add_token(self, public_id: str, account_id: str, card: dict[str, Any]) -> str:
        """Save a card under a fresh token; inside a unit."""
        token = f"tk_{secrets.token_hex(20)}"
        self._db.execute("INSERT INTO tokens VALUES (?, ?, ?, ?)", (token, public_id, account_id, orjson.dumps(card)))
        return token

    # Notifications

    def add_notification(
        self, *, public_id: str, kind: str, transaction_id: int | None, invoice_id: str | None, body: bytes,
        content_type: str, due_ms: int, state: str = "pending", forged: str | None = None, copy_of: int | None = None,
    ) -> int:  # fmt: skip
        """Queue one; returns its id."""
        cursor = self._db.execute(
            "INSERT INTO notifications (public_id, type, transaction_id, invoice_id, body, content_type, forged,"
            " copy_of, state, due_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (public_id, kind, transaction_id, invoice_id, body, content_type, forged, copy_of, state, due_ms),
        )
        return int(cursor.lastrowid or 0)

    def rows(self, query: str, arguments: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """Rows of a read-only query of another module of this package."""
        return self._db.execute(query, arguments).fetchall()

    def write(self, statement: str, arguments: tuple[object, ...] = ()) -> int:
        """Run one statement inside a unit; returns how many rows it touched."""
        return self._db.execute(statement, arguments).rowcount

    # The log

    def log(
        self, event: str, public_id: str, *, transaction_id: int | None = None, invoice_id: str | None = None,
        amount: int | None = None, currency: str | None = None, **details: object,
    ) -> None:  # fmt: skip
        """Append one fact."""
        self._db.execute(
            "INSERT INTO log (at_ms, event, public_id, transaction_id, invoice_id, amount_minor, currency, details)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (now_ms(), event, public_id, transaction_id, invoice_id, amount, currency, orjson.dumps(details)),
        )

    def log_of(self, event: str, tx: Transaction, amount: int | None = None, **details: object) -> None:
        """Append one fact about a transaction."""
        self.log(
            event, tx.public_id, transaction_id=tx.id, invoice_id=tx.invoice_id,
            amount=tx.amount if amount is None else amount, currency=tx.currency, **details,
        )  # fmt: skip
