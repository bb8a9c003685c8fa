"""Making up for instructions whose events never reached us: what the updater's views say is owed becomes operations.

An event can be lost to this service alone: dead-lettered, or purged with its queue. Operations are never deleted, so
that what was compared once needs no second look; how far it was compared is kept beside how far the providers' lists
were.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.contracts import events
from copeck.observability.logs import get_logger
from payments_gateway.domain.instructions import attempt_operation, payout_operation, refund_operation
from payments_gateway.domain.models import Attempt, Operation, OperationKind
from payments_gateway.handlers import metrics
from payments_gateway.handlers.context import Context
from payments_gateway.store import catch_up as catch_up_store
from payments_gateway.store import operations as operation_store
from payments_gateway.store import reconciled as reconciled_store
from payments_gateway.store.catch_up import HoldInstruction, Tried

log = get_logger(__name__)

BATCH = 200
BATCHES_MAX = 25
# What is older than this has to be looked at by a person.
OLDEST = timedelta(days=7)
# A commit may become visible after one with a later moment: so much is compared again every time, ...
OVERLAP = timedelta(seconds=30)
# ... and so much by the sweep.
SWEPT = timedelta(hours=1)
_JANITOR_AFTER = timedelta(seconds=15)
# The columns of `reconciled` that name what was compared; no provider has this name.
_NAME = "catch-up"

Read = Callable[[AsyncConnection, datetime, datetime, list[str], int], Awaitable[list[dict[str, Any]]]]


async def run(context: Context, *, overlap: timedelta = OVERLAP) -> int:
    """Compare payouts and refunds with operations, from where the last run got to; returns how many were missing."""
    found = await _kind(context, OperationKind.PAYOUT, catch_up_store.payouts, _payout, overlap)
    return found + await _kind(context, OperationKind.REFUND, catch_up_store.refunds, _refund, overlap)


async def _kind(
    context: Context,
    kind: OperationKind,
    read: Read,
    make: Callable[[dict[str, Any], datetime], Operation],
    overlap: timedelta,
) -> int:
    now = context.clock.now()
    until = now - timedelta(seconds=context.settings.catch_up_after_s)
    providers = list(context.providers)
    found = 0
    for _ in range(BATCHES_MAX):
        async with context.database.transaction() as tx:
            reached = await reconciled_store.reached(tx, _NAME, kind.value)
            since = max(now - OLDEST, (reached or now - OLDEST) - overlap)
            missing = [make(row, now) for row in await read(tx, since, until, providers, BATCH)]
            added = await operation_store.add_many(tx, missing, now + _JANITOR_AFTER)
            if len(missing) < BATCH:
                await reconciled_store.advance(tx, _NAME, kind.value, until)
        if added:
            metrics.CAUGHT_UP.labels(kind.value).inc(len(added))
            log.warning("operations were missing: their events never came", kind=kind.value, count=len(added))
            context.enqueue(added)
        found += len(added)
        if len(missing) < BATCH:
            break
    return found


def _payout(row: dict[str, Any], now: datetime) -> Operation:
    return payout_operation(events.PayoutPending.model_validate(row), now)


def _refund(row: dict[str, Any], now: datetime) -> Operation:
    return refund_operation(events.RefundRequested.model_validate(row), now)


async def hold(context: Context, attempt: Attempt) -> UUID | None:
    """Make the capture or the void of a payment that is still held: its event never came, or the last try was refused.

    The updater's last word is what is done, and the questions about the payment, ever seldomer, are the pauses.
    """
    now = context.clock.now()
    async with context.database.transaction() as tx:
        told = await catch_up_store.hold(tx, attempt.invoice_id, attempt.payment_id)
        if told is None or told.at > now - timedelta(seconds=context.settings.catch_up_after_s):
            return None
        tried = await catch_up_store.tried_of_hold(
            tx, attempt.invoice_id, attempt.payment_id, told.kind, told.at - OVERLAP
        )
        if tried.stands:
            return None
        if tried.refused >= context.settings.operation_attempts_max:
            metrics.OPERATIONS_ALARM.labels(told.kind.value).inc()
            log.error("a hold cannot be ended: look", payment_id=str(attempt.payment_id), tries=tried.refused)
            return None
        first = f"{told.kind.value}:{attempt.payment_id}"
        operation = attempt_operation(attempt, told.kind, _key(first, told, tried), now)
        added = await operation_store.add(tx, operation, now + _JANITOR_AFTER)
    if not added:
        return None
    if tried.refused:
        log.warning("a refused operation is tried again", kind=told.kind.value, operation_id=str(operation.id))
    else:
        metrics.CAUGHT_UP.labels(told.kind.value).inc()
        log.warning(
            "an operation was missing: its event never came", kind=told.kind.value, operation_id=str(operation.id)
        )
    context.enqueue([operation.id])
    return operation.id


def _key(first: str, told: HoldInstruction, tried: Tried) -> str:
    """Return the key of a try: another after a refusal, as a provider answers a known key with what it said before."""
    if tried.begun_at is None:
        return first
    return f"{first}:{told.key}:{tried.refused}" if tried.refused else f"{first}:{told.key}"
