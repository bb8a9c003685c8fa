"""Carrying out a decision: the new state, its history, its effects and its messages, all in one transaction."""

from uuid import UUID

from copeck.contracts.commands import InvoiceCancel, InvoiceIssue, InvoiceRefund
from copeck.contracts.events import (
    SubscriptionActivated,
    SubscriptionCanceled,
    SubscriptionCancellationScheduled,
    SubscriptionCancellationUndone,
    SubscriptionChanged,
    SubscriptionEvent,
    SubscriptionExpired,
    SubscriptionPastDue,
    SubscriptionPaused,
    SubscriptionRenewed,
    SubscriptionResumed,
    SubscriptionTrialStarted,
)
from copeck.kernel.errors import DomainError
from copeck.kernel.ids import new_id
from subscriptions.domain.catalogue import Plan, Price, Product
from subscriptions.domain.machine import Event, Status
from subscriptions.domain.model import (
    Applied,
    CancelOpenInvoice,
    CutAccess,
    Effect,
    GrantAccess,
    Illegal,
    Outcome,
    RefundInvoice,
    ShiftPeriods,
    Subscription,
)
from subscriptions.handlers.context import Work
from subscriptions.store import catalogue, periods
from subscriptions.store import subscriptions as store

_MESSAGES: dict[Event, type[SubscriptionEvent]] = {
    Event.TRIAL_STARTED: SubscriptionTrialStarted,
    Event.PERIOD_PAID: SubscriptionActivated,
    Event.PERIOD_ENDED: SubscriptionPastDue,
    Event.CANCELLATION_DUE: SubscriptionCanceled,
    Event.DEADLINE_PASSED: SubscriptionExpired,
    Event.CANCELED_NOW: SubscriptionCanceled,
    Event.CANCELLATION_SCHEDULED: SubscriptionCancellationScheduled,
    Event.CANCELLATION_UNDONE: SubscriptionCancellationUndone,
    Event.PAUSED: SubscriptionPaused,
    Event.RESUMED: SubscriptionResumed,
    Event.EXTENDED: SubscriptionChanged,
    Event.PRICE_CHANGED: SubscriptionChanged,
    Event.RUNNING_PERIOD_REFUNDED: SubscriptionCanceled,
    Event.FUTURE_PERIOD_REFUNDED: SubscriptionChanged,
}


class NotAllowedNowError(DomainError):
    """The subscription's state forbids what was asked; the detail says what to do instead."""

    type = "not-allowed-now"
    title = "The subscription does not allow this now"


def require(outcome: Outcome) -> Applied | None:
    """Return what is to be carried out; None when there is nothing to do; the refusal as an error."""
    if isinstance(outcome, Illegal):
        raise NotAllowedNowError(outcome.detail)
    return outcome if isinstance(outcome, Applied) else None


def state_message(
    kind: type[SubscriptionEvent], subscription: Subscription, invoice_id: UUID | None = None
) -> SubscriptionEvent:
    """Build an event with the whole public state of the subscription."""
    return kind(
        subscription_id=subscription.id,
        version=subscription.version,
        status=subscription.status.value,
        user_id=subscription.user_id,
        plan_id=subscription.plan_id,
        price_id=subscription.price_id,
        period_start=subscription.period_start,
        period_end=subscription.period_end,
        entitled_until=subscription.entitled_until,
        cancel_at_period_end=subscription.cancel_at_period_end,
        invoice_id=invoice_id,
        reason=subscription.reason[:500],
    )


def message_kind(before: Subscription, event: Event) -> type[SubscriptionEvent] | None:
    """Return the event that tells others of a step; None when it is nobody else's business."""
    if event is Event.PERIOD_PAID and before.status is Status.ACTIVE:
        return SubscriptionRenewed
    return _MESSAGES.get(event)


async def carry_out(
    work: Work,
    before: Subscription,
    applied: Applied,
    invoice_id: UUID | None = None,
    *,
    paid_version: int | None = None,
) -> Subscription:
    """Store a step of a locked subscription, do what follows from it, and tell the others.

    `paid_version` is the version of the invoice that bought a period: its entitlement is stored with the step.
    """
    after = applied.subscription
    step = step_of(work, before, applied, invoice_id)
    bought = bought_by(applied, paid_version)
    # A pause moves the periods that were paid before; the one that is bought now begins after them.
    for effect in applied.effects:
        if isinstance(effect, ShiftPeriods):
            await _follow(work, after, effect)
    await store.save(work.tx, before, after, step, bought)
    for effect in applied.effects:
        is_bought = isinstance(effect, GrantAccess) and bought is not None and effect.invoice_id == bought.invoice_id
        if not is_bought and not isinstance(effect, ShiftPeriods):
            await _follow(work, after, effect)
    kind = message_kind(before, applied.event)
    if kind is not None:
        await work.send(state_message(kind, after, invoice_id))
    return after


