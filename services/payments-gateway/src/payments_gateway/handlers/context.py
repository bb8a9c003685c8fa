"""What every handler works with; built once in `main.py`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from copeck.kernel.clock import Clock, SystemClock
from copeck.messaging.inbox import Inbox
from copeck.messaging.outbox import Outbox
from copeck.storage.engine import Database
from copeck.storage.idempotency import Idempotency
from payments_gateway import tables
from payments_gateway.domain.provider import Provider
from payments_gateway.domain.routing import Shops
from payments_gateway.domain.sending import Balances
from payments_gateway.settings import GatewaySettings
from payments_gateway.store.breaker import Breaker
from payments_gateway.store.wallet_cache import WalletCache

SOURCE = "gateway"


def _nothing() -> None:
    """Wake nobody: the relay of another process polls."""


def _no_tasks(_operations: list[UUID]) -> None:
    """Send no task: the janitor finds the rows."""


def _no_task(_batch: UUID) -> None:
    """Send no task: the janitor finds the row."""


@dataclass(slots=True)
class Context:
    """The gateway's parts: database, shops and providers, clock, bus."""

    settings: GatewaySettings
    database: Database
    shops: Shops
    providers: Mapping[str, Provider]
    breaker: Breaker
    balances: Balances = field(default_factory=Balances)
    wallet_cache: WalletCache = field(default_factory=lambda: WalletCache(""))
    clock: Clock = field(default_factory=SystemClock)
    outbox: Outbox = field(default_factory=lambda: Outbox(tables.outbox))
    inbox: Inbox = field(default_factory=lambda: Inbox(tables.inbox))
    idempotency: Idempotency = field(default_factory=lambda: Idempotency(tables.idempotency))
    poke_relay: Callable[[], None] = _nothing
    enqueue: Callable[[list[UUID]], None] = _no_tasks
    """Send the tasks of committed operations that move money."""
    enqueue_questions: Callable[[list[UUID]], None] = _no_tasks
    """Send the tasks of committed operations that only ask; they wait in a queue of their own."""
    send_batch: Callable[[UUID], None] = _no_task
    """Send the task that hands a committed batch of payouts to the updater."""

    async def close(self) -> None:
        """Close the connections of this event loop: the database's, the providers' and those to Redis."""
        for provider in self.providers.values():
            await provider.close()
        await self.breaker.close()
        await self.wallet_cache.close()
        await self.database.close()
