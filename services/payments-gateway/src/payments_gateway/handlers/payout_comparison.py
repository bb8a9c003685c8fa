"""Payouts in a provider's own list, compared with our tries: what has ended there, what differs, and strangers."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.observability.logs import get_logger
from copeck.storage.errors import is_transient
from payments_gateway.domain.identifiers import payout_named
from payments_gateway.domain.instructions import payout_key
from payments_gateway.domain.models import Operation, OperationStatus
from payments_gateway.domain.payout_comparison import Compared, compare
from payments_gateway.domain.provider import Shop, Transaction
from payments_gateway.domain.sending import SUPERSEDED, sends_first
from payments_gateway.handlers import metrics
from payments_gateway.handlers.context import Context
from payments_gateway.handlers.reports import payout_report
from payments_gateway.store import attempts as attempt_store
from payments_gateway.store import operations as operation_store

log = get_logger(__name__)

_LEARNED = frozenset(Compared) - {Compared.SAME, Compared.ENDED}
"""Differences that are told of once."""


async def compare_payouts(context: Context, shop: Shop, listed: Iterable[Transaction], now: datetime) -> int:
    """Compare what a page of a shop's list says of payouts. Returns how many had been paid against our word.

    Merchants pay out of their own shops what they like, and nothing of ours is paid there.
    """
    told = {item: _key(item) for item in listed if item.is_payout}
    if not told or shop.merchant:
        return 0
    async with context.database.reading() as tx:
        known = await operation_store.by_keys(tx, {key for key in told.values() if key})
        seen = {item: compare(shop, known.get(key or ""), item) for item, key in told.items()}
        differences = [(item.transaction_id, _kind(found)) for item, found in seen.items() if found in _LEARNED]
        # A page shows the same difference at every sweep, for as long as the window is.
        heard = await attempt_store.heard(tx, shop.provider, shop.shop, differences) if differences else set()
    paid, asked = 0, list[UUID]()
    for item, key in told.items():
        if seen[item] is Compared.SAME or (item.transaction_id, _kind(seen[item])) in heard:
            continue
        try:
            async with context.database.transaction() as tx:
                found, hastened = await _take_in(context, tx, shop, item, key, now)
        except Exception as error:
            if is_transient(error):
                raise
            # One that the database refuses must not hold up all that come after it, for ever.
            log.exception("a payout cannot be compared", shop=shop.shop, transaction_id=item.transaction_id)
            continue
        paid += found is Compared.PAID_AFTER_ALL
        asked += [hastened] if hastened else []
    if asked:
        context.enqueue(asked)
    if paid:
        context.poke_relay()
    return paid


def _key(item: Transaction) -> str | None:
    named = payout_named(item.invoice_ref)
    return payout_key(*named) if named else None


def _kind(found: Compared) -> str:
    return f"payout_{found.value}"


async def _take_in(
    context: Context, tx: AsyncConnection, shop: Shop, item: Transaction, key: str | None, now: datetime
) -> tuple[Compared, UUID | None]:
    """Do what a difference asks for, once; returns it, and the operation that is to be asked about now."""
    operation = await operation_store.by_key(tx, key, lock=True) if key else None
    found = compare(shop, operation, item)
    if found is Compared.SAME:
        return found, None
    if found is Compared.ENDED and key:
        return found, await operation_store.hasten(tx, key, shop.provider, shop.shop, now)
    if not await attempt_store.learn(
        tx, shop.provider, shop.shop, item.transaction_id, _kind(found), "reconciliation", now
    ):
        return Compared.SAME, None
    if found is Compared.PAID_AFTER_ALL and operation is not None:
        # The reference is this try's alone and the amount is its own: the money went out, whatever we were told.
        await operation_store.write(
            tx,
            operation.id,
            None,
            now,
            status=OperationStatus.SUCCEEDED,
            outcome="succeeded",
            result_transaction_id=item.transaction_id,
            reported="completed",
            failure_code="",
            failure_reason="",
        )
        told_as = await _settled_as(tx, operation, item.transaction_id, now)
        await context.outbox.add(tx, payout_report(told_as, "completed", transaction_id=item.transaction_id))
    metrics.PAYOUT_DIFFERENCES.labels(shop.provider, shop.shop, found.value).inc()
    log.error(
        "a payout in the provider's list differs from ours",
        difference=found.value,
        shop=shop.shop,
        transaction_id=item.transaction_id,
        reference=item.invoice_ref,
        amount=str(item.amount),
        operation_id=str(operation.id) if operation else None,
    )
    return found, None


async def _settled_as(tx: AsyncConnection, paid: Operation, transaction_id: str, now: datetime) -> Operation:
    """Return the try as which a payout is reported as paid, after the money of one that was given up went out.

    The updater takes the word on a payout's last try only. Where that has failed, or was never sent and is ended here,
    the word is given on it, and nobody pays again. Where it may have been sent, the word is given on the paid try, and
    is set aside. The tries are locked in their order; whoever would send the last one finds it ended.
    """
    last = paid
    while later := await operation_store.by_key(tx, _key_after(last), lock=True):
        last = later
    if last is paid or not (sends_first(last) or last.status is OperationStatus.FAILED):
        return paid
    await settle_on(tx, last, transaction_id, now)
    return last


async def settle_on(tx: AsyncConnection, last: Operation, transaction_id: str | None, now: datetime) -> None:
    """End a locked try that will not pay: it is reported as paid by the transfer of an earlier one."""
    said: dict[str, Any] = {"reported": "completed", "result_transaction_id": transaction_id}
    if sends_first(last):
        why = {"failure_code": SUPERSEDED, "failure_reason": "an earlier try was paid after all"}
        said |= {"status": OperationStatus.FAILED, "outcome": SUPERSEDED, **why}
        metrics.OPERATIONS.labels(last.kind.value, SUPERSEDED).inc()
    await operation_store.write(tx, last.id, None, now, **said)


def _key_after(operation: Operation) -> str:
    if operation.payout_id is None or operation.payout_attempt is None:
        raise ValueError("the operation is no payout's")
    return payout_key(operation.payout_id, operation.payout_attempt + 1)
