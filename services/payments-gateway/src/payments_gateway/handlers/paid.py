"""What a provider tells us: verified over raw bytes, stored with its report in one commit, and only then answered."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.kernel.errors import NotFoundError
from copeck.kernel.ids import new_id
from copeck.observability.logs import get_logger
from payments_gateway.domain.invoices import Invoice, check, money_of
from payments_gateway.domain.provider import (
    AttemptStatus,
    CheckAnswer,
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
from payments_gateway.handlers.refunds import hear_refund
from payments_gateway.handlers.reports import Statement, find_or_bind, hear
from payments_gateway.handlers.words import masked_method
from payments_gateway.store import attempts as attempt_store
from payments_gateway.store import callbacks as callback_store
from payments_gateway.store import invoices as invoice_store
from payments_gateway.store.callbacks import StoredCallback

log = get_logger(__name__)

_MONEY_KINDS = frozenset(
    {NotificationKind.PAY, NotificationKind.FAIL, NotificationKind.CONFIRM, NotificationKind.CANCEL}
)
# Headers that say nothing about the callback, or that must not be stored.
_HEADERS_DROPPED = frozenset({"authorization", "cookie", "connection", "accept-encoding"})
_HEADERS_MAX = 40


@dataclass(frozen=True, slots=True)
class Judged:
    """What was made of a callback."""

    verdict: str
    answer: CheckAnswer = CheckAnswer.OK
    reason: str | None = None
    invoice_id: UUID | None = None
    payment_id: UUID | None = None
    report_id: UUID | None = None


@dataclass(slots=True)
class Paid:
    """Takes callbacks in."""

    context: Context
    quarantine: Quarantine = field(default_factory=Quarantine)

    async def take(
        self, provider_code: str, shop_name: str, kind: NotificationKind, callback: RawCallback, peer: str
    ) -> Mapping[str, Any]:
        """Verify, store, report in one commit; return the answer. Raises when it could not be stored (I-07)."""
        context = self.context
        provider = context.providers.get(provider_code)
        shop = context.shops.get(provider_code, shop_name)
        if provider is None or shop is None:
            raise NotFoundError("there is no such shop")
        now = context.clock.now()
        if not provider.verify(shop, callback):
            await self.quarantine.keep(context, shop, kind, callback, peer, now)
            metrics.CALLBACKS.labels(shop.provider, shop.shop, kind.value, "forged").inc()
            raise ForgedCallbackError
        with metrics.CALLBACK_SECONDS.labels(kind.value).time():
            judged = await self._store(provider, shop, kind, callback, now)
        metrics.CALLBACKS.labels(shop.provider, shop.shop, kind.value, judged.verdict).inc()
        if judged.report_id is not None:
            context.poke_relay()
        return provider.answer(judged.answer)

    async def _store(
        self, provider: Provider, shop: Shop, kind: NotificationKind, callback: RawCallback, now: datetime
    ) -> Judged:
        notification: Notification | None = None
        unreadable: str | None = None
        try:
            notification = provider.read(kind, callback)
        except UnreadableCallback as error:
            unreadable = str(error)
            log.error("a callback cannot be understood", provider=shop.provider, shop=shop.shop, reason=unreadable)
        body, sealed = provider.seal(shop, callback.body)
        callback_id = new_id()
        async with self.context.database.transaction() as tx:
            if notification is None:
                answer = CheckAnswer.NOT_ACCEPTED if kind is NotificationKind.CHECK else CheckAnswer.OK
                judged = Judged("unreadable", answer, unreadable)
            else:
                judged = await self._judge(tx, shop, notification, str(callback_id), now)
            await callback_store.add(
                tx,
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
                    verdict=judged.verdict,
                    answer=int(provider.answer(judged.answer)["code"]),
                    reason=judged.reason,
                    invoice_id=judged.invoice_id or (notification.invoice_id if notification else None),
                    payment_id=judged.payment_id,
                    transaction_id=notification.transaction_id if notification else None,
                    report_id=judged.report_id,
                ),
            )
        return judged

    async def _judge(
        self, tx: AsyncConnection, shop: Shop, notification: Notification, source: str, now: datetime
    ) -> Judged:
        if notification.kind in (NotificationKind.RECURRENT, NotificationKind.RECEIPT):
            return Judged("noted")
        invoice = await self._invoice(tx, shop, notification)
        if notification.kind is NotificationKind.CHECK:
            return await self._check(tx, shop, invoice, notification, now)
        if invoice is None:
            # Answered so that it comes again: the invoice's event may be on its way. The bytes are kept each time.
            return Judged("orphan", CheckAnswer.BAD_INVOICE, "no such invoice is known")
        if notification.kind is NotificationKind.REFUND:
            refund = await hear_refund(self.context, tx, shop, invoice, notification, source, now)
            return Judged(
                refund.verdict, CheckAnswer.OK, refund.reason, invoice.invoice_id, refund.payment_id, refund.report_id
            )
        return await self._money(tx, shop, invoice, notification, source, now)

    async def _invoice(self, tx: AsyncConnection, shop: Shop, notification: Notification) -> Invoice | None:
        """Find the invoice by its id, else through the transaction: Refund and Cancel may leave the id out."""
        if notification.invoice_id is not None:
            return await invoice_store.get(tx, notification.invoice_id)
        named = notification.original_transaction_id or notification.transaction_id
        if notification.invoice_ref or not named or notification.kind is NotificationKind.CHECK:
            return None
        payment_id = await attempt_store.bound_to(tx, shop.provider, shop.shop, named)
        attempt = await attempt_store.get(tx, payment_id) if payment_id else None
        return await invoice_store.get(tx, attempt.invoice_id) if attempt else None

    async def _check(
        self, tx: AsyncConnection, shop: Shop, invoice: Invoice | None, notification: Notification, now: datetime
    ) -> Judged:
        others: frozenset[AttemptStatus] = frozenset()
        if invoice is not None:
            known = await attempt_store.of_invoice(tx, invoice.invoice_id)
            others = frozenset(item.status for item in known if item.transaction_id != notification.transaction_id)
        answer = check(invoice, notification, others, now)
        metrics.CHECKS.labels(answer.value).inc()
        if answer is not CheckAnswer.OK or invoice is None or notification.transaction_id is None:
            return Judged("checked", answer, invoice_id=invoice.invoice_id if invoice else None)
        said = Statement(
            notification.transaction_id, AttemptStatus.PENDING, invoice.amount, payment_id=notification.payment_id
        )
        heard = await hear(self.context, tx, shop, invoice, said, "check", now)
        return Judged("checked", answer, None, invoice.invoice_id, heard.payment_id, heard.report_id)

    async def _money(
        self, tx: AsyncConnection, shop: Shop, invoice: Invoice, notification: Notification, source: str, now: datetime
    ) -> Judged:
        transaction_id, status = notification.transaction_id, notification.status
        amount = money_of(notification, invoice.amount.currency)
        if amount is None and notification.kind is NotificationKind.CANCEL and notification.amount is None:
            amount = invoice.amount
        if notification.kind not in _MONEY_KINDS or transaction_id is None or status is None or amount is None:
            return Judged("unreadable", CheckAnswer.OK, "the amount or the transaction is not one", invoice.invoice_id)
        said = statement_of(notification, Statement(transaction_id, status, amount))
        if amount != invoice.amount and status in (AttemptStatus.SUCCEEDED, AttemptStatus.AUTHORIZED):
            metrics.AMOUNT_MISMATCHES.labels(shop.shop).inc()
            log.warning("a payment differs from its invoice", invoice_id=str(invoice.invoice_id), amount=str(amount))
        if status is not AttemptStatus.PENDING:
            heard = await hear(self.context, tx, shop, invoice, said, source, now)
            verdict = "accepted" if heard.news else "duplicate"
            return Judged(verdict, CheckAnswer.OK, None, invoice.invoice_id, heard.payment_id, heard.report_id)
        attempt = await find_or_bind(self.context, tx, shop, invoice, said, now)
        return Judged("noted", CheckAnswer.OK, "its status is not final", invoice.invoice_id, attempt.payment_id)


def statement_of(notification: Notification, bare: Statement) -> Statement:
    """Add to a bare statement what the callback says of the method and of the failure."""
    failed = bare.status is AttemptStatus.FAILED
    reason = notification.reason or ""
    code = f" ({notification.reason_code})" if notification.reason_code else ""
    return replace(
        bare,
        payment_id=notification.payment_id,
        method=masked_method(notification.method, notification.card_type, notification.card_last_four),
        failure_code=str(notification.failure or "declined") if failed else "",
        failure_reason=f"{reason}{code}".strip() if failed else "",
        decline=notification.decline.value if failed and notification.decline else None,
    )


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers worth keeping, bounded."""
    kept = [(name, value[:1000]) for name, value in headers.items() if name not in _HEADERS_DROPPED]
    return dict(kept[:_HEADERS_MAX])
