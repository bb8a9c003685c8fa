"""What a batch of authentic callbacks means: one read, one decision each in order of arrival, one write."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.contracts.envelope import Envelope
from copeck.observability.logs import get_logger
from payments_gateway.domain.hearing import Known, Statement
from payments_gateway.domain.identifiers import payout_named
from payments_gateway.domain.instructions import payout_key
from payments_gateway.domain.invoices import check, money_of
from payments_gateway.domain.merchant_shops import takes
from payments_gateway.domain.provider import (
    AttemptStatus,
    CheckAnswer,
    Notification,
    NotificationKind,
    Provider,
    Shop,
)
from payments_gateway.domain.switches import DEPOSITS, Switch, payment_switches, provider_switch
from payments_gateway.handlers import metrics
from payments_gateway.handlers.context import Context
from payments_gateway.handlers.refunds import hear_refund
from payments_gateway.handlers.reports import asked_at, note
from payments_gateway.handlers.words import masked_method
from payments_gateway.store import attempts as attempt_store
from payments_gateway.store import hearing as hearing_store
from payments_gateway.store import invoices as invoice_store
from payments_gateway.store import operations as operation_store
from payments_gateway.store import switches as switch_store
from payments_gateway.store.hearing import Changes

log = get_logger(__name__)

_NOTED = frozenset({NotificationKind.RECURRENT, NotificationKind.RECEIPT})
# What a provider says of a payout that has ended.
_PAYOUT_ENDED = frozenset({NotificationKind.PAY, NotificationKind.FAIL})
# What says that money was taken, given back or let go: if it cannot be read, it must come again rather than be
# forgotten. A Fail says that nothing has moved.
_MONEY_MOVED = frozenset(
    {NotificationKind.PAY, NotificationKind.CONFIRM, NotificationKind.REFUND, NotificationKind.CANCEL}
)
_REASON_MAX = 500


@dataclass(frozen=True, slots=True)
class Arrived:
    """One authentic callback, read if it can be read."""

    id: UUID
    provider: Provider
    shop: Shop
    kind: NotificationKind
    notification: Notification | None
    unreadable: str | None


@dataclass(frozen=True, slots=True)
class Judged:
    """What was made of a callback."""

    verdict: str
    answer: CheckAnswer = CheckAnswer.OK
    reason: str | None = None
    invoice_id: UUID | None = None
    payment_id: UUID | None = None
    report_id: UUID | None = None
    operation_id: UUID | None = None
    """An operation that is to be executed once this is committed."""


async def judge(context: Context, tx: AsyncConnection, batch: list[Arrived], now: datetime) -> list[Judged]:
    """Judge a batch in the caller's transaction; attempts, facts and reports are written, callbacks are not."""
    of_payouts = {arrived.id: await _payout(tx, arrived, now) for arrived in batch if _tells_of_payout(arrived)}
    invoice_ids = [None if arrived.id in of_payouts else await _invoice_of(tx, arrived) for arrived in batch]
    asked = {
        invoice_id
        for arrived, invoice_id in zip(batch, invoice_ids, strict=True)
        if arrived.kind is NotificationKind.CHECK and invoice_id is not None
    }
    known = await _known(tx, {item for item in invoice_ids if item is not None}, asked, now)
    stopped = await _stopped(tx, batch)
    changes, reports, judged = Changes(), list[Envelope](), list[Judged]()
    for arrived, invoice_id in zip(batch, invoice_ids, strict=True):
        if arrived.id in of_payouts:
            judged.append(of_payouts[arrived.id])
            continue
        about = known.get(invoice_id) if invoice_id else None
        if about is not None and not takes(arrived.shop, about.invoice):
            judged.append(_foreign(arrived, about))
            continue
        if arrived.kind is NotificationKind.REFUND and arrived.notification is not None and about is not None:
            # Rare, and with rows of its own to lock: written at once, after what was heard before it.
            await _write(context, tx, changes, reports, now)
            changes, reports = Changes(), []
            judged.append(await _refund(context, tx, arrived.shop, about, arrived.notification, str(arrived.id), now))
            continue
        result, report = _judge_one(changes, about, arrived, stopped, now)
        if report is not None:
            reports.append(report)
        judged.append(result)
    await _write(context, tx, changes, reports, now)
    return judged


