"""Subscriptions with their history, and the times at which they are due."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from dateutil.relativedelta import relativedelta
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.kernel.ids import new_id
from copeck.storage.search import contains
from subscriptions.domain.machine import ENDED, RUNNING, Status
from subscriptions.domain.model import Subscription
from subscriptions.tables import (
    entitlements,
    period_invoices,
    plans,
    subscription_events,
    subscriptions,
    subscriptions_due,
)

_FIELDS = tuple(Subscription.__slots__)
_LOCK_SPACE = 0x5355_4253


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a subscription's history."""

    subscription_id: UUID
    version: int
    event: str
    status_before: str | None
    status: str
    at: datetime
    actor: str
    cause_id: UUID | None
    data: dict[str, Any]


def _subscription(row: Any) -> Subscription:
    values = {name: getattr(row, name) for name in _FIELDS}
    values["status"] = Status(values["status"])
    return Subscription(**values)


def _values(subscription: Subscription) -> dict[str, Any]:
    return {name: getattr(subscription, name) for name in _FIELDS}


async def lock_customer(tx: AsyncConnection, user_id: UUID, product: str) -> None:
    """Let one transaction at a time begin or revive a subscription of a customer to a product."""
    await tx.execute(
        sa.text("SELECT pg_advisory_xact_lock(:space, hashtext(:what))"),
        {"space": _LOCK_SPACE, "what": f"{user_id}:{product}"},
    )


async def insert(tx: AsyncConnection, subscription: Subscription) -> bool:
    """Add a subscription; false when its id is known, as when a command came twice under two message ids."""
    statement = (
        pg.insert(subscriptions)
        .values(**_values(subscription))
        .on_conflict_do_nothing(index_elements=[subscriptions.c.id])
        .returning(subscriptions.c.id)
    )
    return (await tx.execute(statement)).first() is not None


async def find(tx: AsyncConnection, subscription_id: UUID) -> Subscription | None:
    """Return a subscription as it is now."""
    row = (await tx.execute(sa.select(subscriptions).where(subscriptions.c.id == subscription_id))).first()
    return _subscription(row) if row else None


async def lock(tx: AsyncConnection, subscription_id: UUID) -> Subscription | None:
    """Return a subscription and keep others from changing it until the transaction ends."""
    query = sa.select(subscriptions).where(subscriptions.c.id == subscription_id).with_for_update(key_share=True)
    row = (await tx.execute(query)).first()
    return _subscription(row) if row else None


_BY_INVOICE = (
    sa.select(subscriptions)
    .where(
        subscriptions.c.id
        == sa.select(period_invoices.c.subscription_id)
        .where(period_invoices.c.invoice_id == sa.bindparam("invoice_id"))
        .scalar_subquery()
    )
    .with_for_update(key_share=True)
)


async def lock_by_invoice(tx: AsyncConnection, invoice_id: UUID) -> Subscription | None:
    """Lock the subscription that an invoice belongs to; None when the invoice is not one of ours.

    Only the subscription is locked: whoever changes its invoices holds that lock, so there is one order of locks.
    """
    row = (await tx.execute(_BY_INVOICE, {"invoice_id": invoice_id})).first()
    return _subscription(row) if row else None


_BY_INVOICES = (
    sa.select(subscriptions, period_invoices.c.invoice_id.label("for_invoice"))
    .join(period_invoices, period_invoices.c.subscription_id == subscriptions.c.id)
    .where(period_invoices.c.invoice_id == sa.func.any(sa.bindparam("invoice_ids", type_=pg.ARRAY(pg.UUID()))))
    .order_by(subscriptions.c.id)
    .with_for_update(key_share=True, of=subscriptions)
)


async def lock_by_invoices(tx: AsyncConnection, invoice_ids: list[UUID]) -> dict[UUID, Subscription]:
    """Lock the subscriptions that several invoices belong to, in the order of their ids."""
    rows = await tx.execute(_BY_INVOICES, {"invoice_ids": invoice_ids})
    return {row.for_invoice: _subscription(row) for row in rows}


_CHANGED = {name: sa.bindparam(f"new_{name}", type_=subscriptions.c[name].type) for name in _FIELDS if name != "id"}
_STEP = {column.name: sa.bindparam(f"step_{column.name}", type_=column.type) for column in subscription_events.c}


_BOUGHT = {
    name: sa.bindparam(f"bought_{name}", type_=entitlements.c[name].type)
    for name in ("id", "invoice_id", "starts_at", "ends_at")
}


@dataclass(frozen=True, slots=True)
class Bought:
    """A period that an invoice bought: its entitlement, and what becomes of the invoice's row."""

    invoice_id: UUID
    seen_version: int
    starts_at: datetime
    ends_at: datetime


