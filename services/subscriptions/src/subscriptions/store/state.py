"""Reading the State Storage through its views: invoices, what happened to them, and what was booked."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.kernel.money import Money
from copeck.storage.search import contains
from subscriptions.tables import period_invoices
from subscriptions.views import invoice_events, invoices, payments, refunds, refusals, transfers

_CHAIN_MAX = 500


@dataclass(frozen=True, slots=True)
class Invoice:
    """An invoice as the State Storage holds it."""

    id: UUID
    version: int
    status: str
    kind: str
    product: str
    account: str
    payer: str
    amount: Money
    refunded: Money
    refunding: Money
    description: str
    references: dict[str, str]
    late_policy: str
    capture: str
    expires_at: datetime
    method: str
    failure_code: str
    failure_reason: str
    reason: str
    issued_at: datetime
    updated_at: datetime


def _invoice(row: Any) -> Invoice:
    return Invoice(
        id=row.id,
        version=row.version,
        status=row.status,
        kind=row.kind,
        product=row.product,
        account=row.account,
        payer=row.payer,
        amount=Money(row.amount_minor, row.currency),
        refunded=Money(row.refunded_minor, row.currency),
        refunding=Money(row.refunding_minor, row.currency),
        description=row.description,
        references=row.references,
        late_policy=row.late_policy,
        capture=row.capture,
        expires_at=row.expires_at,
        method=row.method,
        failure_code=row.failure_code,
        failure_reason=row.failure_reason,
        reason=row.reason,
        issued_at=row.issued_at,
        updated_at=row.updated_at,
    )


async def find_invoice(tx: AsyncConnection, invoice_id: UUID, user_id: UUID | None = None) -> Invoice | None:
    """Return an invoice; `user_id` is whose it must be, None for a manager."""
    query = sa.select(invoices).where(invoices.c.id == invoice_id)
    if user_id is not None:
        query = query.where(invoices.c.payer == str(user_id))
    row = (await tx.execute(query)).first()
    return _invoice(row) if row else None


async def missed_invoices(
    tx: AsyncConnection,
    *,
    taken: frozenset[str],
    ended: frozenset[str],
    returned: frozenset[str],
    before: datetime,
    since: datetime,
    after: UUID,
    upto: UUID | None,
    limit: int,
) -> list[Invoice]:
    """Return invoices that went on without this service by `before`, the oldest first.

    Looked at are the open ones, those that were payable at `since` or later, and, however old they are, those whose
    ids lie between `after` and `upto`. `taken` are statuses that an unpaid invoice leaves by, `ended` those that only
    an open one does, `returned` those that a paid one does.
    """
    mine = period_invoices.c
    behind = sa.or_(
        sa.and_(mine.state.in_(("open", "annulled", "dead")), invoices.c.status.in_(taken)),
        sa.and_(mine.state == "open", invoices.c.status.in_(ended)),
        sa.and_(mine.state == "paid", invoices.c.status.in_(returned)),
    )
    piece = mine.invoice_id > after
    if upto is not None:
        piece = sa.and_(piece, mine.invoice_id <= upto)
    query = (
        sa.select(invoices)
        .join(period_invoices, mine.invoice_id == invoices.c.id)
        .where(
            sa.or_(mine.state == "open", mine.expires_at > since, piece),
            invoices.c.version > mine.seen_version,
            invoices.c.updated_at < before,
            behind,
        )
        .order_by(invoices.c.id)
        .limit(limit)
    )
    return [_invoice(row) for row in (await tx.execute(query)).all()]


INVOICE_ORDERS = ("-issued_at", "issued_at")


async def list_invoices(
    tx: AsyncConnection,
    *,
    user_id: UUID | None = None,
    subscription_id: UUID | None = None,
    statuses: tuple[str, ...] = (),
    kind: str | None = None,
    text: str | None = None,
    order: str = "-issued_at",
    after: tuple[Any, ...] | None = None,
    limit: int,
) -> list[Invoice]:
    """Return invoices that match everything that is given. Their ids sort by the moment of their issue."""
    query = sa.select(invoices)
    if user_id is not None:
        query = query.where(invoices.c.payer == str(user_id))
    if subscription_id is not None:
        of_subscription = sa.select(period_invoices.c.invoice_id).where(
            period_invoices.c.subscription_id == subscription_id
        )
        query = query.where(invoices.c.id.in_(of_subscription))
    if statuses:
        query = query.where(invoices.c.status.in_(statuses))
    if kind:
        query = query.where(invoices.c.kind == kind)
    if text:
        query = query.where(
            sa.or_(
                sa.cast(invoices.c.id, sa.Text).startswith(text.lower(), autoescape=True),
                invoices.c.payer == text.lower(),
                contains(invoices.c.description, text),
            )
        )
    descends = order.startswith("-")
    if after is not None:
        query = query.where(invoices.c.id < after[0] if descends else invoices.c.id > after[0])
    query = query.order_by(invoices.c.id.desc() if descends else invoices.c.id).limit(limit)
    return [_invoice(row) for row in await tx.execute(query)]


async def statuses_of(tx: AsyncConnection, invoice_ids: set[UUID]) -> dict[UUID, Invoice]:
    """Return several invoices by their ids."""
    if not invoice_ids:
        return {}
    rows = await tx.execute(sa.select(invoices).where(invoices.c.id.in_(invoice_ids)))
    return {row.id: _invoice(row) for row in rows}


@dataclass(frozen=True, slots=True)
class Chain:
    """Everything that the State Storage knows about one invoice, each part in the order of time."""

    events: list[Any]
    payments: list[Any]
    refunds: list[Any]
    transfers: list[Any]


async def chain_of(tx: AsyncConnection, invoice_id: UUID) -> Chain:
    """Return the events, payments, refunds and transfers of an invoice."""
    events = sa.select(invoice_events).where(invoice_events.c.invoice_id == invoice_id)
    paid = sa.select(payments).where(payments.c.invoice_id == invoice_id)
    back = sa.select(refunds).where(refunds.c.invoice_id == invoice_id)
    booked = sa.select(transfers).where(transfers.c.aggregate_id == invoice_id)
    return Chain(
        events=list((await tx.execute(events.order_by(invoice_events.c.version).limit(_CHAIN_MAX))).all()),
        payments=list((await tx.execute(paid.order_by(payments.c.created_at).limit(_CHAIN_MAX))).all()),
        refunds=list((await tx.execute(back.order_by(refunds.c.created_at).limit(_CHAIN_MAX))).all()),
        transfers=list(
            await tx.execute(booked.order_by(transfers.c.at, transfers.c.cause_id, transfers.c.n).limit(_CHAIN_MAX))
        ),
    )


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a command: `applied`, or `refused` with a code and a detail."""

    outcome: str
    code: str = ""
    detail: str = ""


async def fate_of(tx: AsyncConnection, command_id: UUID, invoice_id: UUID) -> Fate | None:
    """Return what the state updater made of a command; None while it has not decided."""
    refused = (await tx.execute(sa.select(refusals).where(refusals.c.command_id == command_id))).first()
    if refused is not None:
        return Fate("refused", refused.code, refused.detail)
    applied = sa.select(invoice_events.c.version).where(
        invoice_events.c.invoice_id == invoice_id, invoice_events.c.cause_id == command_id
    )
    return Fate("applied") if (await tx.execute(applied.limit(1))).first() else None
