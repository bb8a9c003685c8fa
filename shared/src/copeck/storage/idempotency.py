"""Idempotency keys: one key, one effect, one answer, all in the transaction of the effect itself."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.kernel.errors import DomainError


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """What the first request under a key was answered."""

    status: int
    body: Any


class KeyReused(DomainError):
    """The key was used before with another request."""

    type: ClassVar[str] = "idempotency-key-reused"
    title: ClassVar[str] = "The idempotency key was used with another request"
    status: ClassVar[int] = 422


class KeyUnfinished(DomainError):
    """A request under the key was begun and its answer is not known; the effect may have happened."""

    type: ClassVar[str] = "idempotency-key-unfinished"
    title: ClassVar[str] = "A request with this idempotency key has no answer yet"
    status: ClassVar[int] = 409


class Idempotency:
    """Keys in one table. `begin` first in the transaction, `finish` last, both with the same `tx`."""

    def __init__(self, table: sa.Table) -> None:
        self._table = table

    async def begin(self, tx: AsyncConnection, scope: str, key: str, request_hash: str) -> StoredAnswer | None:
        """Claim the key. None: this request is the first. Otherwise the answer that was given.

        A second request that runs at the same time waits here, at the unique key, until the first one commits or
        rolls back; `lock_timeout` bounds the wait. KeyReused when the key belongs to another request.
        """
        table = self._table
        claim = (
            insert(table)
            .values(scope=scope, key=key, request_hash=request_hash)
            .on_conflict_do_nothing()
            .returning(table.c.key)
        )
        if (await tx.execute(claim)).first() is not None:
            return None
        known = sa.select(table.c.request_hash, table.c.status, table.c.body).where(
            table.c.scope == scope, table.c.key == key
        )
        row = (await tx.execute(known)).first()
        if row is None:
            raise KeyUnfinished("the key is being forgotten; try again", "Idempotency-Key")
        if row.request_hash != request_hash:
            raise KeyReused(field="Idempotency-Key")
        if row.status is None:
            raise KeyUnfinished(field="Idempotency-Key")
        return StoredAnswer(row.status, row.body)

    async def finish(self, tx: AsyncConnection, scope: str, key: str, status: int, body: Any) -> None:
        """Keep the answer beside the effect; `body` is anything that JSON can hold."""
        table = self._table
        # Refuses what JSON cannot hold here, and not when the answer is asked for again.
        json.dumps(body)
        keep = sa.update(table).where(table.c.scope == scope, table.c.key == key).values(status=status, body=body)
        if (await tx.execute(keep)).rowcount != 1:
            raise RuntimeError("finish() needs begin() before it in the same transaction")

    async def forget(self, tx: AsyncConnection, before: datetime, limit: int = 1000) -> int:
        """Delete up to `limit` answers older than a moment; returns how many."""
        table = self._table
        old = sa.select(table.c.scope, table.c.key).where(table.c.created_at < before).limit(limit)
        gone = sa.delete(table).where(sa.tuple_(table.c.scope, table.c.key).in_(old))
        return (await tx.execute(gone)).rowcount
