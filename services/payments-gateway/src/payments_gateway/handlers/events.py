"""What the updater tells: invoices are projected, and its instructions become provider operations."""

from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.contracts import events
from copeck.contracts.envelope import Envelope
from copeck.observability.logs import get_logger
from copeck.observability.metrics import Counter
from payments_gateway.domain.instructions import hold_operation, payout_key, payout_operation, refund_operation
from payments_gateway.domain.models import OperationKind, OperationStatus
from payments_gateway.handlers.context import Context
from payments_gateway.handlers.group import GroupCommit
from payments_gateway.store import invoices as invoice_store
from payments_gateway.store import operations as operation_store
from payments_gateway.store import refusals as refusal_store

log = get_logger(__name__)

REFUSED = Counter("copeck_gateway_commands_refused_total", "Our commands that the updater refused.", ["type", "code"])

# Long enough for the task sent after the commit to run first; the janitor needs to find only what got lost.
JANITOR_AFTER = timedelta(seconds=15)

# Invoices that may be paid without a page, as soon as they are issued.
_CHARGED = frozenset({"topup"})

_INSTRUCTIONS: dict[str, OperationKind] = {
    events.InvoiceCaptureRequested.TYPE: OperationKind.CONFIRM,
    events.InvoiceVoidRequested.TYPE: OperationKind.VOID,
}


class Events:
    """Applies events; those that only change the projection share commits with those of payouts."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._group: GroupCommit[Envelope, None] = GroupCommit("events", self._apply)

    async def handle(self, envelope: Envelope) -> None:
        """Apply one event; what it asks for is a row before this returns, and a task after that."""
        data = envelope.data
        if isinstance(data, events.CommandRefused):
            REFUSED.labels(data.command_type, data.code).inc()
            log.info("a command was refused", command=data.command_type, code=data.code, aggregate=data.aggregate)
            async with self._context.database.transaction() as tx:
                await refusal_store.note(tx, data)
        elif isinstance(data, events.RefundRequested) or envelope.type in _INSTRUCTIONS:
            await handle(self._context, envelope)
        elif isinstance(data, events.InvoiceEvent | events.PayoutPending | events.PayoutProcessing):
            await self._group.submit(envelope)

    async def _apply(self, batch: list[Envelope]) -> list[None]:
        """Apply a batch in one commit, then have executed what it made due."""
        async with self._context.database.transaction() as tx:
            due = await self._project(tx, batch) + await self._take_payouts(tx, batch)
        if due:
            self._context.enqueue(due)
        return [None] * len(batch)

    async def _project(self, tx: AsyncConnection, batch: list[Envelope]) -> list[UUID]:
        """Project invoices; returns charges that may begin. Versions tell a repeat from news, so no inbox is needed."""
        told = [(item.data, item.correlation_id) for item in batch if isinstance(item.data, events.InvoiceEvent)]
        if not told:
            return []
        await invoice_store.project(tx, told, self._context.clock.now())
        issued = (data for data, _ in told if isinstance(data, events.InvoiceIssued))
        topups = [data.invoice_id for data in issued if data.kind in _CHARGED]
        return await operation_store.ready_charges(tx, topups) if topups else []

    async def _take_payouts(self, tx: AsyncConnection, batch: list[Envelope]) -> list[UUID]:
        """Make operations of new payouts; returns them, and those that the updater says are under way."""
        now = self._context.clock.now()
        due: list[UUID] = []
        pending = [item for item in batch if isinstance(item.data, events.PayoutPending)]
        if pending:
            first = await self._context.inbox.first_times(tx, pending)
            new = [
                payout_operation(item.data, now, cause_id=item.id, correlation_id=item.correlation_id)
                for item in pending
                if item.id in first and isinstance(item.data, events.PayoutPending)
            ]
            wanted = [item for item in new if item.provider in self._context.providers]
            due = await operation_store.add_many(tx, wanted, now + JANITOR_AFTER)
        begun = [item.data for item in batch if isinstance(item.data, events.PayoutProcessing)]
        keys = [payout_key(data.payout_id, data.attempt) for data in begun if not data.outcome_unknown]
        return due + (await operation_store.ready_by_key(tx, keys) if keys else [])


async def handle(context: Context, envelope: Envelope) -> None:
    """Apply one event by itself: inbox, projection and operation in one commit, then send the operation's task."""
    data = envelope.data
    if not isinstance(data, events.InvoiceEvent | events.RefundRequested):
        return
    operation_id: UUID | None = None
    now = context.clock.now()
    async with context.database.transaction() as tx:
        if not await context.inbox.first_time(tx, envelope):
            return
        if isinstance(data, events.RefundRequested):
            operation_id = await _refund(context, tx, envelope, data, now)
        else:
            await invoice_store.project(tx, [(data, envelope.correlation_id)], now)
            kind = _INSTRUCTIONS.get(envelope.type)
            if kind is not None:
                operation_id = await _on_payment(context, tx, envelope, data, kind, now)
    if operation_id is not None:
        context.enqueue([operation_id])


async def _refund(
    context: Context, tx: AsyncConnection, envelope: Envelope, data: events.RefundRequested, now: datetime
) -> UUID | None:
    if data.provider not in context.providers:
        # Money paid from a wallet goes back inside the books: nothing is asked of a provider.
        return None
    operation = refund_operation(data, now, cause_id=envelope.id, correlation_id=envelope.correlation_id)
    return operation.id if await operation_store.add(tx, operation, now + JANITOR_AFTER) else None


async def _on_payment(
    context: Context,
    tx: AsyncConnection,
    envelope: Envelope,
    data: events.InvoiceEvent,
    kind: OperationKind,
    now: datetime,
) -> UUID | None:
    if data.provider not in context.providers:
        return None
    operation = hold_operation(data, kind, now, cause_id=envelope.id, correlation_id=envelope.correlation_id)
    operation = replace(operation, idempotency_key=await _key(tx, envelope, operation.idempotency_key))
    return operation.id if await operation_store.add(tx, operation, now + JANITOR_AFTER) else None


async def _key(tx: AsyncConnection, envelope: Envelope, first: str) -> str:
    """Return the key of an instruction: one for all its copies, another for one given anew after a refusal.

    A provider answers a known key with what it said before, so that a second try under the first key is none.
    """
    known = await operation_store.by_key(tx, first, lock=True)
    again = known is not None and known.status is OperationStatus.FAILED
    return f"{first}:{envelope.id}" if again else first
