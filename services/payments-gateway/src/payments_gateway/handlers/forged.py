"""Callbacks whose signature does not hold: kept apart, counted, bounded; they change nothing (I-07)."""

from dataclasses import dataclass
from datetime import datetime

from copeck.kernel.errors import DomainError
from copeck.kernel.ids import new_id
from copeck.observability.logs import get_logger
from payments_gateway.domain.provider import NotificationKind, Provider, RawCallback, Shop
from payments_gateway.handlers.context import Context
from payments_gateway.store import callbacks as callback_store

log = get_logger(__name__)

KEPT_PER_MINUTE_MAX = 60
KEPT_ROWS_MAX = 10_000
BODY_BYTES_KEPT = 8 * 1024
_HEADER_NAMES = ("content-type", "content-hmac", "x-content-hmac", "user-agent", "x-forwarded-for")


class ForgedCallbackError(DomainError):
    """The signature of a callback does not hold."""

    type = "bad-signature"
    title = "The signature does not hold"
    status = 403


@dataclass(slots=True)
class Quarantine:
    """Keeps forged callbacks, some a minute; what is beyond the limit is only counted, in the next row kept."""

    window: int = 0
    kept: int = 0
    skipped: int = 0

    async def keep(
        self,
        context: Context,
        provider: Provider,
        shop: Shop,
        kind: NotificationKind,
        callback: RawCallback,
        peer: str,
        now: datetime,
    ) -> None:
        """Store a forged callback if the minute's limit allows.

        Tokens of cards are left out for good: while a secret is being changed, a real one looks forged (I-14).
        """
        minute = int(now.timestamp()) // 60
        if minute != self.window:
            self.window, self.kept = minute, 0
        if self.kept >= KEPT_PER_MINUTE_MAX:
            self.skipped += 1
            return
        self.kept += 1
        skipped, self.skipped = self.skipped, 0
        log.warning("a forged callback is kept in quarantine", provider=shop.provider, shop=shop.shop, peer=peer)
        async with context.database.transaction() as tx:
            await callback_store.add_forged(
                tx,
                callback_id=new_id(),
                received_at=now,
                provider=shop.provider,
                shop=shop.shop,
                kind=kind.value,
                method=callback.method,
                peer=peer[:64],
                headers={name: callback.headers[name][:300] for name in _HEADER_NAMES if name in callback.headers},
                body=provider.seal(shop, callback.body)[0][:BODY_BYTES_KEPT],
                skipped=skipped,
            )
