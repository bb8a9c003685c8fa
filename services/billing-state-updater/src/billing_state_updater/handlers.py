"""One batch of commands, one transaction: fence, inbox, locks, decisions, set-based writes, commit."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg

from billing_state_updater.domain import books
from billing_state_updater.domain.aggregates import Invoice
from billing_state_updater.domain.decide import decide
from billing_state_updater.store import load, save
from billing_state_updater.world import Incoming, Outgoing, Quarantined, World
from copeck.contracts import commands
from copeck.contracts.base import Command

Connection = psycopg.AsyncConnection[tuple[Any, ...]]
Issued = Mapping[UUID, commands.InvoiceIssue]


class FencedError(Exception):
    """Somebody else owns some of the batch's shards by now; nothing was written."""

    def __init__(self, shards: set[int]) -> None:
        super().__init__(f"shards {sorted(shards)} have another owner")
        self.shards = shards


@dataclass(slots=True)
class Committed:
    """What a committed batch leaves to do and to count."""

    outgoing: list[Outgoing]
    next_seq: dict[int, int]
    counts: dict[str, int] = field(default_factory=dict)
    quarantined: list[Quarantined] = field(default_factory=list)


@dataclass(slots=True)
class Batch:
    """Commands in arrival order, what could not be read, and the outbox positions confirmed since the last commit."""

    incoming: list[Incoming]
    unreadable: list[Quarantined]
    epochs: Mapping[int, int]
    next_seq: Mapping[int, int]
    published: Mapping[int, int] = field(default_factory=dict)

    @property
    def shards(self) -> list[int]:
        """Return the shards that the batch touches, in the order in which they are locked."""
        touched = {item.shard for item in self.incoming} | {item.delivery.shard for item in self.unreadable}
        return sorted(touched | set(self.published))


async def handle(connection: Connection, batch: Batch) -> Committed:
    """Apply a batch whole, or raise and leave nothing behind."""
    try:
        async with connection.pipeline() as pipeline:
            world, new = await _load(connection, pipeline, batch)
            if keys := _accounts(world, new):
                cursor = _cursor(connection)
                await load.accounts(cursor, keys)
                await pipeline.sync()
                load.take_accounts(world, await cursor.fetchall())
            world.seal(keys)
            counts = _decide(world, new)
            counts["duplicate"] = len(batch.incoming) - len(new) + counts.get("duplicate", 0)
            await _save(connection, world, batch)
            await pipeline.sync()
    except BaseException:
        if not connection.closed:
            await _roll_back(connection)
        raise
    return Committed(world.outgoing, world.next_seq, counts, batch.unreadable + world.quarantined)


async def _roll_back(connection: Connection) -> None:
    try:
        await connection.execute("ROLLBACK")
    except psycopg.Error:
        # A connection that cannot even roll back has nothing to keep: the server ends its transaction.
        await connection.close()


def _cursor(connection: Connection) -> load.Cursor:
    return psycopg.AsyncRawCursor(connection)


async def _load(connection: Connection, pipeline: psycopg.AsyncPipeline, batch: Batch) -> tuple[World, list[Incoming]]:
    """Fence, enter the inbox, and load and lock everything but accounts, in one round trip."""
    invoice_ids, payout_ids, booking_ids = _ids(batch.incoming)
    fence, clock, inbox = _cursor(connection), _cursor(connection), _cursor(connection)
    await _cursor(connection).execute("BEGIN", prepare=True)
    await load.fence(fence, batch.shards)
    # Expiry is judged by the server's clock: the machines that run updaters may disagree about the time.
    await clock.execute("SELECT clock_timestamp()", prepare=True)
    await load.inbox(inbox, [item.id for item in batch.incoming])
    wanted: list[tuple[Any, load.Cursor]] = []
    for ids, parts in (
        (
            invoice_ids,
            (
                (load.INVOICES, load.take_invoices),
                (load.PAYMENTS, load.take_payments),
                (load.REFUNDS, load.take_refunds),
            ),
        ),
        (payout_ids, ((load.PAYOUTS, load.take_payouts),)),
        (booking_ids, ((load.BOOKINGS, None),)),
    ):
        for statement, take in parts if ids else ():
            cursor = _cursor(connection)
            await load.by_ids(cursor, statement, ids)
            wanted.append((take, cursor))
    await pipeline.sync()
    held: dict[int, int] = dict(await fence.fetchall())
    lost = {shard for shard in batch.shards if held.get(shard) != batch.epochs.get(shard)}
    if lost:
        raise FencedError(lost)
    ((now,),) = await clock.fetchall()
    world = World(now, dict(batch.next_seq))
    for take, cursor in wanted:
        rows = await cursor.fetchall()
        if take is None:
            world.booked.update(found[0] for found in rows)
        else:
            take(world, rows)
    first = {found[0] for found in await inbox.fetchall()}
    new = []
    for item in batch.incoming:
        if item.id in first:
            first.discard(item.id)
            new.append(item)
    return world, new


