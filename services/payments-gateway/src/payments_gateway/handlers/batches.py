"""Batches: a file is taken in whole in one commit, and sent to the updater a chunk a commit, from where it stopped."""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import ClassVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.kernel.errors import DomainError, NotFoundError
from copeck.kernel.ids import new_id
from copeck.kernel.money import Money
from copeck.observability.logs import get_logger
from payments_gateway.domain import recipients
from payments_gateway.domain.batch_files import BatchFile, BatchFileError, GoodLine
from payments_gateway.domain.payouts import Caller, NotYoursError
from payments_gateway.domain.provider import Shop
from payments_gateway.domain.recipients import RecipientKind
from payments_gateway.domain.switches import PAYOUTS, provider_switch
from payments_gateway.handlers.context import Context
from payments_gateway.handlers.payout_commands import check_balance
from payments_gateway.handlers.payouts import check_stopped, request_of, shop_for
from payments_gateway.store import audit, batches, payout_requests, switches
from payments_gateway.store.batches import Batch, Line
from payments_gateway.store.payout_requests import PayoutRequestRow

log = get_logger(__name__)

SUBJECT = "payout_batch"
CHUNK = 500
# Rows of one statement while a file is kept.
SLICE = 1000
# How long a batch may stand still before the janitor goes on with it, and how much it takes on at once.
STUCK_AFTER = timedelta(seconds=10)
RESUMED_MAX = 20


class FileUsedError(DomainError):
    """The same file was uploaded for another source: paying it twice is hardly meant."""

    type: ClassVar[str] = "batch-file-used"
    title: ClassVar[str] = "The file was uploaded before, for another source"


class BatchStatusError(DomainError):
    """The batch stands where this cannot be done to it."""

    type: ClassVar[str] = "batch-status"
    title: ClassVar[str] = "The batch's status does not allow this"


class OwnBatchError(DomainError):
    """Whoever uploaded a batch does not approve it."""

    type: ClassVar[str] = "own-batch"
    title: ClassVar[str] = "A batch is approved by somebody else than who uploaded it"
    status: ClassVar[int] = 403


@dataclass(frozen=True, slots=True)
class Upload:
    """A file as somebody sends it, read already."""

    caller: Caller
    account: str
    provider: str | None
    file_name: str
    digest: str
    file: BatchFile


def digest_of(data: bytes) -> str:
    """Return what tells a file from others."""
    return sha256(data).hexdigest()


async def find(tx: AsyncConnection, caller: Caller, batch_id: UUID, *, lock: bool = False) -> Batch:
    """Return a batch that the caller may see; NotFoundError for all others."""
    found = await batches.get(tx, batch_id, lock=lock)
    if found is None or not (caller.sees_all or found.account == caller.merchant_account):
        raise NotFoundError("there is no such batch")
    return found


async def known(context: Context, caller: Caller, account: str, digest: str) -> Batch | None:
    """Return the batch of a file that was uploaded before."""
    async with context.database.reading() as tx:
        found = await batches.by_file(tx, digest)
    if found is not None and (found.account != account or not caller.commands(account)):
        raise FileUsedError("the same bytes were uploaded before, for another source", "body")
    return found


async def take(context: Context, upload: Upload) -> tuple[Batch, bool]:
    """Keep a file with all its lines in one commit; returns the batch, and whether it is new."""
    file, now = upload.file, context.clock.now()
    if not file.good:
        raise BatchFileError("no line of the file is good; a dry run names what is wrong with each", "body")
    shops = {kind: shop_for(context, kind, upload.provider) for kind in {line.recipient.kind for line in file.good}}
    waits = needs_second(context, file)
    batch = Batch(
        id=new_id(),
        sha256=upload.digest,
        file_name=upload.file_name,
        account=upload.account,
        status="awaiting_approval" if waits else "accepted",
        lines=file.lines,
        bad_lines=len(file.bad),
        amount_minor=file.total_minor,
        currency=file.currency,
        uploaded_by=upload.caller.actor,
        uploaded_at=now,
        updated_at=now,
    )
    # Sealing twenty thousand recipients takes a second: in a thread, so that others are answered meanwhile.
    rows, lines = await asyncio.to_thread(_rows, batch, upload.caller, file, shops, now)
    async with context.database.transaction() as tx:
        await check_stopped(tx, {shop.provider for shop in shops.values()})
        is_new = await batches.add(tx, batch)
        if is_new:
            for first in range(0, len(rows), SLICE):
                await payout_requests.add(tx, rows[first : first + SLICE])
            for first in range(0, len(lines), SLICE):
                await batches.add_lines(tx, lines[first : first + SLICE])
            detail = {"lines": batch.lines, "bad_lines": batch.bad_lines, "account": batch.account}
            await audit.note(tx, SUBJECT, str(batch.id), "upload", upload.caller.actor, detail, now)
    if not is_new:
        found = await known(context, upload.caller, upload.account, upload.digest)
        return found or batch, False
    if not waits:
        context.send_batch(batch.id)
    return batch, True


def _rows(
    batch: Batch, caller: Caller, file: BatchFile, shops: dict[RecipientKind, Shop], now: datetime
) -> tuple[list[PayoutRequestRow], list[Line]]:
    """Return the rows of a file: payouts with ids that are theirs from now on, and every line."""
    rows = [_row(batch, caller, line, shops[line.recipient.kind], now) for line in file.good]
    lines = [
        Line(batch.id, line.line, row.payout_id, None, line.shown) for line, row in zip(file.good, rows, strict=True)
    ]
    return rows, lines + [Line(batch.id, bad.line, None, bad.reasons, bad.shown) for bad in file.bad]


