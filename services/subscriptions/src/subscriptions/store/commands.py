"""Commands that people sent through this service to the state updater."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from subscriptions.tables import commands


@dataclass(frozen=True, slots=True)
class SentCommand:
    """One command; its id is the id of its message. What became of it is in the State Storage."""

    id: UUID
    type: str
    invoice_id: UUID
    actor: str
    sent_at: datetime


async def insert(tx: AsyncConnection, command: SentCommand) -> None:
    """Note a command, in the transaction that sends it."""
    await tx.execute(sa.insert(commands).values({name: getattr(command, name) for name in SentCommand.__slots__}))


async def find(tx: AsyncConnection, command_id: UUID) -> SentCommand | None:
    """Return a command."""
    row = (await tx.execute(sa.select(commands).where(commands.c.id == command_id))).first()
    return SentCommand(**row._asdict()) if row else None
