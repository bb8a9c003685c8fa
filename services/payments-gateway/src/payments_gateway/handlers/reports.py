"""One way for what a provider says of a payment, whoever heard it: a callback, the janitor, an operation's answer.

A statement is (transaction, status). The first time it is heard it moves our attempt and becomes a `payment.report`;
every further time it has no effect, because its key is kept for ever.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import cast
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.contracts.commands import PaymentReport, PaymentStatus, RefundReport
from copeck.contracts.envelope import Envelope
from copeck.kernel.ids import new_id
from copeck.kernel.money import Money
from payments_gateway.domain.attempts import advance
from payments_gateway.domain.invoices import Invoice
from payments_gateway.domain.models import Attempt, Operation
from payments_gateway.domain.provider import AttemptStatus, Shop
from payments_gateway.handlers.context import SOURCE, Context
from payments_gateway.store import attempts as attempt_store

ACTOR = "service:gateway"
_BIND_TRIES_MAX = 3
_STATEMENTS = frozenset(
    {AttemptStatus.AUTHORIZED, AttemptStatus.SUCCEEDED, AttemptStatus.FAILED, AttemptStatus.CANCELED}
)


@dataclass(frozen=True, slots=True)
class Statement:
    """What a provider says of one transaction of an invoice."""

    transaction_id: str
    status: AttemptStatus
    amount: Money
    payment_id: UUID | None = None
    method: str = ""
    failure_code: str = ""
    failure_reason: str = ""
    decline: str | None = None


@dataclass(frozen=True, slots=True)
class Heard:
    """What became of a statement: `news` is false when it was heard before."""

    news: bool
    payment_id: UUID | None
    report_id: UUID | None = None


async def hear(
    context: Context, tx: AsyncConnection, shop: Shop, invoice: Invoice, said: Statement, source: str, now: datetime
) -> Heard:
    """Take a statement in: fact, binding, attempt, report; all in the caller's transaction."""
    attempt = await find_or_bind(context, tx, shop, invoice, said, now)
    if said.status in _STATEMENTS:
        first = await attempt_store.learn(
            tx, shop.provider, shop.shop, said.transaction_id, said.status.value, source, now
        )
        if not first:
            return Heard(False, attempt.payment_id)
    known = advance(attempt.status, said.status)
    changed = replace(
        attempt,
        status=known,
        transaction_id=said.transaction_id,
        method=said.method or attempt.method,
        failure_code=said.failure_code if known is said.status else attempt.failure_code,
        failure_reason=said.failure_reason if known is said.status else attempt.failure_reason,
        decline=said.decline if known is said.status else attempt.decline,
    )
    if changed == attempt and said.status not in _STATEMENTS:
        return Heard(False, attempt.payment_id)
    await attempt_store.update(tx, changed, now)
    report = payment_report(changed, said.status, said.amount, said, invoice.correlation_id)
    await context.outbox.add(tx, report)
    return Heard(True, attempt.payment_id, report.id)


async def find_or_bind(
    context: Context, tx: AsyncConnection, shop: Shop, invoice: Invoice, said: Statement, now: datetime
) -> Attempt:
    """Return the attempt of a transaction, locked: the bound one, else the free one that it names, else a new one.

    A widget may try several cards under one of our attempts: the second transaction gets an attempt of its own.
    """
    for _ in range(_BIND_TRIES_MAX):
        bound = await attempt_store.bound_to(tx, shop.provider, shop.shop, said.transaction_id)
        if bound is not None:
            attempt = await attempt_store.get(tx, bound, lock=True)
            if attempt is None:
                raise LookupError(f"transaction {said.transaction_id} is bound to an attempt that is not there")
            return attempt
        named = await attempt_store.get(tx, said.payment_id, lock=True) if said.payment_id else None
        fits = named is not None and named.invoice_id == invoice.invoice_id and named.transaction_id is None
        fits = fits and named is not None and (named.provider, named.shop) == (shop.provider, shop.shop)
        attempt = named if fits and named is not None else new_attempt(shop, invoice, said.amount, now)
        if not await attempt_store.bind(tx, attempt, said.transaction_id):
            continue
        attempt = replace(attempt, transaction_id=said.transaction_id)
        if fits:
            await attempt_store.update(tx, attempt, now)
        else:
            due_at = now + timedelta(seconds=context.settings.attempt_asked_after_s)
            await attempt_store.add(tx, attempt, str(attempt.payment_id), due_at)
        return attempt
    raise LookupError(f"transaction {said.transaction_id} could not be bound")


def new_attempt(shop: Shop, invoice: Invoice, amount: Money, now: datetime) -> Attempt:
    """Make an attempt that nobody has reported yet."""
    return Attempt(
        payment_id=new_id(),
        invoice_id=invoice.invoice_id,
        account=invoice.account,
        provider=shop.provider,
        shop=shop.shop,
        amount=amount,
        status=AttemptStatus.CREATED,
        created_at=now,
    )


def payment_report(
    attempt: Attempt,
    status: AttemptStatus,
    amount: Money,
    said: Statement | None = None,
    correlation_id: str | None = None,
    cause_id: UUID | None = None,
) -> Envelope:
    """Word a statement as a command to the updater; the amount is the provider's, whatever the invoice says."""
    data = PaymentReport(
        account=attempt.account,
        invoice_id=attempt.invoice_id,
        actor=ACTOR,
        payment_id=attempt.payment_id,
        provider=attempt.provider,
        shop=attempt.shop,
        transaction=attempt.transaction_id or "",
        status=cast("PaymentStatus", status.value),
        amount_minor=amount.minor,
        currency=amount.currency,
        method=attempt.method,
        failure_code=said.failure_code if said else "",
        failure_reason=said.failure_reason if said else "",
    )
    return Envelope.new(data, source=SOURCE, correlation_id=correlation_id, cause_id=cause_id)


def refund_report(
    operation: Operation,
    status: str,
    *,
    transaction_id: str | None,
    failure_code: str = "",
    failure_reason: str = "",
    refund_id: UUID | None,
) -> Envelope:
    """Word the outcome of a refund as a command to the updater."""
    data = RefundReport.model_validate(
        {
            "account": operation.account,
            "invoice_id": operation.invoice_id,
            "actor": ACTOR,
            "refund_id": refund_id,
            "provider": operation.provider,
            "shop": operation.shop,
            "transaction": transaction_id or "",
            "payment_transaction": operation.transaction_id or "",
            "status": status,
            "amount_minor": operation.amount.minor,
            "currency": operation.amount.currency,
            "failure_code": failure_code[:500],
            "failure_reason": failure_reason[:500],
        }
    )
    return Envelope.new(data, source=SOURCE, correlation_id=operation.correlation_id, cause_id=operation.cause_id)
