"""Refunds that a provider tells of: ours, recognised and finished, or made in the provider's own cabinet."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.kernel.ids import new_id
from copeck.kernel.money import Money
from payments_gateway.domain.invoices import Invoice, money_of
from payments_gateway.domain.models import Operation, OperationKind, OperationStatus
from payments_gateway.domain.provider import Notification, Shop
from payments_gateway.handlers.context import Context
from payments_gateway.handlers.reports import refund_report
from payments_gateway.store import attempts as attempt_store
from payments_gateway.store import operations as operation_store

REFUNDED = "refunded"


@dataclass(frozen=True, slots=True)
class HeardRefund:
    """What became of a refund that a provider told of."""

    verdict: str
    payment_id: UUID | None = None
    report_id: UUID | None = None
    reason: str | None = None


async def hear_refund(
    context: Context,
    tx: AsyncConnection,
    shop: Shop,
    invoice: Invoice,
    notification: Notification,
    source: str,
    now: datetime,
) -> HeardRefund:
    """Take a refund's notification in: finish our operation, or report a refund that we did not ask for."""
    amount = money_of(notification, invoice.amount.currency)
    if amount is None or notification.transaction_id is None:
        return HeardRefund("unreadable", reason="the amount or the transaction is not one")
    return await settle_refund(
        context,
        tx,
        shop,
        invoice,
        refund_transaction=notification.transaction_id,
        payment_transaction=notification.original_transaction_id or "",
        amount=amount,
        refund_id=notification.refund_id,
        source=source,
        now=now,
    )


async def settle_refund(
    context: Context,
    tx: AsyncConnection,
    shop: Shop,
    invoice: Invoice,
    *,
    refund_transaction: str,
    payment_transaction: str,
    amount: Money,
    refund_id: UUID | None,
    source: str,
    now: datetime,
) -> HeardRefund:
    """Report a finished refund once, whoever told of it first."""
    payment_id = (
        await attempt_store.bound_to(tx, shop.provider, shop.shop, payment_transaction) if payment_transaction else None
    )
    operation = await _ours(tx, shop, invoice, refund_transaction, payment_transaction, amount, refund_id)
    if not await attempt_store.learn(tx, shop.provider, shop.shop, refund_transaction, REFUNDED, source, now):
        return HeardRefund("duplicate", payment_id)
    if operation is None:
        operation = _made_elsewhere(shop, invoice, payment_transaction, amount, now)
        report = refund_report(operation, "succeeded", transaction_id=refund_transaction, refund_id=None)
    else:
        await operation_store.write(
            tx,
            operation.id,
            None,
            now,
            status=OperationStatus.SUCCEEDED,
            result_transaction_id=refund_transaction,
            outcome="succeeded",
            reported="succeeded",
            failure_code="",
            failure_reason="",
        )
        report = refund_report(operation, "succeeded", transaction_id=refund_transaction, refund_id=operation.refund_id)
    await context.outbox.add(tx, report)
    return HeardRefund("accepted", payment_id, report.id)


async def _ours(
    tx: AsyncConnection,
    shop: Shop,
    invoice: Invoice,
    refund_transaction: str,
    payment_transaction: str,
    amount: Money,
    refund_id: UUID | None,
) -> Operation | None:
    """Find the operation that made a refund: by our id, by the transaction that the answer named, else by its likeness.

    The last is needed because a notification may overtake the answer and may carry the payment's data, not ours: an
    unfinished refund of the same payment and amount is then the one that was told of.
    """
    known = await operation_store.refunds_of(tx, shop.provider, shop.shop, invoice.invoice_id)
    chosen = next((item for item in known if refund_id is not None and item.refund_id == refund_id), None)
    chosen = chosen or next((item for item in known if item.result_transaction_id == refund_transaction), None)
    if chosen is None:
        chosen = next(
            (
                item
                for item in known
                if item.status in operation_store.UNFINISHED
                and item.status is not OperationStatus.READY
                and item.result_transaction_id is None
                and item.transaction_id == payment_transaction
                and item.amount == amount
            ),
            None,
        )
    if chosen is None:
        return None
    locked = await operation_store.get(tx, chosen.id, lock=True)
    if locked is None or (locked.status is OperationStatus.SUCCEEDED and locked.result_transaction_id not in (
        None, refund_transaction
    )):  # fmt: skip
        # That refund is finished already by another transaction: this one is a further refund.
        return None
    return locked


def _made_elsewhere(shop: Shop, invoice: Invoice, payment_transaction: str, amount: Money, now: datetime) -> Operation:
    """Describe a refund that we did not ask for, in the shape of one that we did."""
    return Operation(
        id=new_id(),
        kind=OperationKind.REFUND,
        invoice_id=invoice.invoice_id,
        account=invoice.account,
        provider=shop.provider,
        shop=shop.shop,
        amount=amount,
        idempotency_key="",
        status=OperationStatus.SUCCEEDED,
        next_at=now,
        created_at=now,
        transaction_id=payment_transaction or None,
        correlation_id=invoice.correlation_id,
    )
