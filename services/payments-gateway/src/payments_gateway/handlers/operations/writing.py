"""The end of one try: outcome, report and what was said to the provider are one commit, if the lease is still ours."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.observability.logs import get_logger
from payments_gateway.domain.hearing import Statement
from payments_gateway.domain.models import Operation, OperationKind, OperationStatus
from payments_gateway.domain.operations import ATTEMPTS_BEFORE_ALARM, Outcome, backoff_s
from payments_gateway.domain.provider import AttemptStatus
from payments_gateway.handlers import metrics
from payments_gateway.handlers.context import Context
from payments_gateway.handlers.merchant_shops import find_shop
from payments_gateway.handlers.operations.talking import Talk
from payments_gateway.handlers.refunds import settle_refund
from payments_gateway.handlers.reports import hear, payout_report, refund_report
from payments_gateway.store import attempts as attempt_store
from payments_gateway.store import invoices as invoice_store
from payments_gateway.store import operations as operation_store

log = get_logger(__name__)

_STATUS_AFTER: dict[OperationKind, AttemptStatus] = {
    OperationKind.VOID: AttemptStatus.CANCELED,
    OperationKind.CONFIRM: AttemptStatus.SUCCEEDED,
    OperationKind.CHARGE: AttemptStatus.SUCCEEDED,
}
# Our words for the end of a try, and the updater's for the same of a payout.
_OF_PAYOUT = {"succeeded": "completed", "failed": "failed", "unknown": "unknown", "pending": "processing"}


async def write(context: Context, operation: Operation, token: UUID, outcome: Outcome, talk: Talk) -> str:
    """Write the outcome and its report in one commit, if the lease is still ours; return where the try ended."""
    now = context.clock.now()
    tries = operation.attempts + 1
    delay_s = backoff_s(tries, context.settings.operation_retry_base_s, context.settings.operation_retry_cap_s)
    next_at = now + timedelta(seconds=max(delay_s, outcome.least_s))
    word = _word(operation, outcome)
    values = _values(operation, outcome, word, next_at)
    reported = False
    async with context.database.transaction() as tx:
        ours = await operation_store.write(tx, operation.id, token, now, **values)
        await operation_store.note_requests(tx, talk.exchanges, operation, now)
        if ours:
            reported = await _report(context, tx, operation, outcome, word, talk, now)
            if outcome.again:
                await operation_store.schedule(tx, operation.id, next_at)
        elif operation.kind is OperationKind.REFUND and outcome.status is OperationStatus.SUCCEEDED:
            reported = await _further_refund(context, tx, operation, outcome, now)
    if reported:
        context.poke_relay()
    status = outcome.status.value if ours else "lease lost"
    metrics.OPERATIONS.labels(operation.kind.value, status).inc()
    if outcome.again and tries >= ATTEMPTS_BEFORE_ALARM:
        metrics.OPERATIONS_ALARM.labels(operation.kind.value).inc()
        log.error("an operation stays open", operation_id=str(operation.id), kind=operation.kind, tries=tries)
    return status


def _word(operation: Operation, outcome: Outcome) -> str | None:
    if outcome.report is None or operation.kind is not OperationKind.PAYOUT:
        return outcome.report
    return _OF_PAYOUT[outcome.report]


def _values(operation: Operation, outcome: Outcome, word: str | None, next_at: datetime) -> dict[str, Any]:
    values = {
        "status": outcome.status,
        "next_at": next_at,
        "result_transaction_id": outcome.transaction_id or operation.result_transaction_id,
        "outcome": outcome.status.value,
        "failure_code": outcome.failure_code,
        "failure_reason": outcome.failure_reason[:500],
        "reported": word or operation.reported,
    }
    if outcome.status is OperationStatus.READY:
        # Nothing was sent, so that the next first try is the first one.
        values["first_sent_at"] = None
    return values


async def _report(
    context: Context,
    tx: AsyncConnection,
    operation: Operation,
    outcome: Outcome,
    word: str | None,
    talk: Talk,
    now: datetime,
) -> bool:
    if operation.kind is OperationKind.REFUND:
        return await _report_refund(context, tx, operation, outcome, now)
    if operation.kind is OperationKind.PAYOUT:
        return await _report_payout(context, tx, operation, outcome, word)
    said = _statement(operation, outcome, talk)
    shop = await find_shop(context, operation.provider, operation.shop, tx)
    if said is None or shop is None:
        if outcome.status is OperationStatus.FAILED:
            log.error("a hold could not be ended", operation_id=str(operation.id), reason=outcome.failure_reason)
        return False
    return await hear(context, tx, shop, operation.of_invoice, said, f"operation:{operation.id}", now)


async def _report_payout(
    context: Context, tx: AsyncConnection, operation: Operation, outcome: Outcome, word: str | None
) -> bool:
    # That it is under way was told before the call.
    if word is None or word in (operation.reported, "processing"):
        return False
    report = payout_report(
        operation,
        word,
        transaction_id=outcome.transaction_id,
        failure_code=outcome.failure_code,
        failure_reason=outcome.failure_reason,
    )
    await context.outbox.add(tx, report)
    return True


async def _report_refund(
    context: Context, tx: AsyncConnection, operation: Operation, outcome: Outcome, now: datetime
) -> bool:
    if outcome.report is None or outcome.report == operation.reported:
        return False
    if outcome.status is OperationStatus.SUCCEEDED and outcome.transaction_id:
        source = f"operation:{operation.id}"
        first = await attempt_store.learn(
            tx, operation.provider, operation.shop, outcome.transaction_id, "refunded", source, now
        )
        if not first:
            log.warning("a refund was told of before its answer", operation_id=str(operation.id))
    report = refund_report(
        operation,
        outcome.report,
        transaction_id=outcome.transaction_id,
        failure_code=outcome.failure_code,
        failure_reason=outcome.failure_reason,
        refund_id=operation.refund_id,
    )
    await context.outbox.add(tx, report)
    return True


async def _further_refund(
    context: Context, tx: AsyncConnection, operation: Operation, outcome: Outcome, now: datetime
) -> bool:
    """A notification finished the row while we called. If it told of another refund, ours must be booked too."""
    invoice = await invoice_store.get(tx, operation.of_invoice)
    shop = await find_shop(context, operation.provider, operation.shop, tx)
    if invoice is None or shop is None or not outcome.transaction_id:
        return False
    settled = await settle_refund(
        context,
        tx,
        shop,
        invoice,
        refund_transaction=outcome.transaction_id,
        payment_transaction=operation.transaction_id or "",
        amount=operation.amount,
        refund_id=operation.refund_id,
        source=f"operation:{operation.id}",
        now=now,
    )
    return settled.report_id is not None


def _statement(operation: Operation, outcome: Outcome, talk: Talk) -> Statement | None:
    """What the end of a void, of a capture or of a charge says of the payment."""
    if operation.kind is OperationKind.CHARGE:
        return _statement_of_charge(operation, outcome)
    if operation.transaction_id is None:
        return None
    if outcome.status is OperationStatus.SUCCEEDED:
        amount = talk.payment.amount if talk.payment and talk.payment.amount else operation.amount
        status = _STATUS_AFTER[operation.kind]
        return Statement(operation.transaction_id, status, amount, payment_id=operation.payment_id)
    if outcome.status is OperationStatus.FAILED and talk.payment is not None:
        amount = talk.payment.amount or operation.amount
        return Statement(operation.transaction_id, talk.payment.status, amount, payment_id=operation.payment_id)
    return None


def _statement_of_charge(operation: Operation, outcome: Outcome) -> Statement | None:
    if outcome.status not in (OperationStatus.SUCCEEDED, OperationStatus.FAILED):
        return None
    succeeded = outcome.status is OperationStatus.SUCCEEDED
    return Statement(
        # A charge that was refused has no transaction: its own id names it then.
        outcome.transaction_id or str(operation.payment_id),
        AttemptStatus.SUCCEEDED if succeeded else AttemptStatus.FAILED,
        operation.amount,
        payment_id=operation.payment_id,
        method=operation.provider,
        failure_code=outcome.failure_code,
        failure_reason=outcome.failure_reason,
    )
