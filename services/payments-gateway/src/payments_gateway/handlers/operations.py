"""Executing provider operations: lease the row, call without holding a lock, write the outcome if the lease is ours.

Two commits around one call. Between them nobody knows whether the call was made, and the row says so: `calling`. A
worker that dies there leaves a lease that ends by itself; who takes the row up then asks before it acts (I-08).
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.kernel.ids import new_id
from copeck.messaging.celery import HARD_TIME_LIMIT_S
from copeck.observability.logs import get_logger
from payments_gateway.domain.hearing import Statement
from payments_gateway.domain.models import Operation, OperationKind, OperationStatus
from payments_gateway.domain.operations import (
    ATTEMPTS_BEFORE_ALARM,
    SEEN_BY_PAYMENT,
    NextStep,
    Outcome,
    Seen,
    after_call,
    after_question,
    backoff_s,
    lookalikes,
    next_step,
    seen_refund,
)
from payments_gateway.domain.provider import (
    Answer,
    AttemptStatus,
    Exchange,
    Provider,
    Shop,
    Transaction,
    Verdict,
)
from payments_gateway.handlers import metrics
from payments_gateway.handlers.context import Context
from payments_gateway.handlers.refunds import REFUNDED, settle_refund
from payments_gateway.handlers.reports import hear, refund_report
from payments_gateway.handlers.status import query_attempt
from payments_gateway.store import attempts as attempt_store
from payments_gateway.store import invoices as invoice_store
from payments_gateway.store import operations as operation_store

log = get_logger(__name__)

# Longer than a task may live, so that a lease never ends while its owner still works.
LEASE = timedelta(seconds=HARD_TIME_LIMIT_S + 30)
_LIST_PAGES_MAX = 20
_CLOCK_SKEW = timedelta(minutes=5)
# A provider forgets idempotency keys after an hour: from then on the same call would be another refund.
_KEY_REMEMBERED = timedelta(hours=1) - _CLOCK_SKEW
_STATUS_AFTER: dict[OperationKind, AttemptStatus] = {
    OperationKind.VOID: AttemptStatus.CANCELED,
    OperationKind.CONFIRM: AttemptStatus.SUCCEEDED,
}


@dataclass(slots=True)
class Talk:
    """What was said to the provider during one try, and what it showed of the payment."""

    exchanges: list[Exchange] = field(default_factory=list)
    payment: Transaction | None = None


async def execute(context: Context, operation_id: UUID) -> str:
    """Run one try of an operation; return where it ended, or why it was left alone."""
    taken = await _take(context, operation_id)
    if isinstance(taken, str):
        return taken
    operation, token = taken
    if operation.kind is OperationKind.STATUS_QUERY:
        return await query_attempt(context, operation, token)
    provider = context.providers.get(operation.provider)
    shop = context.shops.get(operation.provider, operation.shop)
    if provider is None or shop is None:
        log.error("an operation's shop is not configured", operation_id=str(operation.id), shop=operation.shop)
        outcome = Outcome(operation.status, None, again=True, failure_reason="the shop is not configured")
        return await _write(context, operation, token, outcome, Talk())
    talk = Talk()
    slow = await _refunds_slowly(context, provider, operation)
    outcome = await _try(context, provider, shop, operation, talk, slow_method=slow)
    return await _write(context, operation, token, outcome, talk)


async def _take(context: Context, operation_id: UUID) -> tuple[Operation, UUID] | str:
    """Lease the row, if it is due and nobody else has it; the row is returned as it was before."""
    now = context.clock.now()
    token = new_id()
    async with context.database.transaction() as tx:
        operation = await operation_store.get(tx, operation_id, lock=True)
        if operation is None or operation.status not in operation_store.UNFINISHED:
            return "finished"
        if operation.leased_until is not None and operation.leased_until > now:
            return "leased"
        if operation.next_at > now:
            return "early"
        starts = operation.first_sent_at is None and operation.kind is not OperationKind.STATUS_QUERY
        await operation_store.lease(tx, operation.id, token, now, now + LEASE, starts=starts)
        await operation_store.schedule(tx, operation.id, now + LEASE)
    return operation, token


async def _refunds_slowly(context: Context, provider: Provider, operation: Operation) -> bool:
    if operation.kind is not OperationKind.REFUND or operation.payment_id is None:
        return False
    async with context.database.reading() as tx:
        attempt = await attempt_store.get(tx, operation.payment_id)
    return attempt is not None and provider.refunds_slowly(attempt.method)


async def _try(
    context: Context, provider: Provider, shop: Shop, operation: Operation, talk: Talk, *, slow_method: bool
) -> Outcome:
    if next_step(operation) is NextStep.CALL:
        answer = await _call(provider, shop, operation, talk)
        outcome = after_call(operation, answer, slow_method=slow_method, was_unknown=False)
        if outcome.status is OperationStatus.FAILED and operation.kind is not OperationKind.REFUND:
            # The payment itself may say why: it was captured or given up meanwhile.
            await _ask(context, provider, shop, operation, talk)
        return outcome
    seen, transaction = await _ask(context, provider, shop, operation, talk)
    if seen is not Seen.NOT_THERE:
        return after_question(operation, seen, transaction)
    if operation.status is OperationStatus.PENDING:
        return Outcome(OperationStatus.PENDING, None, again=True, transaction_id=operation.result_transaction_id)
    answer = await _call(provider, shop, operation, talk)
    if answer.verdict is not Verdict.REJECTED:
        return after_call(operation, answer, slow_method=slow_method, was_unknown=True)
    return await _refused_again(context, provider, shop, operation, talk, answer)


async def _refused_again(
    context: Context, provider: Provider, shop: Shop, operation: Operation, talk: Talk, answer: Answer
) -> Outcome:
    """Judge a refusal after an open outcome: it is believed only when nothing can be under way any more."""
    seen, transaction = await _ask(context, provider, shop, operation, talk)
    if seen is not Seen.NOT_THERE:
        return after_question(operation, seen, transaction)
    settled_at = (operation.first_sent_at or operation.created_at) + timedelta(
        seconds=context.settings.operation_settles_after_s
    )
    return after_call(operation, answer, slow_method=False, was_unknown=context.clock.now() < settled_at)


async def _call(provider: Provider, shop: Shop, operation: Operation, talk: Talk) -> Answer:
    client, key = provider.client, operation.idempotency_key
    transaction_id = operation.transaction_id or ""
    if operation.kind is OperationKind.REFUND:
        answer = await client.refund(
            shop, key=key, transaction_id=transaction_id, amount=operation.amount, refund_id=operation.refund_id
        )
    elif operation.kind is OperationKind.VOID:
        answer = await client.void(shop, key=key, transaction_id=transaction_id)
    else:
        answer = await client.confirm(shop, key=key, transaction_id=transaction_id, amount=operation.amount)
    _note(provider, talk, answer.exchange, answer.verdict.value)
    return answer


async def _ask(
    context: Context, provider: Provider, shop: Shop, operation: Operation, talk: Talk
) -> tuple[Seen, Transaction | None]:
    """Ask the provider what it knows of an operation."""
    if operation.kind is not OperationKind.REFUND:
        found = await provider.client.get(shop, transaction_id=operation.transaction_id or "")
        _note(provider, talk, found.exchange, "asked")
        talk.payment = found.transactions[0] if found.transactions else None
        if talk.payment is None:
            return Seen.CANNOT_TELL, None
        return SEEN_BY_PAYMENT.get((operation.kind, talk.payment.status), Seen.CANNOT_TELL), talk.payment
    last = await provider.client.find(shop, invoice_id=operation.invoice_id)
    _note(provider, talk, last.exchange, "asked")
    seen, transaction = seen_refund(operation, last.transactions)
    if seen is not Seen.NOT_THERE:
        return seen, transaction
    # `find` shows the last operation only; a later one may stand before ours.
    sent_at, now = operation.first_sent_at or operation.created_at, context.clock.now()
    since, until = sent_at - _CLOCK_SKEW, now + _CLOCK_SKEW
    alike = lookalikes(operation, last.transactions)
    for page in range(1, _LIST_PAGES_MAX + 1):
        listed = await provider.client.list_between(shop, since=since, until=until, page=page)
        _note(provider, talk, listed.exchange, "asked")
        if not listed.known:
            return Seen.CANNOT_TELL, None
        seen, transaction = seen_refund(operation, listed.transactions)
        if seen is not Seen.NOT_THERE:
            return seen, transaction
        alike |= lookalikes(operation, listed.transactions)
        if not listed.more:
            if now >= sent_at + _KEY_REMEMBERED and await _unclaimed(context, operation, alike):
                return Seen.CANNOT_TELL, None
            return Seen.NOT_THERE, None
    return Seen.CANNOT_TELL, None


async def _unclaimed(context: Context, operation: Operation, alike: frozenset[str]) -> bool:
    """Tell whether a refund that may be ours is nobody's yet; a second call could then give the money back twice."""
    if not alike:
        return False
    async with context.database.reading() as tx:
        refunds = await operation_store.refunds_of(tx, operation.provider, operation.shop, operation.invoice_id)
        told = [(identifier, REFUNDED) for identifier in sorted(alike)]
        heard = await attempt_store.heard(tx, operation.provider, operation.shop, told)
    left = alike - {item.result_transaction_id for item in refunds} - {identifier for identifier, _ in heard}
    if left:
        metrics.OPERATIONS_ALARM.labels(operation.kind.value).inc()
        log.error("a refund may have been made: look", operation_id=str(operation.id), transactions=sorted(left))
    return bool(left)


