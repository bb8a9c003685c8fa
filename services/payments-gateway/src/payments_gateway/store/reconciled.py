"""How far each shop's list at the provider was compared with what was heard."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from payments_gateway.tables import reconciled


async def reached(tx: AsyncConnection, provider: str, shop: str) -> datetime | None:
    """Return the moment up to which a shop's list was compared; None when it never was."""
    query = sa.select(reconciled.c.reconciled_to).where(reconciled.c.provider == provider, reconciled.c.shop == shop)
    return (await tx.execute(query)).scalar_one_or_none()


async def advance(tx: AsyncConnection, provider: str, shop: str, to: datetime) -> None:
    """Note how far a shop's list was compared; it never goes back."""
    added = insert(reconciled).values(provider=provider, shop=shop, reconciled_to=to)
    newer = sa.func.greatest(reconciled.c.reconciled_to, added.excluded.reconciled_to)
    await tx.execute(added.on_conflict_do_update(index_elements=["provider", "shop"], set_={"reconciled_to": newer}))


async def note_try(tx: AsyncConnection, provider: str, shop: str, now: datetime) -> None:
    """Note that a shop has its turn to be compared now, whatever comes of it."""
    added = insert(reconciled).values(provider=provider, shop=shop, tried_at=now)
    await tx.execute(added.on_conflict_do_update(index_elements=["provider", "shop"], set_={"tried_at": now}))