def _save_statement(*, due: bool, bought: bool) -> sa.Insert:
    """One statement, one round trip: the new state, its place in the history, what was bought, when to look again."""
    subscription_id = sa.bindparam("step_subscription_id", type_=subscriptions.c.id.type)
    updated = sa.update(subscriptions).where(subscriptions.c.id == subscription_id).values(**_CHANGED).cte("updated")
    step = sa.insert(subscription_events).values(**_STEP)
    if not due:
        return step.add_cte(updated)
    parts = [updated, step.cte("stepped")]
    if bought:
        granted = sa.insert(entitlements).values(
            **_BOUGHT,
            subscription_id=subscription_id,
            user_id=sa.bindparam("new_user_id", type_=subscriptions.c.user_id.type),
            product=sa.bindparam("new_product", type_=subscriptions.c.product.type),
        )
        paid = (
            sa.update(period_invoices)
            .where(period_invoices.c.invoice_id == _BOUGHT["invoice_id"])
            .values(
                state="paid",
                seen_version=sa.bindparam("bought_seen_version", type_=period_invoices.c.seen_version.type),
                starts_at=_BOUGHT["starts_at"],
                ends_at=_BOUGHT["ends_at"],
            )
        )
        parts += [granted.cte("granted"), paid.cte("paid")]
    look_again = pg.insert(subscriptions_due).values(
        due_at=sa.bindparam("due_at", type_=subscriptions_due.c.due_at.type), subscription_id=subscription_id
    )
    return look_again.on_conflict_do_nothing().add_cte(*parts)


_SAVE = _save_statement(due=False, bought=False)
_SAVE_DUE = _save_statement(due=True, bought=False)
_SAVE_BOUGHT = _save_statement(due=True, bought=True)


async def save(
    tx: AsyncConnection, before: Subscription, after: Subscription, step: Step, bought: Bought | None = None
) -> None:
    """Store a step of a subscription that this transaction has locked, and the period that it bought, if it did."""
    if bought is not None:
        await save_bought(tx, [(after, step, bought)])
        return
    parameters = _parameters(after, step)
    if after.due_at is not None and after.due_at != before.due_at:
        await tx.execute(_SAVE_DUE, parameters | {"due_at": after.due_at})
    else:
        await tx.execute(_SAVE, parameters)


def _parameters(after: Subscription, step: Step) -> dict[str, Any]:
    parameters: dict[str, Any] = {f"new_{name}": getattr(after, name) for name in _FIELDS if name != "id"}
    return parameters | {f"step_{name}": getattr(step, name) for name in Step.__slots__}


async def save_bought(tx: AsyncConnection, saved: list[tuple[Subscription, Step, Bought]]) -> None:
    """Store steps that bought periods, each of another subscription; however many, they go out in one pipeline."""
    await tx.execute(
        _SAVE_BOUGHT,
        [
            _parameters(after, step)
            | {f"bought_{name}": getattr(bought, name) for name in Bought.__slots__}
            | {"bought_id": new_id(), "due_at": after.due_at}
            for after, step, bought in saved
        ],
    )


async def add_step(tx: AsyncConnection, step: Step) -> None:
    """Write the first step of a new subscription."""
    await tx.execute(sa.insert(subscription_events).values({name: getattr(step, name) for name in Step.__slots__}))


async def steps(tx: AsyncConnection, subscription_id: UUID, limit: int = 500) -> list[Step]:
    """Return the history of a subscription, the oldest step first."""
    query = (
        sa.select(subscription_events)
        .where(subscription_events.c.subscription_id == subscription_id)
        .order_by(subscription_events.c.version)
        .limit(limit)
    )
    return [Step(**row._asdict()) for row in await tx.execute(query)]


async def live_one(tx: AsyncConnection, user_id: UUID, product: str) -> Subscription | None:
    """Return the customer's subscription to a product that is not over, locked."""
    query = (
        sa.select(subscriptions)
        .where(
            subscriptions.c.user_id == user_id,
            subscriptions.c.product == product,
            subscriptions.c.status.not_in([status.value for status in ENDED]),
        )
        .with_for_update(key_share=True)
    )
    row = (await tx.execute(query)).first()
    return _subscription(row) if row else None


async def had_trial(tx: AsyncConnection, user_id: UUID, product: str) -> bool:
    """Tell whether the customer has had a trial of this product: there is one each."""
    query = sa.select(
        sa.exists().where(
            subscriptions.c.user_id == user_id,
            subscriptions.c.product == product,
            subscriptions.c.trial_ends_at.is_not(None),
        )
    )
    return bool((await tx.execute(query)).scalar())


async def trials_had(tx: AsyncConnection, user_id: UUID) -> set[str]:
    """Return the products of which the customer has had a trial."""
    query = sa.select(subscriptions.c.product).where(
        subscriptions.c.user_id == user_id, subscriptions.c.trial_ends_at.is_not(None)
    )
    return set((await tx.execute(query.distinct())).scalars())


async def schedule(tx: AsyncConnection, subscription: Subscription) -> None:
    """Note when time alone will change this subscription next."""
    if subscription.due_at is not None:
        statement = pg.insert(subscriptions_due).values(due_at=subscription.due_at, subscription_id=subscription.id)
        await tx.execute(statement.on_conflict_do_nothing())