def _note(provider: Provider, talk: Talk, exchange: Exchange, outcome: str) -> None:
    talk.exchanges.append(exchange)
    metrics.PROVIDER_SECONDS.labels(provider.code, exchange.path, outcome).observe(exchange.duration_ms / 1000)


async def _write(context: Context, operation: Operation, token: UUID, outcome: Outcome, talk: Talk) -> str:
    """Write the outcome and its report in one commit, if the lease is still ours."""
    now = context.clock.now()
    tries = operation.attempts + 1
    delay_s = backoff_s(tries, context.settings.operation_retry_base_s, context.settings.operation_retry_cap_s)
    next_at = now + timedelta(seconds=delay_s)
    values = {
        "status": outcome.status,
        "next_at": next_at,
        "result_transaction_id": outcome.transaction_id or operation.result_transaction_id,
        "outcome": outcome.status.value,
        "failure_code": outcome.failure_code,
        "failure_reason": outcome.failure_reason[:500],
        "reported": outcome.report or operation.reported,
    }
    if outcome.status is OperationStatus.READY:
        # Nothing was sent, so that the next first try is the first one.
        values["first_sent_at"] = None
    reported = False
    async with context.database.transaction() as tx:
        ours = await operation_store.write(tx, operation.id, token, now, **values)
        for exchange in talk.exchanges:
            await operation_store.note_request(
                tx,
                exchange,
                at=now,
                provider=operation.provider,
                shop=operation.shop,
                operation_id=operation.id,
                invoice_id=operation.invoice_id,
                idempotency_key=operation.idempotency_key,
            )
        if ours:
            reported = await _report(context, tx, operation, outcome, talk, now)
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


async def _report(
    context: Context, tx: AsyncConnection, operation: Operation, outcome: Outcome, talk: Talk, now: datetime
) -> bool:
    if operation.kind is OperationKind.REFUND:
        return await _report_refund(context, tx, operation, outcome, now)
    said = _statement(operation, outcome, talk)
    shop = context.shops.get(operation.provider, operation.shop)
    if said is None or shop is None:
        if outcome.status is OperationStatus.FAILED:
            log.error("a hold could not be ended", operation_id=str(operation.id), reason=outcome.failure_reason)
        return False
    return await hear(context, tx, shop, operation.invoice_id, said, f"operation:{operation.id}", now)


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
    invoice = await invoice_store.get(tx, operation.invoice_id)
    shop = context.shops.get(operation.provider, operation.shop)
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
    """What the end of a void or of a capture says of the payment."""
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
