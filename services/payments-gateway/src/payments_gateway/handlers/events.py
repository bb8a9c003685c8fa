"""What the updater tells: invoices are projected, and its instructions become provider operations."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.contracts import events
from copeck.contracts.envelope import Envelope
from copeck.kernel.errors import InvalidValueError
from copeck.kernel.ids import new_id
from copeck.kernel.money import Money
from copeck.observability.logs import get_logger
from copeck.observability.metrics import Counter
from payments_gateway.domain.models import Operation, OperationKind, OperationStatus
from payments_gateway.handlers.context import Context
from payments_gateway.handlers.group import GroupCommit
from payments_gateway.store import invoices as invoice_store
from payments_gateway.store import operations as operation_store

log = get_logger(__name__)

REFUSED = Counter("copeck_gateway_commands_refused_total", "Our commands that the updater refused.", ["type", "code"])

# Long enough for the task sent after the commit to run first; the janitor needs to find only what got lost.
JANITOR_AFTER = timedelta(seconds=15)

_INSTRUCTIONS: dict[str, OperationKind] = {
    events.InvoiceCaptureRequested.TYPE: OperationKind.CONFIRM,
    events.InvoiceVoidRequested.TYPE: OperationKind.VOID,
}


class Events:
    """Applies events; those that only change the projection share commits."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._group: GroupCommit[Envelope, None] = GroupCommit("projection", self._project)

    async def handle(self, envelope: Envelope) -> None:
        """Apply one event; what it asks for is a row before this returns, and a task after that."""
        data = envelope.data
        if isinstance(data, events.CommandRefused):
            REFUSED.labels(data.command_type, data.code).inc()
            log.info("a command was refused", command=data.command_type, code=data.code, aggregate=data.aggregate)
        elif isinstance(data, events.RefundRequested) or envelope.type in _INSTRUCTIONS:
            await handle(self._context, envelope)
        elif isinstance(data, events.InvoiceEvent):
            await self._group.submit(envelope)

    async def _project(self, batch: list[Envelope]) -> list[None]:
        """Project a batch. The version tells a repeat from news, so no inbox is needed here."""
        told = [(item.data, item.correlation_id) for item in batch if isinstance(item.data, events.InvoiceEvent)]
        async with self._context.database.transaction() as tx:
            await invoice_store.project(tx, told, self._context.clock.now())
        return [None] * len(batch)


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
    operation = Operation(
        id=new_id(),
        kind=OperationKind.REFUND,
        invoice_id=data.invoice_id,
        payment_id=data.payment_id,
        refund_id=data.refund_id,
        account=data.account,
        provider=data.provider,
        shop=data.shop,
        transaction_id=_needed(data.transaction, "transaction"),
        amount=Money(data.amount_minor, data.currency),
        idempotency_key=f"refund:{data.refund_id}",
        status=OperationStatus.READY,
        next_at=now,
        created_at=now,
        cause_id=envelope.id,
        correlation_id=envelope.correlation_id,
    )
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
    transaction = _needed(data.transaction, "transaction")
    operation = Operation(
        id=new_id(),
        kind=kind,
        invoice_id=data.invoice_id,
        payment_id=data.payment_id,
        account=data.account,
        provider=data.provider,
        shop=data.shop,
        transaction_id=transaction,
        amount=Money(data.amount_minor, data.currency),
        idempotency_key=await _key(tx, envelope, f"{kind.value}:{data.payment_id or transaction}"),
        status=OperationStatus.READY,
        next_at=now,
        created_at=now,
        cause_id=envelope.id,
        correlation_id=envelope.correlation_id,
    )
    return operation.id if await operation_store.add(tx, operation, now + JANITOR_AFTER) else None


async def _key(tx: AsyncConnection, envelope: Envelope, first: str) -> str:
    """Return the key of an instruction: one for all its copies, another for one given anew after a refusal.

    A provider answers a known key with what it said before, so that a second try under the first key is none.
    """
    known = await operation_store.by_key(tx, first, lock=True)
    again = known is not None and known.status is OperationStatus.FAILED
    return f"{first}:{envelope.id}" if again else first


def _needed(value: str, field: str) -> str:
    if not value:
        raise InvalidValueError(f"the instruction names no {field}", field)
    return value
