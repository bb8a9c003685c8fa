"""The inbox: a message is applied once, whatever the broker delivers."""

from collections.abc import Sequence
from datetime import date
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.contracts.envelope import Envelope
from copeck.kernel.ids import id_day


class Inbox:
    """Ids of messages that were applied, in the service's own schema."""

    def __init__(self, table: sa.Table) -> None:
        self._table = table
        # Built once: they are asked with every message or batch, and building them costs more than sending them.
        self._note = insert(table).on_conflict_do_nothing().returning(table.c.id)
        noted = sa.func.unnest(
            sa.bindparam("days", type_=pg.ARRAY(sa.Date)), sa.bindparam("ids", type_=pg.ARRAY(pg.UUID(as_uuid=True)))
        )
        rows = noted.table_valued("day", "id").render_derived()
        self._note_many = (
            insert(table)
            .from_select(["day", "id"], sa.select(rows.c.day, rows.c.id))
            .on_conflict_do_nothing()
            .returning(table.c.id)
        )

    async def first_time(self, tx: AsyncConnection, envelope: Envelope) -> bool:
        """Note the message in the transaction of its effect; False when it was applied before.

        Two copies that are handled at the same time meet at the unique key: the second waits for the first's commit.
        """
        values = {"day": id_day(envelope.id), "id": envelope.id}
        return (await tx.execute(self._note, values)).first() is not None

    async def first_times(self, tx: AsyncConnection, envelopes: Sequence[Envelope]) -> set[UUID]:
        """Note several messages in one round trip; returns the ids of those that were not applied before.

        They are noted in the order of their ids, so that two processes with the same messages do not block each other.
        """
        ids = sorted({envelope.id for envelope in envelopes})
        days = [id_day(one) for one in ids]
        return set((await tx.execute(self._note_many, {"days": days, "ids": ids})).scalars())

    async def forget(self, tx: AsyncConnection, before: date) -> int:
        """Delete the notes of days before one; returns how many."""
        gone = sa.delete(self._table).where(self._table.c.day < before)
        return (await tx.execute(gone)).rowcount
