"""The inbox: a message is applied once, whatever the broker delivers."""

from datetime import date

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.contracts.envelope import Envelope
from copeck.kernel.ids import id_day


class Inbox:
    """Ids of messages that were applied, in the service's own schema."""

    def __init__(self, table: sa.Table) -> None:
        self._table = table

    async def first_time(self, tx: AsyncConnection, envelope: Envelope) -> bool:
        """Note the message in the transaction of its effect; False when it was applied before.

        Two copies that are handled at the same time meet at the unique key: the second waits for the first's commit.
        """
        note = (
            insert(self._table)
            .values(day=id_day(envelope.id), id=envelope.id)
            .on_conflict_do_nothing()
            .returning(self._table.c.id)
        )
        return (await tx.execute(note)).first() is not None

    async def forget(self, tx: AsyncConnection, before: date) -> int:
        """Delete the notes of days before one; returns how many."""
        gone = sa.delete(self._table).where(self._table.c.day < before)
        return (await tx.execute(gone)).rowcount
