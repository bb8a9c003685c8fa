"""The providers' own lists, compared with what was heard: what nobody told us of is taken in, strangers are counted.

Payouts in them are compared by `payout_comparison`.
"""

from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.observability.logs import get_logger
from copeck.storage.errors import is_transient
from payments_gateway.domain.attempts import FINISHED
from payments_gateway.domain.provider import AttemptStatus, Shop, Transaction
from payments_gateway.handlers import metrics
from payments_gateway.handlers.context import Context
from payments_gateway.handlers.payout_comparison import compare_payouts
from payments_gateway.handlers.status import take_in
from payments_gateway.store import attempts as attempt_store
from payments_gateway.store import invoices as invoice_store
from payments_gateway.store import reconciled as reconciled_store

log = get_logger(__name__)

# After a longer outage than this somebody has to compare by hand.
OUTAGE_MAX = timedelta(days=30)
# The list is walked in slices, so that what one tick has no time for is left to the next.
SLICE = timedelta(minutes=5)
LIST_PAGES_MAX = 200
_ORPHAN = "orphan"


async def reconcile(context: Context, shop: Shop) -> int:
    """Compare a shop's transactions with what we heard, from where the last run got to. Returns how many were news."""
    settings, now = context.settings, context.clock.now()
    until = now - timedelta(seconds=settings.reconcile_lag_s)
    async with context.database.reading() as tx:
        reached = await reconciled_store.reached(tx, shop.provider, shop.shop)
    window = now - timedelta(seconds=settings.reconcile_window_s)
    since = max(now - OUTAGE_MAX, min(reached or window, window))
    news, pages = 0, LIST_PAGES_MAX
    while since < until and pages > 0:
        end = min(since + SLICE, until)
        found, used, whole = await _slice(context, shop, since, end, pages)
        news, pages = news + found, pages - used
        if not whole:
            break
        since = end
        async with context.database.transaction() as tx:
            await reconciled_store.advance(tx, shop.provider, shop.shop, since)
    metrics.RECONCILE_BEHIND.labels(shop.shop).set(max(0.0, (until - since).total_seconds()))
    return news


async def _slice(
    context: Context, shop: Shop, since: datetime, until: datetime, pages_max: int
) -> tuple[int, int, bool]:
    """Compare one slice of the list: how many were news, how many pages it took, and whether it was read whole."""
    client, now = context.providers[shop.provider].client, context.clock.now()
    news = 0
    for page in range(1, pages_max + 1):
        listed = await client.list_between(shop, since=since, until=until, page=page)
        if not listed.known:
            exchange = listed.exchange
            log.warning(
                "a shop's transactions cannot be listed",
                shop=shop.shop,
                error=exchange.error,
                status_code=exchange.status_code,
            )
            return news, page, False
        payments = tuple(item for item in listed.transactions if not item.is_payout)
        news += await _take_in_news(context, shop, payments, now)
        news += await compare_payouts(context, shop, listed.transactions, now)
        if not listed.more:
            return news, page, True
    if pages_max == LIST_PAGES_MAX:
        log.error("a shop's list is longer than one run can read", shop=shop.shop, since=since.isoformat())
    return news, pages_max, False


async def _take_in_news(context: Context, shop: Shop, transactions: tuple[Transaction, ...], now: datetime) -> int:
    said = {item: _kind(item) for item in transactions}
    statements = [(item.transaction_id, kind) for item, kind in said.items() if kind is not None]
    if not statements:
        return 0
    news = 0
    async with context.database.reading() as tx:
        heard = await attempt_store.heard(tx, shop.provider, shop.shop, statements)
    for item, kind in said.items():
        if kind is None or (item.transaction_id, kind) in heard:
            continue
        try:
            # One invoice a transaction: whoever locks several does so in the order of their ids.
            async with context.database.transaction() as tx:
                news += await _take_in_one(context, tx, shop, item, now)
        except Exception as error:
            if is_transient(error):
                raise
            # One that the database refuses must not hold up all that come after it, for ever.
            log.exception("a transaction cannot be taken in", shop=shop.shop, transaction_id=item.transaction_id)
    if news:
        log.warning("transactions were found that nobody had told us of", shop=shop.shop, count=news)
        context.poke_relay()
    return news


async def _take_in_one(
    context: Context, tx: AsyncConnection, shop: Shop, transaction: Transaction, now: datetime
) -> bool:
    invoice_id = transaction.invoice_id
    if invoice_id is None and not transaction.invoice_ref and transaction.original_transaction_id:
        original = transaction.original_transaction_id
        invoice_id = await attempt_store.invoice_of(tx, shop.provider, shop.shop, original)
    invoice = await invoice_store.get(tx, invoice_id) if invoice_id else None
    if invoice is None and invoice_id and await invoice_store.adopt(tx, {invoice_id}, now):
        invoice = await invoice_store.get(tx, invoice_id)
    if invoice is not None:
        return await take_in(context, tx, shop, invoice, transaction, "reconciliation", now)
    if transaction.status is AttemptStatus.SUCCEEDED:
        await _note_orphan(tx, shop, transaction, now)
    return False


async def _note_orphan(tx: AsyncConnection, shop: Shop, transaction: Transaction, now: datetime) -> None:
    """Log and count money at the provider that belongs to no invoice: once, however often it is listed."""
    first = await attempt_store.learn(
        tx, shop.provider, shop.shop, transaction.transaction_id, _ORPHAN, "reconciliation", now
    )
    if first:
        metrics.ORPHAN_TRANSACTIONS.labels(shop.provider, shop.shop).inc()
        log.error(
            "a succeeded transaction belongs to no invoice of ours",
            shop=shop.shop,
            transaction_id=transaction.transaction_id,
            invoice_ref=transaction.invoice_ref,
            amount=str(transaction.amount),
            is_refund=transaction.is_refund,
        )


def _kind(transaction: Transaction) -> str | None:
    """Name the statement that a listed transaction makes; None while it is under way."""
    if transaction.status not in FINISHED and transaction.status is not AttemptStatus.AUTHORIZED:
        return None
    if transaction.is_refund:
        return "refunded" if transaction.status is AttemptStatus.SUCCEEDED else None
    return transaction.status.value
