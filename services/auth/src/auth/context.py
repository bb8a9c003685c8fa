"""Everything that handlers need, put together once by main.py."""

from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from auth.cache import ShortCache
from auth.challenges import ChallengeVerifier, NoChallenge
from auth.passwords import Passwords
from auth.settings import AuthSettings
from auth.signing import KeyRing, Sealer, StoredKey
from auth.store import signing_keys
from auth.tables import outbox
from auth.tokens import Tokens
from copeck.contracts import events
from copeck.contracts.envelope import Envelope
from copeck.kernel.clock import Clock, SystemClock
from copeck.messaging.outbox import Outbox, Relay
from copeck.storage.engine import Database


@dataclass(slots=True)
class Context:
    """The parts of the running service."""

    settings: AuthSettings
    database: Database
    clock: Clock
    passwords: Passwords
    sealer: Sealer
    ring: KeyRing
    tokens: Tokens
    outbox: Outbox
    challenge: ChallengeVerifier
    keys_cache: ShortCache = field(default_factory=lambda: ShortCache(life_s=5.0))
    families_cache: ShortCache = field(default_factory=lambda: ShortCache(life_s=5.0))
    relay: Relay | None = None

    @classmethod
    def build(
        cls,
        settings: AuthSettings,
        database: Database,
        *,
        clock: Clock | None = None,
        challenge: ChallengeVerifier | None = None,
    ) -> "Context":
        """Put the parts together."""
        clock = clock or SystemClock()
        sealer = Sealer(settings.signing_secret.get_secret_value())

        async def load() -> list[StoredKey]:
            async with database.reading() as tx:
                return await signing_keys.in_use(tx)

        ring = KeyRing(load, sealer)
        tokens = Tokens(ring, clock, access_s=settings.access_token_s, internal_s=settings.internal_token_s)
        return cls(
            settings=settings,
            database=database,
            clock=clock,
            passwords=Passwords(settings),
            sealer=sealer,
            ring=ring,
            tokens=tokens,
            outbox=Outbox(outbox),
            challenge=challenge or NoChallenge(),
        )

    async def announce(self, tx: AsyncConnection, event: events.UserEvent) -> None:
        """Add an event to the outbox of this transaction."""
        await self.outbox.add(tx, Envelope.new(event, source="auth", clock=self.clock))

    def poke(self) -> None:
        """Wake the relay after a commit that wrote to the outbox."""
        if self.relay is not None:
            self.relay.poke()

    def forget_user(self, user_id: UUID) -> None:
        """Drop what this process remembers of a user: roles or standing changed."""
        self.keys_cache.drop_user(user_id)
        self.families_cache.drop_user(user_id)
