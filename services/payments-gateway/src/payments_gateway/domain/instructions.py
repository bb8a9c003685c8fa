"""What the updater asks for, as operations: from its events, or from its views when an event never came. Pure."""

from datetime import datetime
from uuid import UUID

from copeck.contracts import events
from copeck.kernel.errors import InvalidValueError
from copeck.kernel.ids import new_id
from copeck.kernel.money import Money
from payments_gateway.domain.models import Attempt, Operation, OperationKind, OperationStatus


def payout_key(payout_id: UUID, attempt: int) -> str:
    """Return the key of a try of a payout: fixed before the first call, and never another (I-08)."""
    return f"payout:{payout_id}:{attempt}"


def payout_operation(
    owed: events.PayoutEvent, now: datetime, *, cause_id: UUID | None = None, correlation_id: str | None = None
) -> Operation:
    """Make the operation that sends a payout."""
    return Operation(
        id=new_id(),
        kind=OperationKind.PAYOUT,
        invoice_id=None,
        payout_id=owed.payout_id,
        payout_attempt=owed.attempt,
        account=owed.account,
        provider=owed.provider,
        shop=owed.shop,
        amount=Money(owed.amount_minor, owed.currency),
        idempotency_key=payout_key(owed.payout_id, owed.attempt),
        status=OperationStatus.READY,
        next_at=now,
        created_at=now,
        cause_id=cause_id,
        correlation_id=correlation_id,
    )


def refund_operation(
    owed: events.RefundEvent, now: datetime, *, cause_id: UUID | None = None, correlation_id: str | None = None
) -> Operation:
    """Make the operation that gives money back."""
    return Operation(
        id=new_id(),
        kind=OperationKind.REFUND,
        invoice_id=owed.invoice_id,
        payment_id=owed.payment_id,
        refund_id=owed.refund_id,
        account=owed.account,
        provider=owed.provider,
        shop=owed.shop,
        transaction_id=_transaction(owed),
        amount=Money(owed.amount_minor, owed.currency),
        idempotency_key=f"refund:{owed.refund_id}",
        status=OperationStatus.READY,
        next_at=now,
        created_at=now,
        cause_id=cause_id,
        correlation_id=correlation_id,
    )


def attempt_operation(attempt: Attempt, kind: OperationKind, idempotency_key: str, now: datetime) -> Operation:
    """Make an operation on an attempt that nobody asked for: a question about it, or the end of its hold."""
    return Operation(
        id=new_id(),
        kind=kind,
        invoice_id=attempt.invoice_id,
        payment_id=attempt.payment_id,
        account=attempt.account,
        provider=attempt.provider,
        shop=attempt.shop,
        transaction_id=attempt.transaction_id,
        amount=attempt.amount,
        idempotency_key=idempotency_key,
        status=OperationStatus.READY,
        next_at=now,
        created_at=now,
    )


def hold_operation(
    owed: events.InvoiceEvent,
    kind: OperationKind,
    now: datetime,
    *,
    cause_id: UUID | None = None,
    correlation_id: str | None = None,
) -> Operation:
    """Make the operation that takes held money, or lets it go."""
    transaction = _transaction(owed)
    return Operation(
        id=new_id(),
        kind=kind,
        invoice_id=owed.invoice_id,
        payment_id=owed.payment_id,
        account=owed.account,
        provider=owed.provider,
        shop=owed.shop,
        transaction_id=transaction,
        amount=Money(owed.amount_minor, owed.currency),
        idempotency_key=f"{kind.value}:{owed.payment_id or transaction}",
        status=OperationStatus.READY,
        next_at=now,
        created_at=now,
        cause_id=cause_id,
        correlation_id=correlation_id,
    )


def _transaction(owed: events.InvoiceEvent | events.RefundEvent) -> str:
    if not owed.transaction:
        raise InvalidValueError("the instruction names no transaction", "transaction")
    return owed.transaction
