"""What is told to the updater: statements about payments and refunds, in the commit in which they were heard."""

from datetime import datetime, timedelta
from typing import cast
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.contracts.commands import PaymentReport, PaymentStatus, PayoutReport, RefundReport
from copeck.contracts.envelope import Envelope
from copeck.kernel.money import Money
from payments_gateway.domain import hearing
from payments_gateway.domain.hearing import Heard, Known, Statement
from payments_gateway.domain.models import Attempt, Operation
from payments_gateway.domain.provider import AttemptStatus, Shop
from payments_gateway.handlers.context import SOURCE, Context
from payments_gateway.store import hearing as hearing_store
from payments_gateway.store.hearing import Changes

ACTOR = "service:gateway"


async def hear(
    context: Context, tx: AsyncConnection, shop: Shop, invoice_id: UUID, said: Statement, source: str, now: datetime
) -> bool:
    """Take one statement in, in the caller's transaction; tell whether it was news."""
    known = (await hearing_store.load(tx, [invoice_id])).get(invoice_id)
    if known is None:
        return False
    changes = Changes()
    heard, report = note(changes, known, shop, said, source, now)
    await hearing_store.write(tx, changes, now, asked_at(context, now))
    if report is not None:
        await context.outbox.add(tx, report)
    return heard.news


def note(
    changes: Changes, known: Known, shop: Shop, said: Statement, source: str, now: datetime
) -> tuple[Heard, Envelope | None]:
    """Take one statement in, in memory: what has to be written is added to `changes`, the report is returned."""
    heard = hearing.hear(known, shop, said, now)
    if heard.bound:
        changes.bound.append(heard.attempt)
    if heard.open:
        changes.opened.add(heard.attempt.payment_id)
    if heard.bound or heard.news:
        changes.touched[heard.attempt.payment_id] = heard.attempt
    if heard.news and said.status in hearing.STATEMENTS:
        changes.learned.append(
            {
                "provider": shop.provider,
                "shop": shop.shop,
                "transaction_id": said.transaction_id,
                "kind": said.status.value,
                "source": source,
            }
        )
    if not heard.report:
        return heard, None
    return heard, payment_report(heard.attempt, said.status, said.amount, said, known.invoice.correlation_id)


def asked_at(context: Context, now: datetime) -> datetime:
    """Return when the janitor asks about an attempt that begins now."""
    return now + timedelta(seconds=context.settings.attempt_asked_after_s)


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


def payout_report(
    operation: Operation,
    status: str,
    *,
    transaction_id: str | None = None,
    failure_code: str = "",
    failure_reason: str = "",
) -> Envelope:
    """Word how a payout's try goes as a command to the updater; the attempt says which try is spoken of."""
    data = PayoutReport.model_validate(
        {
            "account": operation.account,
            "payout_id": operation.payout_id,
            "actor": ACTOR,
            "attempt": operation.payout_attempt,
            "status": status,
            "transaction": transaction_id or "",
            "failure_code": failure_code[:500],
            "failure_reason": failure_reason[:500],
        }
    )
    return Envelope.new(data, source=SOURCE, correlation_id=operation.correlation_id, cause_id=operation.cause_id)
