"""Opening wallets, and what is in them."""

from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

from copeck.contracts.commands import WalletOpen
from copeck.contracts.envelope import Envelope
from copeck.kernel.errors import DomainError
from payments_gateway.domain.wallets import Balance, wallet_of
from payments_gateway.handlers.commissions import check_currency
from payments_gateway.handlers.context import SOURCE, Context
from payments_gateway.store import wallets
from payments_gateway.store.wallets import Filter, Movement

EXPORT_ROWS_MAX = 100_000
_EXPORT_STEP = 1_000


class ExportTooLargeError(DomainError):
    """So many rows that the file would never end; the caller narrows the dates."""

    type = "export-too-large"
    title = "There are too many rows for one file"
    status = 422


async def open_wallet(context: Context, user_id: UUID, currency: str) -> bool:
    """Ask for a wallet, unless it is there; tell whether it is. Asking twice is harmless, so no key is needed."""
    account = wallet_of(user_id)
    async with context.database.transaction() as tx:
        if await wallets.is_open(tx, account, check_currency(currency)):
            return True
        command = WalletOpen(account=account, currency=currency, actor=f"user:{user_id}")
        await context.outbox.add(tx, Envelope.new(command, source=SOURCE))
    context.poke_relay()
    await context.wallet_cache.drop([account])
    return False


async def balances(context: Context, user_id: UUID) -> list[Balance]:
    """Return a user's wallets, as they were at most a moment ago."""
    account = wallet_of(user_id)
    found = await context.wallet_cache.get(account)
    if found is None:
        async with context.database.reading() as tx:
            found = await wallets.balances(tx, account, context.clock.now())
        await context.wallet_cache.put(account, found)
    return found


async def check_export(context: Context, wanted: Filter) -> None:
    """Refuse an export of more rows than a file may have."""
    async with context.database.reading() as tx:
        if await wallets.count(tx, wanted, EXPORT_ROWS_MAX + 1) > EXPORT_ROWS_MAX:
            raise ExportTooLargeError(f"a file holds {EXPORT_ROWS_MAX} rows; narrow the dates", "from")


async def export(context: Context, wanted: Filter) -> AsyncIterator[Sequence[Movement]]:
    """Read a wallet's history in parts, each in a transaction of its own: nothing is held while the file travels."""
    after: tuple[Any, ...] | None = None
    for _ in range(EXPORT_ROWS_MAX // _EXPORT_STEP):
        async with context.database.reading() as tx:
            part = await wallets.history(tx, wanted, after, limit=_EXPORT_STEP)
        yield part
        if len(part) < _EXPORT_STEP:
            return
        after = part[-1].order
