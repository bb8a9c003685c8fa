"""Executing provider operations: lease the row, call without holding a lock, write the outcome if the lease is ours.

Two commits around one call. Between them nobody knows whether the call was made, and the row says so: `calling`. A
worker that dies there leaves a lease that ends by itself; who takes the row up then asks before it acts (I-08).

`taking` decides which rows may be worked on now, `talking` speaks to the provider, `writing` keeps what came of it.
"""

import asyncio
import time
from collections.abc import Sequence
from uuid import UUID

from copeck.messaging.celery import SOFT_TIME_LIMIT_S
from copeck.observability.logs import get_logger
from payments_gateway.domain.models import Operation, OperationKind
from payments_gateway.handlers.context import Context
from payments_gateway.handlers.operations.taking import Taken, take
from payments_gateway.handlers.operations.talking import Talk, converse
from payments_gateway.handlers.operations.writing import write
from payments_gateway.handlers.status import query_attempt

log = get_logger(__name__)

GROUP_MAX = 20
"""So many operations may share a task."""
CONCURRENCY = 8
# Ends before Celery's soft limit does, so that a slow provider is an outcome and not an interruption.
TASK_TIMEOUT_S = SOFT_TIME_LIMIT_S - 3
# What it takes to write the outcomes of a group.
_WRITING_S = 2.0


async def execute(context: Context, operation_id: UUID) -> str:
    """Run one try of an operation; return where it ended, or why it was left alone."""
    return (await execute_many(context, [operation_id]))[operation_id]


async def execute_many(context: Context, operation_ids: Sequence[UUID]) -> dict[UUID, str]:
    """Run one try of each operation, some at the same time; return where each ended, or why it was left alone.

    Only as many rows are leased as are called at once. What there is no time for is sent on as another task.
    """
    begun = time.monotonic()
    until = begun + TASK_TIMEOUT_S - _WRITING_S
    ended: dict[UUID, str] = {}
    left = list(dict.fromkeys(operation_ids))
    while left:
        if ended and time.monotonic() - begun > TASK_TIMEOUT_S - context.settings.operation_timeout_s:
            context.enqueue(left)
            return ended | dict.fromkeys(left, "sent on")
        taken = await take(context, left, CONCURRENCY)
        ended |= taken.ended
        results = await asyncio.gather(
            *(_run(context, taken, operation, until) for operation in taken.leased), return_exceptions=True
        )
        failure: BaseException | None = None
        for operation, result in zip(taken.leased, results, strict=True):
            if isinstance(result, BaseException):
                log.error("a try of an operation broke off", operation_id=str(operation.id), exc_info=result)
                failure = result
            ended[operation.id] = "error" if isinstance(result, BaseException) else result
        if failure is not None:
            # The lease of what broke off ends by itself; its neighbours are written already.
            raise failure
        left = [operation_id for operation_id in left if operation_id not in ended]
    return ended


async def _run(context: Context, taken: Taken, operation: Operation, until: float) -> str:
    if operation.kind is OperationKind.STATUS_QUERY:
        return await query_attempt(context, operation, taken.token)
    recipient = taken.recipients.get(operation.payout_id) if operation.payout_id else None
    talk = Talk(recipient=recipient, until=until)
    outcome = await converse(context, operation, talk, may_call=operation.id not in taken.only_asks)
    return await write(context, operation, taken.token, outcome, talk)