def _row(batch: Batch, caller: Caller, line: GoodLine, shop: Shop, now: datetime) -> PayoutRequestRow:
    payout_id = new_id()
    return PayoutRequestRow(
        payout_id=payout_id,
        origin="batch",
        account=batch.account,
        user_id=caller.user_id,
        requested_by=batch.uploaded_by,
        amount_minor=line.amount.minor,
        currency=line.amount.currency,
        provider=shop.provider,
        shop=shop.shop,
        recipient_kind=line.recipient.kind.value,
        recipient_masked=line.recipient.masked,
        recipient_sealed=recipients.seal(shop.api_secret, line.recipient, str(payout_id)),
        description=line.description,
        batch_id=batch.id,
        batch_line=line.line,
        requested_at=now,
    )


async def approve(context: Context, caller: Caller, batch_id: UUID) -> Batch:
    """Agree to somebody else's batch; its payouts do not ask one by one. Agreeing twice is agreeing once."""
    async with context.database.reading() as tx:
        found = await find(tx, caller, batch_id)
        _may_approve(caller, found)
        payouts = await batches.providers(tx, batch_id)
    if found.status == "awaiting_approval":
        for provider, shop, amount_minor in payouts:
            await check_balance(context, provider, shop, Money(amount_minor, found.currency))
    now = context.clock.now()
    async with context.database.transaction() as tx:
        await check_stopped(tx, {provider for provider, _, _ in payouts})
        found = await find(tx, caller, batch_id, lock=True)
        if found.status in ("accepted", "sent") and found.approved_by == caller.actor:
            return found
        if found.status != "awaiting_approval":
            raise BatchStatusError(f"a batch that is {found.status} cannot be approved")
        await batches.write(tx, batch_id, now, status="accepted", approved_by=caller.actor)
        await audit.note(tx, SUBJECT, str(batch_id), "approve", caller.actor, {}, now)
        found = await find(tx, caller, batch_id)
    context.send_batch(batch_id)
    return found


def _may_approve(caller: Caller, batch: Batch) -> None:
    if not caller.is_manager:
        raise NotYoursError("Managers approve batches")
    if batch.uploaded_by == caller.actor:
        raise OwnBatchError("You uploaded this batch: another manager approves it")


async def cancel(context: Context, caller: Caller, batch_id: UUID) -> Batch:
    """Call off what of a batch was not sent; those payouts become canceled. Once is as good as twice.

    The lock is the sender's: whatever it has put into the outbox is past this, and ends as payouts do.
    """
    now = context.clock.now()
    async with context.database.transaction() as tx:
        found = await find(tx, caller, batch_id, lock=True)
        if not caller.commands(found.account):
            raise NotYoursError("Managers and the merchant whose balance it is may do this")
        if found.status == "canceled":
            return found
        if found.status not in ("awaiting_approval", "accepted"):
            raise BatchStatusError("the batch has been sent: cancel its payouts one by one")
        await batches.cancel(tx, found, now)
        await batches.cancel_payouts(tx, found, "the batch was canceled")
        detail = {"sent_lines": found.sent_lines} if found.sent_lines else {}
        await audit.note(tx, SUBJECT, str(batch_id), "cancel", caller.actor, detail, now)
        return await find(tx, caller, batch_id)


async def send(context: Context, batch_id: UUID, chunks_max: int = 100) -> int:
    """Send what is left of a batch to the updater; returns how many payouts. Only one worker at a time gets on."""
    total = 0
    for _ in range(chunks_max):
        sent = await _send_chunk(context, batch_id)
        if sent is None:
            break
        total += sent
        context.poke_relay()
    return total


async def _send_chunk(context: Context, batch_id: UUID) -> int | None:
    """Put the next payouts into the outbox and note how far it got, in one commit; None when there is no more to do."""
    now = context.clock.now()
    async with context.database.transaction() as tx:
        batch = await batches.take_to_send(tx, batch_id)
        if batch is None:
            return None
        rows = await batches.next_payouts(tx, batch, CHUNK)
        stopped = await switches.stopped(tx, PAYOUTS, *sorted({provider_switch(row.provider) for row in rows}))
        if stopped is not None:
            # Nothing more of it is debited. The janitor looks again later, and goes on when the switch lets it.
            await batches.write(tx, batch_id, now)
            log.info("a batch waits for a stop switch", batch_id=str(batch_id), switch=stopped.name)
            return None
        await context.outbox.add(tx, *(request_of(row, _references(batch, row)) for row in rows))
        position = rows[-1].batch_line if rows else batch.sent_lines
        status = batch.status if len(rows) == CHUNK else "sent"
        await batches.write(tx, batch_id, now, status=status, sent_lines=position)
    return len(rows)


def _references(batch: Batch, row: PayoutRequestRow) -> dict[str, str]:
    references = {"batch_id": str(batch.id), "batch_line": str(row.batch_line)}
    return references | ({"batch_approved_by": batch.approved_by} if batch.approved_by else {})


async def resume(context: Context) -> int:
    """Go on with batches whose worker has gone; the janitor calls it. Returns how many payouts were sent."""
    async with context.database.reading() as tx:
        stuck = await batches.unsent(tx, context.clock.now() - STUCK_AFTER, RESUMED_MAX)
    total = 0
    for batch_id in stuck:
        log.warning("a batch that stood still goes on", batch_id=str(batch_id))
        total += await send(context, batch_id)
    return total


def needs_second(context: Context, file: BatchFile) -> bool:
    """Tell whether a file, taken as one, needs a second manager."""
    limit = context.settings.payout_approval_above.get(file.currency, 0)
    return file.total_minor > limit