def _ids(incoming: Iterable[Incoming]) -> tuple[set[UUID], set[UUID], set[UUID]]:
    invoices: set[UUID] = set()
    payouts: set[UUID] = set()
    bookings: set[UUID] = set()
    for item in incoming:
        data = item.data
        if isinstance(data, commands.InvoiceCommand):
            invoices.add(data.invoice_id)
        elif isinstance(data, commands.PayoutCommand):
            payouts.add(data.payout_id)
        elif isinstance(data, commands.LedgerCorrect):
            bookings.add(data.correction_id)
        elif isinstance(data, commands.SettlementReport):
            bookings.add(data.settlement_id)
    return invoices, payouts, bookings


def _accounts(world: World, incoming: Iterable[Incoming]) -> set[tuple[str, str]]:
    """Return every materialised account that the batch may touch: all are locked in one statement."""
    keys: set[tuple[str, str]] = set()
    for invoice in world.invoices.values():
        names = [invoice.beneficiary, invoice.late_wallet or ""]
        if invoice.provider == books.OWN_BALANCE:
            names.append(invoice.shop)
        keys |= {(name, invoice.currency) for name in names if books.is_materialised(name)}
        keys |= {
            (refund.source, refund.currency)
            for refund in invoice.refunds.values()
            if books.is_materialised(refund.source)
        }
    keys |= {
        (payout.account, payout.currency) for payout in world.payouts.values() if books.is_materialised(payout.account)
    }
    # What the batch itself issues is not in the world yet, and may be paid in the same batch.
    issued: dict[UUID, commands.InvoiceIssue] = {}
    for item in incoming:
        if isinstance(item.data, commands.InvoiceIssue):
            issued.setdefault(item.data.invoice_id, item.data)
        keys |= {key for key in _named(world, issued, item.data) if books.is_materialised(key[0])}
    return keys


def _named(world: World, issued: Issued, data: Command) -> list[tuple[str, str]]:
    match data:
        case commands.PaymentReport():
            # Late money may come in another currency than the invoice's, and goes to the wallet all the same.
            terms = _terms(world, issued, data.invoice_id)
            return [(terms.late_wallet, data.currency)] if terms.late_wallet else []
        case commands.InvoiceIssue():
            return [(data.beneficiary, data.currency), (data.late_wallet or "", data.currency)]
        case commands.WalletPay():
            terms = _terms(world, issued, data.invoice_id)
            return [(data.wallet, terms.currency)] if terms.currency else []
        case commands.WalletOpen() | commands.PayoutRequest():
            return [(data.account, data.currency)]
        case commands.LedgerCorrect():
            return [(data.debit, data.currency), (data.credit, data.currency)]
    return []


def _terms(world: World, issued: Issued, id: UUID) -> Invoice | commands.InvoiceIssue:
    stored = world.invoice(id)
    return stored if stored.version else issued.get(id, stored)


def _decide(world: World, incoming: Sequence[Incoming]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for item in incoming:
        outcome = decide(item.data, world, item.id, world.now)
        world.apply(item, outcome)
        name = type(outcome).__name__.lower()
        counts[name] = counts.get(name, 0) + 1
    return counts


async def _save(connection: Connection, world: World, batch: Batch) -> None:
    cursor = _cursor(connection)
    await save.invoices(cursor, world)
    await save.payouts(cursor, world)
    await save.payments(cursor, world)
    await save.refunds(cursor, world)
    await save.accounts(cursor, world)
    await save.transitions(cursor, world, batch.epochs)
    await save.transfers(cursor, world)
    await save.bookings(cursor, world)
    await save.refusals(cursor, world)
    await save.outbox(cursor, world)
    await save.cursors(cursor, batch.published)
    await save.quarantine(cursor, batch.unreadable + world.quarantined, world.now)
    await cursor.execute("COMMIT", prepare=True)
