"""What a provider tells us: verified over raw bytes, stored with its report in one commit, and only then answered.

Callbacks that wait while a commit is under way share the next one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from copeck.kernel.errors import NotFoundError
from copeck.kernel.ids import new_id
from copeck.observability.logs import get_logger
from payments_gateway.domain.provider import (
    Notification,
    NotificationKind,
    Provider,
    RawCallback,
    Shop,
    UnreadableCallback,
)
from payments_gateway.handlers import metrics
from payments_gateway.handlers.context import Context
from payments_gateway.handlers.forged import ForgedCallbackError, Quarantine
from payments_gateway.handlers.group import GroupCommit
from payments_gateway.handlers.judging import Arrived, Judged, judge
from payments_gateway.handlers.merchant_shops import find_shop
from payments_gateway.store import callbacks as callback_store
from payments_gateway.store.callbacks import StoredCallback

log = get_logger(__name__)

# Headers that say nothing about the callback, or that must not be stored.
_HEADERS_DROPPED = frozenset({"authorization", "cookie", "connection", "accept-encoding"})
_HEADERS_MAX = 40


@dataclass(slots=True)
class _Waiting:
    """One callback on its way into a commit."""

    arrived: Arrived
    stored: StoredCallback


@dataclass(slots=True)
class Paid:
    """Takes callbacks in."""

    context: Context
    quarantine: Quarantine = field(default_factory=Quarantine)
    _group: GroupCommit[_Waiting, Judged] = field(init=False)

    def __post_init__(self) -> None:
        self._group = GroupCommit("callbacks", self._commit)

    async def take(
        self, provider_code: str, shop_name: str, kind: NotificationKind, callback: RawCallback, peer: str
    ) -> Mapping[str, Any]:
        """Verify, store, report in one commit; return the answer. Raises when it could not be stored (I-07)."""
        context = self.context
        provider = context.providers.get(provider_code)
        shop = await find_shop(context, provider_code, shop_name)
        if provider is None or shop is None:
            raise NotFoundError("there is no such shop")
        now = context.clock.now()
        if not provider.verify(shop, callback):
            await self.quarantine.keep(context, provider, shop, kind, callback, peer, now)
            metrics.CALLBACKS.labels(shop.provider, shop.shop, kind.value, "forged").inc()
            raise ForgedCallbackError
        with metrics.CALLBACK_SECONDS.labels(kind.value).time():
            judged = await self._store(provider, shop, kind, callback, now)
        metrics.CALLBACKS.labels(shop.provider, shop.shop, kind.value, judged.verdict).inc()
        return provider.answer(judged.answer)

    async def _store(
        self, provider: Provider, shop: Shop, kind: NotificationKind, callback: RawCallback, now: datetime
    ) -> Judged:
        """Read the callback and have it stored with the next commit."""
        notification: Notification | None = None
        unreadable: str | None = None
        try:
            notification = provider.read(kind, callback)
        except UnreadableCallback as error:
            unreadable = str(error)
            log.error("a callback cannot be understood", provider=shop.provider, shop=shop.shop, reason=unreadable)
        body, sealed = provider.seal(shop, callback.body)
        callback_id = new_id()
        waiting = _Waiting(
            Arrived(callback_id, provider, shop, kind, notification, unreadable),
            StoredCallback(
                id=callback_id,
                received_at=now,
                provider=shop.provider,
                shop=shop.shop,
                kind=kind.value,
                method=callback.method,
                headers=kept_headers(callback.headers),
                body=body,
                sealed=sealed,
                verdict="",
                answer=None,
                transaction_id=notification.transaction_id if notification else None,
            ),
        )
        return await self._group.submit(waiting)

    async def _commit(self, batch: list[_Waiting]) -> list[Judged]:
        async with self.context.database.transaction() as tx:
            judged = await judge(self.context, tx, [waiting.arrived for waiting in batch], self.context.clock.now())
            rows = [_with(waiting, result) for waiting, result in zip(batch, judged, strict=True)]
            await callback_store.add(tx, rows)
        if any(result.report_id is not None for result in judged):
            self.context.poke_relay()
        due = [result.operation_id for result in judged if result.operation_id is not None]
        if due:
            self.context.enqueue(due)
        return judged


def _with(waiting: _Waiting, judged: Judged) -> StoredCallback:
    """Complete a row by what was made of the callback."""
    arrived, stored = waiting.arrived, waiting.stored
    named = arrived.notification.invoice_id if arrived.notification else None
    values: dict[str, Any] = {name: getattr(stored, name) for name in stored.__slots__}
    return StoredCallback(
        **values
        | {
            "verdict": judged.verdict,
            "answer": int(arrived.provider.answer(judged.answer)["code"]),
            "reason": judged.reason,
            "invoice_id": judged.invoice_id or named,
            "payment_id": judged.payment_id,
            "report_id": judged.report_id,
        }
    )


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers worth keeping, bounded."""
    kept = [(name, value[:1000]) for name, value in headers.items() if name not in _HEADERS_DROPPED]
    return dict(kept[:_HEADERS_MAX])
