"""Idempotency keys: one key, one effect, one answer, all in the transaction of the effect itself."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.kernel.errors import DomainError
from copeck.storage.bulk import BulkInsert


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """What the first request under a key was answered."""

    status: int
    body: Any


@dataclass(frozen=True, slots=True)
class Claim:
    """A key that is taken together with the answer that its request gets, since that is known beforehand."""

    scope: str
    key: str
    request_hash: str
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
        columns = ("scope", "key", "request_hash", "status", "body")
        self._take = BulkInsert(table, columns, on_conflict="DO NOTHING", returning="scope, key")

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

    async def claim_many(
        self, tx: AsyncConnection, claims: Sequence[Claim]
    ) -> list[StoredAnswer | KeyReused | KeyUnfinished | None]:
        """Take many keys at once, with their answers; for each claim, in order, what `begin` would have said.

        None: this claim is the first, and its effect belongs into this transaction. Errors are returned and not
        raised, since they concern one claim and not its neighbours. Of equal keys among the claims the first one wins.
        Other transactions that hold a key are waited for, as in `begin`; keys are taken in one order, so that two
        batches never wait for each other.
        """
        if not claims:
            return []
        first: dict[tuple[str, str], int] = {}
        for index, claim in enumerate(claims):
            first.setdefault((claim.scope, claim.key), index)
        chosen = [claims[first[name]] for name in sorted(first)]
        values = [
            {
                "scope": claim.scope,
                "key": claim.key,
                "request_hash": claim.request_hash,
                "status": claim.status,
                "body": claim.body,
            }
            for claim in chosen
        ]
        taken = {(row.scope, row.key) for row in await self._take(tx, values)}
        mine = {first[name] for name in taken}
        known = await self._known(tx, claims, mine) if len(mine) < len(claims) else {}
        return [None if index in mine else _said(claim, known) for index, claim in enumerate(claims)]

    async def answers(
        self, tx: AsyncConnection, claims: Sequence[Claim]
    ) -> list[StoredAnswer | KeyReused | KeyUnfinished | None]:
        """Return what was answered under keys, without taking any; None where a key is free."""
        known = await self._known(tx, claims, set())
        return [_said(claim, known) if (claim.scope, claim.key) in known else None for claim in claims]

    async def _known(self, tx: AsyncConnection, claims: Sequence[Claim], mine: set[int]) -> dict[tuple[str, str], Any]:
        table = self._table
        names = sorted({(claim.scope, claim.key) for index, claim in enumerate(claims) if index not in mine})
        query = sa.select(table.c.scope, table.c.key, table.c.request_hash, table.c.status, table.c.body).where(
            sa.tuple_(table.c.scope, table.c.key).in_(names)
        )
        return {(row.scope, row.key): row for row in await tx.execute(query)}

    async def forget(self, tx: AsyncConnection, before: datetime, limit: int = 1000) -> int:
        """Delete up to `limit` answers older than a moment; returns how many."""
        table = self._table
        old = sa.select(table.c.scope, table.c.key).where(table.c.created_at < before).limit(limit)
        gone = sa.delete(table).where(sa.tuple_(table.c.scope, table.c.key).in_(old))
        return (await tx.execute(gone)).rowcount


def _said(claim: Claim, known: dict[tuple[str, str], Any]) -> StoredAnswer | KeyReused | KeyUnfinished:
    """Say what a key that was taken before means for a claim."""
    row = known.get((claim.scope, claim.key))
    if row is None:
        return KeyUnfinished("the key is being forgotten; try again", "Idempotency-Key")
    if row.request_hash != claim.request_hash:
        return KeyReused(field="Idempotency-Key")
    if row.status is None:
        return KeyUnfinished(field="Idempotency-Key")
    return StoredAnswer(row.status, row.body)
