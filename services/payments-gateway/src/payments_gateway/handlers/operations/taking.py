"""Which operations may go now: leases, stop switches, breakers, balances, and the updater's word on payouts."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.kernel.ids import new_id
from copeck.messaging.celery import HARD_TIME_LIMIT_S
from copeck.observability.logs import get_logger
from payments_gateway.domain.instructions import payout_key
from payments_gateway.domain.invoices import Invoice
from payments_gateway.domain.models import Operation, OperationKind, OperationStatus
from payments_gateway.domain.provider import AttemptStatus
from payments_gateway.domain.sending import (
    BALANCE_SHORT,
    NO_SHOP,
    SUPERSEDED,
    PayoutState,
    Start,
    put_off_s,
    sends_first,
    start_of,
)
from payments_gateway.domain.switches import DEPOSITS, PAYOUTS, provider_switch
from payments_gateway.handlers import metrics
from payments_gateway.handlers.context import Context
from payments_gateway.handlers.merchant_shops import find_shop
from payments_gateway.handlers.payout_balance import refresh
from payments_gateway.handlers.payout_comparison import settle_on
from payments_gateway.handlers.reports import payout_report
from payments_gateway.store import attempts as attempt_store
from payments_gateway.store import invoices as invoice_store
from payments_gateway.store import operations as operation_store
from payments_gateway.store import payouts_state
from payments_gateway.store import switches as switch_store
from payments_gateway.store.breaker import Looked

log = get_logger(__name__)

# Longer than a task may live, so that a lease never ends while its owner still works.
LEASE = timedelta(seconds=HARD_TIME_LIMIT_S + 30)
# The updater's answer comes as an event, which has the operation executed; this is for one that got lost.
_ANSWER_AFTER = timedelta(seconds=1)


@dataclass(slots=True)
class Taken:
    """What one look at some operations gave: those leased to us, and where the others were left."""

    token: UUID
    leased: list[Operation] = field(default_factory=list)
    ended: dict[UUID, str] = field(default_factory=dict)
    only_asks: set[UUID] = field(default_factory=set)
    recipients: dict[UUID, tuple[bytes, str]] = field(default_factory=dict)
    announced: bool = False


@dataclass(slots=True)
class Surroundings:
    """What decides beside the row itself, read before or with it."""

    looked: Looked
    stopped: dict[str, str] = field(default_factory=dict)
    payouts: dict[UUID, PayoutState] = field(default_factory=dict)
    paid: dict[UUID, Operation] = field(default_factory=dict)
    """Tries of these payouts that paid, against our word at that time: what was asked for again must not be sent."""
    invoices: dict[UUID, Invoice] = field(default_factory=dict)

    def stop_of(self, operation: Operation) -> str | None:
        """Return why a switch stops an operation."""
        names = [provider_switch(operation.provider)]
        if operation.kind is OperationKind.PAYOUT:
            names.append(PAYOUTS)
        elif operation.kind is OperationKind.CHARGE:
            names.append(DEPOSITS)
        return next((f"stopped: {self.stopped[name]}"[:500] for name in names if name in self.stopped), None)


async def take(context: Context, ids: Sequence[UUID], leases_max: int) -> Taken:
    """Look at operations, and lease those that are due and may go, as they were before; the rest of them is left.

    What there is no place for among the leases is not in the result: the caller comes again with it.
    """
    async with context.database.reading() as tx:
        spoken_to = await operation_store.shops_of(tx, ids)
    looked = await context.breaker.look(sorted({provider for provider, *_ in spoken_to}))
    payers = {
        (provider, shop, currency) for provider, shop, currency, kind in spoken_to if kind is OperationKind.PAYOUT
    }
    await refresh(context, sorted(key for key in payers if key[0] not in looked.waits_s))
    now = context.clock.now()
    taken = Taken(new_id())
    async with context.database.transaction() as tx:
        rows = {row.id: row for row in await operation_store.locked(tx, ids)}
        due = [row for row in rows.values() if _is_due(row, now, taken)]
        around = await _surroundings(tx, due, looked, now)
        unused = set(looked.probes)
        for row in due:
            if len(taken.leased) >= leases_max:
                break
            await _decide(context, tx, row, around, taken, now)
        if taken.leased:
            leased = [row.id for row in taken.leased]
            await operation_store.lease(tx, leased, taken.token, now, now + LEASE)
            await operation_store.schedule_many(tx, leased, now + LEASE)
            payouts = [row.payout_id for row in taken.leased if row.payout_id is not None]
            taken.recipients = await payouts_state.sealed_recipients(tx, payouts)
    for operation_id in ids:
        if operation_id not in rows:
            taken.ended[operation_id] = "finished"
    for provider in unused - {row.provider for row in taken.leased}:
        await context.breaker.give_back(provider)
    if taken.announced:
        context.poke_relay()
    return taken


def _is_due(row: Operation, now: datetime, taken: Taken) -> bool:
    if row.status not in operation_store.UNFINISHED:
        taken.ended[row.id] = "finished"
    elif row.leased_until is not None and row.leased_until > now:
        taken.ended[row.id] = "leased"
    elif row.next_at > now:
        taken.ended[row.id] = "early"
    return row.id not in taken.ended


async def _surroundings(tx: AsyncConnection, due: list[Operation], looked: Looked, now: datetime) -> Surroundings:
    around = Surroundings(looked)
    if not due:
        return around
    names = {provider_switch(row.provider) for row in due} | {PAYOUTS, DEPOSITS}
    around.stopped = {item.name: item.reason for item in await switch_store.stopped_of(tx, *sorted(names))}
    new = [row for row in due if sends_first(row)]
    around.payouts = await payouts_state.states(tx, [row.payout_id for row in new if row.payout_id is not None])
    around.paid = await _paid_before(tx, new)
    charged = {row.of_invoice for row in new if row.kind is OperationKind.CHARGE}
    if charged:
        around.invoices = await invoice_store.known(tx, charged, now)
    return around


async def _paid_before(tx: AsyncConnection, new: list[Operation]) -> dict[UUID, Operation]:
    again = [(row.payout_id, row.payout_attempt) for row in new if row.payout_id and (row.payout_attempt or 0) > 1]
    keys = [payout_key(payout_id, attempt) for payout_id, last in again for attempt in range(1, last or 0)]
    if not keys:
        return {}
    tries = (await operation_store.by_keys(tx, keys)).values()
    return {row.payout_id: row for row in tries if row.payout_id and row.status is OperationStatus.SUCCEEDED}


async def _decide(
    context: Context, tx: AsyncConnection, row: Operation, around: Surroundings, taken: Taken, now: datetime
) -> None:
    """Lease a row, or write why it is left alone."""
    open_s = _breaker_s(row, around.looked)
    if open_s and row.kind is not OperationKind.STATUS_QUERY:
        await _put_off(context, tx, row, taken, now, "breaker_open", open_s)
        return
    stopped = around.stop_of(row)
    if not sends_first(row):
        # Asking does no harm; what the provider knows nothing of is not sent again while it is stopped.
        if stopped:
            taken.only_asks.add(row.id)
        _lease(row, around.looked, taken)
        return
    if stopped:
        await _put_off(context, tx, row, taken, now, stopped)
    elif row.kind is OperationKind.PAYOUT:
        await _payout(context, tx, row, around, taken, now)
    elif row.kind is OperationKind.CHARGE:
        await _charge(context, tx, row, around, taken, now)
    elif await _has_shop(context, tx, row, taken, now):
        _lease(row, around.looked, taken)


async def _has_shop(context: Context, tx: AsyncConnection, row: Operation, taken: Taken, now: datetime) -> bool:
    """Tell whether a row can be sent where it is to be; if not, put it off and call for somebody."""
    if row.provider in context.providers and await find_shop(context, row.provider, row.shop, tx) is not None:
        return True
    log.error("an operation's shop is not configured", operation_id=str(row.id), shop=row.shop)
    metrics.OPERATIONS_ALARM.labels(row.kind.value).inc()
    await _put_off(context, tx, row, taken, now, NO_SHOP)
    return False


def _breaker_s(row: Operation, looked: Looked) -> float:
    return looked.waits_s.get(row.provider, 0.0)


def _lease(row: Operation, looked: Looked, taken: Taken) -> None:
    taken.leased.append(row)
    if row.provider in looked.probes:
        # One call is the probe; the others wait for what comes of it.
        looked.probes.discard(row.provider)
        looked.waits_s[row.provider] = 1.0


async def _payout(
    context: Context, tx: AsyncConnection, row: Operation, around: Surroundings, taken: Taken, now: datetime
) -> None:
    state = around.payouts.get(row.payout_id) if row.payout_id else None
    start = start_of(row, state)
    key = (row.provider, row.shop, row.amount.currency)
    if start is Start.SUPERSEDED:
        await _supersede(tx, row, f"the payout is {state.status if state else 'gone'}", now)
        taken.ended[row.id] = SUPERSEDED
    elif (paid := around.paid.get(row.payout_id) if row.payout_id else None) is not None:
        await settle_on(tx, row, paid.result_transaction_id, now)
        await context.outbox.add(tx, payout_report(row, "completed", transaction_id=paid.result_transaction_id))
        taken.ended[row.id], taken.announced = SUPERSEDED, True
    elif start is Start.WAIT:
        await operation_store.schedule(tx, row.id, now + _ANSWER_AFTER)
        taken.ended[row.id] = "waits"
    elif not await _has_shop(context, tx, row, taken, now):
        return
    elif start is Start.ANNOUNCE and context.balances.enough(key, row.amount):
        await context.outbox.add(tx, payout_report(row, "processing"))
        await operation_store.announce(tx, row.id, now + _ANSWER_AFTER)
        taken.ended[row.id], taken.announced = "announced", True
    elif start is Start.GO and context.balances.take(key, row.amount):
        _lease(row, around.looked, taken)
    else:
        await _put_off(context, tx, row, taken, now, BALANCE_SHORT)


async def _charge(
    context: Context, tx: AsyncConnection, row: Operation, around: Surroundings, taken: Taken, now: datetime
) -> None:
    invoice = around.invoices.get(row.of_invoice)
    given_up_at = row.created_at + timedelta(seconds=context.settings.deposit_expires_s)
    if invoice is None and now < given_up_at:
        await _put_off(context, tx, row, taken, now, "waits for the invoice")
    elif invoice is not None and invoice.payable_at(now):
        if await _has_shop(context, tx, row, taken, now):
            _lease(row, around.looked, taken)
    else:
        reason = "the invoice never came" if invoice is None else f"the invoice is {invoice.status}"
        await _supersede(tx, row, reason, now)
        attempt = await attempt_store.get(tx, row.payment_id, lock=True) if row.payment_id else None
        if attempt is not None:
            await attempt_store.update(tx, replace(attempt, status=AttemptStatus.CANCELED), now)
        taken.ended[row.id] = SUPERSEDED


async def _supersede(tx: AsyncConnection, row: Operation, reason: str, now: datetime) -> None:
    """End what was never sent and is not wanted any more; there is nothing to report."""
    await operation_store.write(
        tx,
        row.id,
        None,
        now,
        status=OperationStatus.FAILED,
        outcome=SUPERSEDED,
        failure_code=SUPERSEDED,
        failure_reason=reason,
    )
    metrics.OPERATIONS.labels(row.kind.value, SUPERSEDED).inc()


async def _put_off(
    context: Context,
    tx: AsyncConnection,
    row: Operation,
    taken: Taken,
    now: datetime,
    reason: str,
    least_s: float = 0.0,
) -> None:
    delay_s = least_s + put_off_s(row, now, context.settings.operation_retry_cap_s)
    await operation_store.postpone(tx, row.id, now + timedelta(seconds=delay_s), reason)
    metrics.PUT_OFF.labels(row.kind.value, reason.partition(":")[0].replace(" ", "_")).inc()
    taken.ended[row.id] = "put off"
