"""E-mailing receipts: a row is taken under a lease, the mail is sent outside of any transaction, the outcome written.

A worker that dies after the server took the mail leads to a second one with the same Message-ID; none is ever lost.
"""

import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from urllib.parse import urlencode
from uuid import UUID

from copeck.messaging.backoff import Backoff
from copeck.observability.logs import get_logger
from device_bridge.domain.contacts import mask
from device_bridge.domain.tokens import order_token
from device_bridge.handlers.context import Context
from device_bridge.mailer import Mailer, MailFailed, MailRefused
from device_bridge.pages.mail import compose
from device_bridge.store import receipts, showing
from device_bridge.store.receipts import Claimed

log = get_logger(__name__)

BATCH_MAX = 10
LEASE = timedelta(seconds=120)
_SENDING_S_MAX = 15.0
_BACKOFF = Backoff(first_s=10.0, cap_s=1800.0)


async def send_due(context: Context, order_ids: Sequence[UUID] | None = None) -> dict[str, int]:
    """Send the receipts of some orders, or whatever is due; return how many ended how. Does nothing without a server.

    One after the other. When the server is so slow that the task's time would run out, the rest is given back.
    """
    settings = context.settings
    if not settings.smtp_url:
        return {}
    mailer = Mailer(settings.smtp_url, settings.mail_from, settings.mail_timeout_s, context.clock)
    ends: Counter[str] = Counter()
    async with context.database.transaction() as tx:
        claimed = await receipts.claim(tx, context.clock.now(), LEASE, BATCH_MAX, order_ids)
    begun = time.monotonic()
    for one in claimed:
        if time.monotonic() - begun > _SENDING_S_MAX:
            await _settle(context, one, "waiting", "the mail server is slow")
            ends["waiting"] += 1
        else:
            ends[await _send(context, mailer, one)] += 1
    return dict(ends)


async def wake_due(context: Context, limit: int = 100) -> int:
    """Send tasks for receipts whose time has come, and whose task was lost; return how many orders that were."""
    if not context.settings.smtp_url:
        return 0
    async with context.database.reading() as tx:
        found = await receipts.due(tx, context.clock.now(), limit)
    for start in range(0, len(found), BATCH_MAX):
        context.send_receipts(found[start : start + BATCH_MAX])
    return len(found)


async def _send(context: Context, mailer: Mailer, claimed: Claimed) -> str:
    async with context.database.reading() as tx:
        order = await showing.order(tx, claimed.order_id)
    if order is None:
        raise LookupError(f"receipt of order {claimed.order_id} without an order")
    token = order_token(context.settings.buyer_link_key.get_secret_value(), order.id)
    url = f"{context.settings.order_url(order.id)}?{urlencode({'k': token, 'lang': order.language})}"
    error = ""
    try:
        await mailer.send(compose(order, claimed.kind, claimed.address, url))
    except MailRefused as refusal:
        status, error = "failed", str(refusal)
    except MailFailed as failure:
        status = "failed" if claimed.tries >= context.settings.receipt_tries_max else "waiting"
        error = str(failure)
    else:
        status = "sent"
    await _settle(context, claimed, status, error)
    fields = {"order_id": str(order.id), "kind": claimed.kind, "to": mask(claimed.address), "tries": claimed.tries}
    (log.info if status == "sent" else log.warning)(f"receipt {status}", error=error, **fields)
    return status


async def _settle(context: Context, claimed: Claimed, status: str, error: str) -> None:
    now = context.clock.now()
    async with context.database.transaction() as tx:
        if status == "sent":
            await receipts.settle(tx, claimed, "sent", sent_at=now)
        elif status == "failed":
            await receipts.settle(tx, claimed, "failed", error=error)
        else:
            again = now + timedelta(seconds=_BACKOFF.delay_s(claimed.tries - 1))
            await receipts.settle(tx, claimed, "waiting", next_try_at=again, error=error)
