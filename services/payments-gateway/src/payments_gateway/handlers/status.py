"""Asking a provider about attempts that stayed open: how a callback that never came is made up for."""

from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.observability.logs import get_logger
from payments_gateway.domain.attempts import FINISHED
from payments_gateway.domain.hearing import Statement
from payments_gateway.domain.invoices import Invoice
from payments_gateway.domain.merchant_shops import takes
from payments_gateway.domain.models import Attempt, Operation, OperationStatus
from payments_gateway.domain.operations import backoff_s
from payments_gateway.domain.provider import AttemptStatus, Findings, Provider, Shop, Transaction
from payments_gateway.handlers import catch_up, metrics
from payments_gateway.handlers.context import Context
from payments_gateway.handlers.merchant_shops import find_shop
from payments_gateway.handlers.refunds import settle_refund
from payments_gateway.handlers.reports import hear, payment_report
from payments_gateway.handlers.words import masked_method
from payments_gateway.store import attempts as attempt_store
from payments_gateway.store import invoices as invoice_store
from payments_gateway.store import operations as operation_store

log = get_logger(__name__)


async def query_attempt(context: Context, operation: Operation, token: UUID) -> str:
    """Ask about one attempt and take in what is said; come back later while it stays open."""
    provider = context.providers.get(operation.provider)
    shop = await find_shop(context, operation.provider, operation.shop)
    async with context.database.reading() as tx:
        attempt = await attempt_store.get(tx, operation.payment_id) if operation.payment_id else None
        invoice = await invoice_store.get(tx, operation.of_invoice)
    if attempt is None or invoice is None or provider is None or shop is None or attempt.status in FINISHED:
        return await _end(context, operation, token, [], again=False)
    if attempt.status is AttemptStatus.AUTHORIZED:
        await catch_up.hold(context, attempt)
    findings = await _ask(provider, shop, attempt)
    for found in findings:
        metrics.PROVIDER_SECONDS.labels(provider.code, found.exchange.path, "asked").observe(
            found.exchange.duration_ms / 1000
        )
    now = context.clock.now()
    async with context.database.transaction() as tx:
        for transaction in (item for found in findings for item in found.transactions):
            await take_in(context, tx, shop, invoice, transaction, "janitor", now)
        known = await attempt_store.get(tx, attempt.payment_id, lock=True)
        if known is not None and _abandoned(context, known, invoice, findings, now):
            known = await _abandon(context, tx, known, invoice, now)
        still_open = known is not None and known.status not in FINISHED
    context.poke_relay()
    return await _end(context, operation, token, findings, again=still_open)


async def _ask(provider: Provider, shop: Shop, attempt: Attempt) -> list[Findings]:
    if attempt.transaction_id is not None:
        return [await provider.client.get(shop, transaction_id=attempt.transaction_id)]
    found = [await provider.client.find(shop, invoice_id=attempt.invoice_id)]
    refund = next((item for item in found[0].transactions if item.is_refund and item.original_transaction_id), None)
    if refund is not None and refund.original_transaction_id:
        # The last operation is a refund: the payment stands behind it.
        found.append(await provider.client.get(shop, transaction_id=refund.original_transaction_id))
    return found


async def take_in(
    context: Context,
    tx: AsyncConnection,
    shop: Shop,
    invoice: Invoice,
    transaction: Transaction,
    source: str,
    now: datetime,
) -> bool:
    """Take one transaction in as the provider shows it; tell whether it was news."""
    if transaction.amount is None or transaction.amount.minor <= 0 or transaction.invoice_id != invoice.invoice_id:
        return False
    if not takes(shop, invoice):
        log.warning("a shop lists a payment of an invoice that is not paid there", shop=shop.shop)
        return False
    if transaction.is_refund:
        if transaction.status is not AttemptStatus.SUCCEEDED:
            return False
        settled = await settle_refund(
            context,
            tx,
            shop,
            invoice,
            refund_transaction=transaction.transaction_id,
            payment_transaction=transaction.original_transaction_id or "",
            amount=transaction.amount,
            refund_id=transaction.refund_id,
            source=source,
            now=now,
        )
        return settled.report_id is not None
    return await hear(context, tx, shop, invoice.invoice_id, _statement(transaction), source, now)


def _statement(transaction: Transaction) -> Statement:
    failed = transaction.status is AttemptStatus.FAILED
    code = f" ({transaction.reason_code})" if transaction.reason_code else ""
    amount = transaction.amount
    if amount is None:
        raise ValueError("a transaction without an amount says nothing")
    return Statement(
        transaction_id=transaction.transaction_id,
        status=transaction.status,
        amount=amount,
        payment_id=transaction.payment_id,
        method=masked_method(transaction.method, transaction.card_type, transaction.card_last_four),
        failure_code=str(transaction.failure or "declined") if failed else "",
        failure_reason=f"{transaction.reason or ''}{code}".strip() if failed else "",
        decline=transaction.decline.value if failed and transaction.decline else None,
    )


def _abandoned(context: Context, attempt: Attempt, invoice: Invoice, findings: list[Findings], now: datetime) -> bool:
    """An attempt that the provider never heard of, for an invoice that takes no money any more, ends."""
    age = now - attempt.created_at
    return (
        attempt.transaction_id is None
        and attempt.status in (AttemptStatus.CREATED, AttemptStatus.PENDING, AttemptStatus.UNKNOWN)
        and not invoice.payable_at(now)
        and age >= timedelta(seconds=context.settings.attempt_abandoned_after_s)
        and all(found.known for found in findings)
    )


async def _abandon(context: Context, tx: AsyncConnection, attempt: Attempt, invoice: Invoice, now: datetime) -> Attempt:
    ended = replace(attempt, status=AttemptStatus.CANCELED)
    await attempt_store.update(tx, ended, now)
    report = payment_report(ended, AttemptStatus.CANCELED, attempt.amount, correlation_id=invoice.correlation_id)
    await context.outbox.add(tx, report)
    return ended


async def _end(context: Context, operation: Operation, token: UUID, findings: list[Findings], *, again: bool) -> str:
    now = context.clock.now()
    settings = context.settings
    base_s = float(settings.attempt_asked_after_s)
    delay_s = backoff_s(operation.attempts + 1, base_s, max(base_s, settings.operation_retry_cap_s))
    next_at = now + timedelta(seconds=delay_s)
    status = OperationStatus.PENDING if again else OperationStatus.SUCCEEDED
    async with context.database.transaction() as tx:
        exchanges = [found.exchange for found in findings]
        await operation_store.note_requests(tx, exchanges, operation, now, with_key=False)
        ours = await operation_store.write(tx, operation.id, token, now, status=status, next_at=next_at)
        if ours and again:
            await operation_store.schedule(tx, operation.id, next_at)
    metrics.OPERATIONS.labels(operation.kind.value, status.value).inc()
    return status.value
