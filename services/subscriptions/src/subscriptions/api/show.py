"""From rows to answers: each function reads what the answer needs beside the row itself."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.web.money import MoneyModel
from subscriptions.api.dependencies import subscription_url
from subscriptions.api.models import (
    InvoiceModel,
    OpenInvoiceModel,
    PeriodModel,
    PlanModel,
    PriceModel,
    SubscriptionModel,
    TextsModel,
    TimelineEntry,
    TimelineModel,
)
from subscriptions.domain.catalogue import Plan, Price, Texts
from subscriptions.domain.model import Subscription
from subscriptions.settings import SubscriptionsSettings
from subscriptions.store import catalogue, periods, state
from subscriptions.store import subscriptions as store

PAYABLE = frozenset({"issued", "pending"})


def texts(value: Texts) -> TextsModel:
    """Show a text."""
    return TextsModel(ru=value.ru, en=value.en)


def price(value: Price) -> PriceModel:
    """Show a price."""
    return PriceModel(
        id=value.id,
        plan_id=value.plan_id,
        amount=MoneyModel.of(value.amount),
        period=PeriodModel(unit=value.period.unit, count=value.period.count),
        trial_days=value.trial_days,
        active_from=value.active_from,
    )


def plan(value: Plan) -> PlanModel:
    """Show a plan."""
    return PlanModel(
        id=value.id,
        code=value.code,
        product=value.product,
        title=texts(value.title),
        description=texts(value.description),
        price=price(value.price) if value.price else None,
    )


async def subscriptions(
    tx: AsyncConnection, settings: SubscriptionsSettings, found: Sequence[Subscription]
) -> list[SubscriptionModel]:
    """Show subscriptions with their plans, prices and open invoices."""
    titles = await catalogue.titles(tx, {one.plan_id for one in found})
    prices = await catalogue.prices_by_id(tx, {one.price_id for one in found})
    open_ones = await periods.open_invoices(tx, {one.id for one in found})
    known = await state.statuses_of(tx, {one.invoice_id for one in open_ones.values()})
    shown = []
    for one in found:
        row = titles[one.plan_id]
        waiting = open_ones.get(one.id)
        issued = known.get(waiting.invoice_id) if waiting else None
        invoice = None
        if waiting is not None:
            invoice = OpenInvoiceModel(
                id=waiting.invoice_id,
                status=issued.status if issued else None,  # type: ignore[arg-type]
                pay_url=settings.pay_url(waiting.invoice_id),
                expires_at=waiting.expires_at,
            )
        shown.append(_subscription(one, row, catalogue.price_of(prices[one.price_id]), invoice))
    return shown


def _subscription(
    one: Subscription, plan_row: Any, its_price: Price, invoice: OpenInvoiceModel | None
) -> SubscriptionModel:
    return SubscriptionModel(
        id=one.id,
        user_id=one.user_id,
        product=one.product,
        plan_id=one.plan_id,
        plan_code=plan_row.code,
        plan_title=TextsModel(ru=plan_row.title_ru, en=plan_row.title_en),
        price=price(its_price),
        status=one.status,
        version=one.version,
        created_at=one.created_at,
        period_number=one.period_number,
        period_start=one.period_start,
        period_end=one.period_end,
        entitled_until=one.entitled_until,
        trial_ends_at=one.trial_ends_at,
        cancel_at_period_end=one.cancel_at_period_end,
        pay_by=one.deadline_at,
        paused_at=one.paused_at,
        ended_at=one.ended_at,
        reason=one.reason,
        invoice=invoice,
        url=subscription_url(one.id),
    )


async def subscription(tx: AsyncConnection, settings: SubscriptionsSettings, found: Subscription) -> SubscriptionModel:
    """Show one subscription."""
    [shown] = await subscriptions(tx, settings, [found])
    return shown


def invoice(settings: SubscriptionsSettings, found: state.Invoice) -> InvoiceModel:
    """Show an invoice to its payer."""
    return InvoiceModel(
        id=found.id,
        status=found.status,  # type: ignore[arg-type]
        version=found.version,
        kind=found.kind,
        product=found.product,
        amount=MoneyModel.of(found.amount),
        refunded=MoneyModel.of(found.refunded),
        description=found.description,
        references=found.references,
        method=found.method,
        failure_code=found.failure_code,
        failure_reason=found.failure_reason,
        reason=found.reason,
        issued_at=found.issued_at,
        updated_at=found.updated_at,
        expires_at=found.expires_at,
        pay_url=settings.pay_url(found.id) if found.status in PAYABLE else None,
    )


def _money(row: Any) -> MoneyModel:
    from copeck.kernel.money import Money

    return MoneyModel.of(Money(row.amount_minor, row.currency))


_RANK = {"invoice": 0, "payment": 1, "refund": 2, "transfer": 3, "subscription": 4}


async def timeline(
    tx: AsyncConnection, settings: SubscriptionsSettings, found: state.Invoice, *, internals: bool = False
) -> TimelineModel:
    """Show everything that happened around an invoice; `internals` adds who did it, for managers."""
    chain = await state.chain_of(tx, found.id)
    entries = [
        TimelineEntry(
            at=row.at,
            what="invoice",
            event=row.event,
            status=row.status,
            detail=f"{row.cause_type} {row.actor}".strip() if internals else "",
        )
        for row in chain.events
    ]
    for what, rows in (("payment", chain.payments), ("refund", chain.refunds)):
        entries += [
            TimelineEntry(
                at=row.updated_at,
                what=what,  # type: ignore[arg-type]
                event=f"{what}.{row.status}",
                status=row.status,
                detail=row.failure_reason or (row.method if what == "payment" else row.reason),
                amount=_money(row),
            )
            for row in rows
        ]
    entries += [
        TimelineEntry(
            at=row.at,
            what="transfer",
            event=row.kind,
            detail=f"{row.debit_account} → {row.credit_account}" if internals else "",
            amount=_money(row),
        )
        for row in chain.transfers
    ]
    steps = await store.steps_of_invoice(tx, found.id)
    entries += [
        TimelineEntry(
            at=step.at,
            what="subscription",
            event=step.event,
            status=step.status,
            detail=step.actor if internals else "",
        )
        for step in steps
    ]
    entries.sort(key=lambda entry: (entry.at, _RANK[entry.what]))
    return TimelineModel(invoice=invoice(settings, found), entries=entries)