def _tells_of_payout(arrived: Arrived) -> bool:
    notification = arrived.notification
    if notification is None or arrived.kind not in _PAYOUT_ENDED:
        return False
    return notification.is_payout or payout_named(notification.invoice_ref) is not None


async def _payout(tx: AsyncConnection, arrived: Arrived, now: datetime) -> Judged:
    """Have a payout that has ended asked about at once: its outcome is what the provider answers, not what it told."""
    named = payout_named(arrived.notification.invoice_ref) if arrived.notification else None
    if named is None:
        return Judged("noted", reason="a payout that was not asked for here")
    shop = arrived.shop
    hastened = await operation_store.hasten(tx, payout_key(*named), shop.provider, shop.shop, now)
    return Judged("noted", operation_id=hastened)


async def _stopped(tx: AsyncConnection, batch: list[Arrived]) -> dict[str, Switch]:
    """Read the switches that stop what providers ask about in a batch; nothing is read when they ask nothing."""
    asking = {provider_switch(arrived.shop.provider) for arrived in batch if arrived.kind is NotificationKind.CHECK}
    return {item.name: item for item in await switch_store.stopped_of(tx, DEPOSITS, *asking)} if asking else {}


async def _known(tx: AsyncConnection, invoice_ids: set[UUID], asked: set[UUID], now: datetime) -> dict[UUID, Known]:
    """Load invoices; those whose events are late are taken over from the State Storage first.

    So are those that a provider asks about: a copy whose events got lost must not let it charge for nothing.
    """
    known = await hearing_store.load(tx, invoice_ids)
    payable = {invoice_id for invoice_id in asked & set(known) if known[invoice_id].invoice.payable_at(now)}
    wanted = (invoice_ids - set(known)) | payable
    if wanted and (adopted := await invoice_store.adopt(tx, wanted, now)):
        known |= await hearing_store.load(tx, adopted)
    return known


async def _write(
    context: Context, tx: AsyncConnection, changes: Changes, reports: list[Envelope], now: datetime
) -> None:
    await hearing_store.write(tx, changes, now, asked_at(context, now))
    await context.outbox.add(tx, *reports)


async def _invoice_of(tx: AsyncConnection, arrived: Arrived) -> UUID | None:
    """Find the invoice by its id, else through the transaction: Refund and Cancel may leave the id out."""
    notification = arrived.notification
    if notification is None or arrived.kind in _NOTED:
        return None
    if notification.invoice_id is not None:
        return notification.invoice_id
    named = notification.original_transaction_id or notification.transaction_id
    if notification.invoice_ref or not named or arrived.kind is NotificationKind.CHECK:
        return None
    return await attempt_store.invoice_of(tx, arrived.shop.provider, arrived.shop.shop, named)


def _judge_one(
    changes: Changes, known: Known | None, arrived: Arrived, stopped: Mapping[str, Switch], now: datetime
) -> tuple[Judged, Envelope | None]:
    notification = arrived.notification
    if notification is None:
        return Judged("unreadable", _answer_to_unreadable(arrived.kind), arrived.unreadable), None
    if arrived.kind in _NOTED:
        return Judged("noted"), None
    if arrived.kind is NotificationKind.CHECK:
        return _check(changes, known, arrived.shop, notification, stopped, now)
    if known is None:
        # Answered so that it comes again: the invoice's event may be on its way. The bytes are kept each time.
        return Judged("orphan", CheckAnswer.BAD_INVOICE, "no such invoice is known"), None
    return _money(changes, known, arrived.shop, notification, str(arrived.id), now)


