"""Payments without a page: an attempt and the operation that takes the money are rows of the caller's commit."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.kernel.ids import new_id
from payments_gateway.domain.models import Attempt, Operation, OperationKind, OperationStatus
from payments_gateway.store import attempts as attempt_store
from payments_gateway.store import operations as operation_store

# The invoice's event has it executed; the janitor needs to find only those whose event got lost.
_JANITOR_AFTER = timedelta(seconds=5)


async def start_charges(tx: AsyncConnection, wanted: Sequence[tuple[Attempt, str | None]], now: datetime) -> list[UUID]:
    """Keep attempts (each with its correlation id), and the charge of each one's amount at its provider.

    Nothing is called before an attempt's invoice is known to be payable: the event that says so has it executed. The
    attempt's id is the payment's and, at the provider, the order's. One statement a table; returns the operations' ids.
    """
    await attempt_store.add_many(tx, [(attempt, str(attempt.payment_id)) for attempt, _ in wanted])
    operations = [
        Operation(
            id=new_id(),
            kind=OperationKind.CHARGE,
            invoice_id=attempt.invoice_id,
            payment_id=attempt.payment_id,
            account=attempt.account,
            provider=attempt.provider,
            shop=attempt.shop,
            amount=attempt.amount,
            idempotency_key=f"charge:{attempt.payment_id}",
            status=OperationStatus.READY,
            next_at=now,
            created_at=now,
            correlation_id=correlation_id,
        )
        for attempt, correlation_id in wanted
    ]
    await operation_store.add_fresh(tx, operations, now + _JANITOR_AFTER)
    return [operation.id for operation in operations]
