"""What is done again and again: stuck rows are taken up, providers are asked, partitions are kept in order."""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.observability.logs import get_logger
from copeck.storage.errors import is_transient
from payments_gateway.domain.attempts import FINISHED
from payments_gateway.domain.instructions import attempt_operation
from payments_gateway.domain.models import Attempt, OperationKind
from payments_gateway.handlers import batches, catch_up, metrics
from payments_gateway.handlers.context import Context
from payments_gateway.handlers.forged import KEPT_ROWS_MAX
from payments_gateway.handlers.merchant_shops import shops_to_compare
from payments_gateway.handlers.reconciliation import reconcile
from payments_gateway.store import attempts as attempt_store
from payments_gateway.store import callbacks as callback_store
from payments_gateway.store import operations as operation_store
from payments_gateway.store import reconciled as reconciled_store

log = get_logger(__name__)

BATCH = 200
BATCHES_MAX = 50
INBOX_KEPT_DAYS = 30
ANSWERS_KEPT = timedelta(days=7)
# What merchants' shops may take of a sweep.
MERCHANTS_SHOPS_S = 60.0
# A task that was sent and got lost is sent again after this.
RESEND_AFTER = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Tidied:
    """What one run did."""

    attempts: int
    operations: int


async def run(context: Context) -> Tidied:
    """Take up what is due: open attempts get a status query, open operations get their task again."""
    attempts = operations = 0
    for _ in range(BATCHES_MAX):
        taken = await _attempts(context)
        attempts += taken
        if taken < BATCH:
            break
    for _ in range(BATCHES_MAX):
        due = await _operations(context)
        questions = [found for found, kind in due.items() if kind is OperationKind.STATUS_QUERY]
        context.enqueue([found for found in due if found not in set(questions)])
        context.enqueue_questions(questions)
        operations += len(due)
        if len(due) < BATCH:
            break
    await catch_up.run(context)
    await batches.resume(context)
    metrics.DUE.labels("attempts").set(attempts)
    metrics.DUE.labels("operations").set(operations)
    return Tidied(attempts, operations)


async def _attempts(context: Context) -> int:
    now = context.clock.now()
    async with context.database.transaction() as tx:
        due = await attempt_store.take_due(tx, now, BATCH)
        for payment_id in due:
            attempt = await attempt_store.get(tx, payment_id)
            if attempt is None or attempt.status in FINISHED:
                continue
            await _ask(tx, attempt, now)
    return len(due)


async def _ask(tx: AsyncConnection, attempt: Attempt, now: datetime) -> None:
    """Have an attempt asked about: by its first question, or by another when that one ended before a hold was told.

    A hold is told after a failure once at most, so that there is no third. A question that is open goes on by itself.
    """
    key = f"status:{attempt.payment_id}"
    if await operation_store.add(tx, attempt_operation(attempt, OperationKind.STATUS_QUERY, key, now), now):
        return
    first = await operation_store.by_key(tx, key)
    if first is not None and first.status not in operation_store.UNFINISHED:
        await operation_store.add(tx, attempt_operation(attempt, OperationKind.STATUS_QUERY, f"{key}:again", now), now)


async def _operations(context: Context) -> dict[UUID, OperationKind]:
    now = context.clock.now()
    async with context.database.transaction() as tx:
        due = await operation_store.take_due(tx, now, BATCH)
        found = await operation_store.unfinished(tx, due) if due else {}
        await operation_store.schedule_many(tx, found, now + RESEND_AFTER)
    return found


async def sweep(context: Context) -> dict[str, int]:
    """Keep tables in order, then walk the providers' own lists for what nobody told us.

    Our own upkeep comes first: it must not depend on how many shops merchants have, nor on their providers.
    """
    await catch_up.run(context, overlap=catch_up.SWEPT)
    now = context.clock.now()
    async with context.database.transaction() as tx:
        changed = await operation_store.maintain(tx, context.settings.callbacks_kept_days, INBOX_KEPT_DAYS)
        trimmed = await callback_store.trim_forged(tx, KEPT_ROWS_MAX)
        forgotten = await context.idempotency.forget(tx, now - ANSWERS_KEPT)
    found = 0
    for shop in context.shops.all():
        found += await reconcile(context, shop)
    found += await _compare_merchants_shops(context)
    return {"found": found, "partitions": changed, "forged_trimmed": trimmed, "answers_forgotten": forgotten}


async def _compare_merchants_shops(context: Context) -> int:
    """Compare merchants' shops while there is time; who had no turn has it first the next time."""
    found = 0
    try:
        async with asyncio.timeout(MERCHANTS_SHOPS_S):
            for shop in await shops_to_compare(context):
                async with context.database.transaction() as tx:
                    await reconciled_store.note_try(tx, shop.provider, shop.shop, context.clock.now())
                try:
                    found += await reconcile(context, shop)
                except Exception as error:
                    if is_transient(error):
                        raise
                    log.exception("a merchant's shop cannot be compared", shop=shop.shop)
    except TimeoutError:
        log.warning("there was no time to compare all merchants' shops", seconds=MERCHANTS_SHOPS_S)
    return found