def _foreign(arrived: Arrived, about: Known) -> Judged:
    """Refuse what a shop says of an invoice that is not paid there: only its own are its business."""
    invoice_id = about.invoice.invoice_id
    log.warning("a shop told of an invoice that is not paid there", shop=arrived.shop.shop, invoice_id=str(invoice_id))
    return Judged("foreign", CheckAnswer.BAD_INVOICE, "the invoice is paid at another shop", invoice_id)


def _answer_to_unreadable(kind: NotificationKind) -> CheckAnswer:
    """Refuse what cannot be read when money hangs on it, as an orphan is refused, so that the provider tells again."""
    if kind is NotificationKind.CHECK:
        return CheckAnswer.NOT_ACCEPTED
    return CheckAnswer.BAD_INVOICE if kind in _MONEY_MOVED else CheckAnswer.OK


def _check(
    changes: Changes,
    known: Known | None,
    shop: Shop,
    notification: Notification,
    stopped: Mapping[str, Switch],
    now: datetime,
) -> tuple[Judged, Envelope | None]:
    others = frozenset(
        item.status
        for item in (known.attempts.values() if known else ())
        if item.transaction_id != notification.transaction_id
    )
    answer, reason = check(known.invoice if known else None, notification, others, now), None
    names = payment_switches(shop.provider, known.invoice.kind) if known else ()
    switch = next((stopped[name] for name in names if name in stopped), None)
    if switch is not None and answer is CheckAnswer.OK:
        # The page was opened before: nothing is charged yet, and nothing is until the switch is turned back.
        answer, reason = CheckAnswer.NOT_ACCEPTED, f"stopped: {switch.reason}"[:_REASON_MAX]
    metrics.CHECKS.labels(answer.value).inc()
    if known is None:
        return Judged("checked", answer), None
    invoice = known.invoice
    if answer is not CheckAnswer.OK or notification.transaction_id is None:
        return Judged("checked", answer, reason, invoice.invoice_id), None
    said = Statement(
        notification.transaction_id, AttemptStatus.PENDING, invoice.amount, payment_id=notification.payment_id
    )
    heard, report = note(changes, known, shop, said, "check", now)
    report_id = report.id if report else None
    return Judged("checked", answer, None, invoice.invoice_id, heard.attempt.payment_id, report_id), report


def _money(
    changes: Changes, known: Known, shop: Shop, notification: Notification, source: str, now: datetime
) -> tuple[Judged, Envelope | None]:
    invoice = known.invoice
    transaction_id, status = notification.transaction_id, notification.status
    amount = money_of(notification, invoice.amount.currency)
    if amount is None and notification.kind is NotificationKind.CANCEL and notification.amount is None:
        amount = invoice.amount
    if transaction_id is None or status is None or amount is None:
        reason = "the amount or the transaction is not one"
        return Judged("unreadable", _answer_to_unreadable(notification.kind), reason, invoice.invoice_id), None
    said = _statement(notification, Statement(transaction_id, status, amount))
    if amount != invoice.amount and status in (AttemptStatus.SUCCEEDED, AttemptStatus.AUTHORIZED):
        metrics.AMOUNT_MISMATCHES.labels(shop.shop).inc()
        log.warning("a payment differs from its invoice", invoice_id=str(invoice.invoice_id), amount=str(amount))
    heard, report = note(changes, known, shop, said, source, now)
    verdict = "noted" if status is AttemptStatus.PENDING else "accepted" if heard.news else "duplicate"
    report_id = report.id if report else None
    return Judged(verdict, CheckAnswer.OK, None, invoice.invoice_id, heard.attempt.payment_id, report_id), report


async def _refund(
    context: Context,
    tx: AsyncConnection,
    shop: Shop,
    known: Known,
    notification: Notification,
    source: str,
    now: datetime,
) -> Judged:
    heard = await hear_refund(context, tx, shop, known.invoice, notification, source, now)
    answer = _answer_to_unreadable(notification.kind) if heard.verdict == "unreadable" else CheckAnswer.OK
    return Judged(heard.verdict, answer, heard.reason, known.invoice.invoice_id, heard.payment_id, heard.report_id)


def _statement(notification: Notification, bare: Statement) -> Statement:
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