def step_of(work: Work, before: Subscription, applied: Applied, invoice_id: UUID | None) -> store.Step:
    """Return a step as the history keeps it."""
    data = {"invoice_id": str(invoice_id)} if invoice_id else {}
    return store.Step(
        subscription_id=before.id,
        version=applied.subscription.version,
        event=applied.event.value,
        status_before=before.status.value,
        status=applied.subscription.status.value,
        at=work.now,
        actor=work.actor.name,
        cause_id=work.cause.id if work.cause else None,
        data=data | {"cause": work.cause.type} if work.cause else data,
    )


def bought_by(applied: Applied, paid_version: int | None) -> store.Bought | None:
    """Return the period that a step bought, if it did."""
    if paid_version is None:
        return None
    for effect in applied.effects:
        if isinstance(effect, GrantAccess) and effect.invoice_id is not None:
            return store.Bought(effect.invoice_id, paid_version, effect.starts_at, effect.ends_at)
    return None


async def _follow(work: Work, subscription: Subscription, effect: Effect) -> None:
    match effect:
        case GrantAccess():
            await periods.grant(work.tx, subscription, effect.starts_at, effect.ends_at, effect.invoice_id)
        case CutAccess():
            await periods.cut(work.tx, subscription.id, effect.at, effect.reason)
        case ShiftPeriods():
            await periods.shift(work.tx, subscription.id, effect.after, effect.by)
        case CancelOpenInvoice():
            await annul_open_invoice(work, subscription, effect.reason)
        case RefundInvoice():
            await refund_invoice(work, subscription, effect.invoice_id, effect.reason)


def account_of(user_id: UUID) -> str:
    """Return the account whose money pays a customer's invoices: it chooses the shard of their commands."""
    return f"customer:{user_id}"


async def annul_open_invoice(work: Work, subscription: Subscription, reason: str) -> None:
    """Take back the invoice that waits for payment; if it is paid meanwhile, `invoice.paid` decides what follows."""
    invoice = await periods.open_invoice(work.tx, subscription.id)
    if invoice is not None:
        await annul_invoice(work, subscription, invoice.invoice_id, reason)


async def annul_invoice(work: Work, subscription: Subscription, invoice_id: UUID, reason: str) -> None:
    """Take one invoice back."""
    await periods.mark(work.tx, invoice_id, state="annulled")
    await work.send(
        InvoiceCancel(
            account=account_of(subscription.user_id), invoice_id=invoice_id, actor=work.actor.name, reason=reason
        )
    )


async def refund_invoice(work: Work, subscription: Subscription, invoice_id: UUID, reason: str) -> None:
    """Ask for all the money of an invoice to be returned."""
    await work.send(
        InvoiceRefund(
            account=account_of(subscription.user_id),
            invoice_id=invoice_id,
            actor=work.actor.name,
            refund_id=new_id(),
            reason=reason,
        )
    )


async def issue_invoice(work: Work, subscription: Subscription, period_number: int) -> UUID:
    """Issue the invoice of a period by the subscription's own price, which may be superseded by now."""
    price = await catalogue.find_price(work.tx, subscription.price_id)
    plan = await catalogue.find_plan(work.tx, subscription.plan_id, work.now)
    product = await catalogue.find_product(work.tx, subscription.product)
    if price is None or plan is None or product is None:
        raise RuntimeError(f"subscription {subscription.id} refers to a plan or a price that does not exist")
    invoice_id = new_id()
    expires_at = work.now + work.context.settings.invoice_lifetime
    await periods.insert_invoice(
        work.tx,
        subscription,
        invoice_id=invoice_id,
        period_number=period_number,
        price_id=price.id,
        late_policy=product.late_policy,
        created_at=work.now,
        expires_at=expires_at,
    )
    await work.send(_issue_command(work, subscription, period_number, price, plan, product, invoice_id))
    return invoice_id


def _issue_command(
    work: Work,
    subscription: Subscription,
    period_number: int,
    price: Price,
    plan: Plan,
    product: Product,
    invoice_id: UUID,
) -> InvoiceIssue:
    user = subscription.user_id
    return InvoiceIssue(
        account=account_of(user),
        invoice_id=invoice_id,
        actor=work.actor.name,
        kind="subscription",
        product=product.code,
        payer=str(user),
        beneficiary=f"revenue:{product.code}",
        amount_minor=price.amount.minor,
        currency=price.amount.currency,
        description=plan.title.ru,
        late_policy=product.late_policy,
        late_wallet=f"wallet:{user}" if product.late_policy == "wallet" else None,
        expires_at=work.now + work.context.settings.invoice_lifetime,
        references={
            "subscription_id": str(subscription.id),
            "period_number": str(period_number),
            "plan": plan.code,
            "title_ru": plan.title.ru,
            "title_en": plan.title.en,
            "period_unit": price.period.unit.value,
            "period_count": str(price.period.count),
        },
    )