async def take_due(tx: AsyncConnection, now: datetime) -> UUID | None:
    """Take one row of due work that nobody else is at; it stays if the transaction fails."""
    one = (
        sa.select(subscriptions_due.c.due_at, subscriptions_due.c.subscription_id)
        .where(subscriptions_due.c.due_at <= now)
        .order_by(subscriptions_due.c.due_at)
        .limit(1)
        .with_for_update(skip_locked=True)
        .cte("one")
    )
    statement = (
        sa.delete(subscriptions_due)
        .where(
            subscriptions_due.c.due_at == one.c.due_at,
            subscriptions_due.c.subscription_id == one.c.subscription_id,
        )
        .returning(subscriptions_due.c.subscription_id)
    )
    return (await tx.execute(statement)).scalar()


async def postpone(tx: AsyncConnection, subscription_id: UUID, until: datetime) -> None:
    """Put off what is due for a subscription, so that it holds up nobody else's."""
    columns = subscriptions_due.c
    await tx.execute(
        sa.delete(subscriptions_due).where(columns.subscription_id == subscription_id, columns.due_at <= until)
    )
    again = pg.insert(subscriptions_due).values(due_at=until, subscription_id=subscription_id)
    await tx.execute(again.on_conflict_do_nothing())


ORDERS = {
    "created_at": (subscriptions.c.created_at, False),
    "-created_at": (subscriptions.c.created_at, True),
    # What was never paid comes last, as if it ended in a thousand years.
    "period_end": (
        sa.func.coalesce(subscriptions.c.period_end, subscriptions.c.created_at + sa.text("interval '1000 years'")),
        False,
    ),
}
"""Orders of the managers' list: column and whether it descends."""


async def search(
    tx: AsyncConnection,
    *,
    user_id: UUID | None = None,
    statuses: tuple[str, ...] = (),
    plan_id: UUID | None = None,
    text: str | None = None,
    access: tuple[bool, datetime] | None = None,
    order: str = "-created_at",
    after: tuple[Any, ...] | None = None,
    limit: int,
) -> list[Subscription]:
    """Return subscriptions that match everything that is given.

    `text` is part of an id, or a plan's code; `access` chooses those that do (or do not) give access at a moment.
    """
    query = sa.select(subscriptions)
    if user_id is not None:
        query = query.where(subscriptions.c.user_id == user_id)
    if statuses:
        query = query.where(subscriptions.c.status.in_(statuses))
    if plan_id is not None:
        query = query.where(subscriptions.c.plan_id == plan_id)
    if access is not None:
        wanted, moment = access
        # By the moment and not by the status alone: a period that has just ended may still wait for its step.
        gives = sa.and_(
            subscriptions.c.status.in_([status.value for status in RUNNING]), subscriptions.c.period_end > moment
        )
        query = query.where(gives if wanted else sa.not_(gives))
    if text:
        matching_plans = sa.select(plans.c.id).where(contains(plans.c.code, text))
        query = query.where(
            sa.or_(
                sa.cast(subscriptions.c.id, sa.Text).startswith(text.lower(), autoescape=True),
                sa.cast(subscriptions.c.user_id, sa.Text).startswith(text.lower(), autoescape=True),
                subscriptions.c.plan_id.in_(matching_plans),
            )
        )
    column, descends = ORDERS[order]
    if after is not None:
        key = sa.tuple_(column, subscriptions.c.id)
        last = sa.tuple_(
            sa.literal(after[0], subscriptions.c.created_at.type), sa.literal(after[1], subscriptions.c.id.type)
        )
        query = query.where(key < last if descends else key > last)
    direction = sa.desc if descends else sa.asc
    query = query.order_by(direction(column), direction(subscriptions.c.id)).limit(limit)
    return [_subscription(row) for row in await tx.execute(query)]


async def steps_of_invoice(tx: AsyncConnection, invoice_id: UUID, limit: int = 100) -> list[Step]:
    """Return the steps that an invoice led to, and those that led to it."""
    of_subscription = (
        sa.select(period_invoices.c.subscription_id).where(period_invoices.c.invoice_id == invoice_id).scalar_subquery()
    )
    query = (
        sa.select(subscription_events)
        .where(
            subscription_events.c.subscription_id == of_subscription,
            sa.or_(
                subscription_events.c.data["invoice_id"].astext == str(invoice_id),
                subscription_events.c.version == 1,
            ),
        )
        .order_by(subscription_events.c.version)
        .limit(limit)
    )
    return [Step(**row._asdict()) for row in await tx.execute(query)]


def order_key(subscription: Subscription, order: str) -> str:
    """Return the value of a subscription in an order, as the cursor keeps it."""
    if order != "period_end":
        return subscription.created_at.isoformat()
    return (subscription.period_end or subscription.created_at + relativedelta(years=1000)).isoformat()
