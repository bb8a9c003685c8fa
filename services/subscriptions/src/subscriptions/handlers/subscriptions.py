"""What a customer, or a manager for a customer, does with a subscription."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal
from uuid import UUID

from copeck.contracts.envelope import Envelope
from copeck.contracts.events import SubscriptionCreated
from copeck.kernel.errors import DomainError, NotFoundError
from copeck.kernel.ids import new_id
from subscriptions.domain import decisions
from subscriptions.domain.catalogue import Price
from subscriptions.domain.invoicing import IssueAnother, choose_invoice
from subscriptions.domain.machine import Status
from subscriptions.domain.model import Illegal, Subscription
from subscriptions.handlers.context import Context, Work
from subscriptions.handlers.steps import (
    NotAllowedNowError,
    annul_invoice,
    carry_out,
    issue_invoice,
    require,
    state_message,
)
from subscriptions.store import catalogue, periods
from subscriptions.store import subscriptions as store


class AlreadySubscribedError(DomainError):
    """The customer has a running subscription to this product."""

    type = "already-subscribed"
    title = "There is a subscription already"


@dataclass(frozen=True)
class Begun:
    """A subscription that was begun, and the invoice to pay; no invoice while it is tried."""

    subscription: Subscription
    invoice_id: UUID | None


async def begin(work: Work, user_id: UUID, price: Price, subscription_id: UUID | None = None) -> Begun:
    """Begin a subscription by a price: its trial, or its first invoice.

    One that still waits for its first payment gives way, for the customer may have changed their mind on the way; one
    by the very same price is handed out again.
    """
    plan = await catalogue.find_plan(work.tx, price.plan_id, work.now)
    if plan is None:
        raise RuntimeError(f"price {price.id} has no plan")
    await store.lock_customer(work.tx, user_id, plan.product)
    known = await store.live_one(work.tx, user_id, plan.product)
    if known is not None:
        if known.status is not Status.INCOMPLETE:
            raise AlreadySubscribedError(
                f"The subscription {known.id} is {known.status}. Change or cancel it instead of beginning another."
            )
        if known.price_id == price.id and subscription_id is None:
            return Begun(known, await invoice_to_pay(work, known))
        canceled = require(decisions.cancel_now(known, work.now, "replaced by another choice"))
        if canceled is not None:
            await carry_out(work, known, canceled)
    created = Subscription(
        id=subscription_id or new_id(),
        user_id=user_id,
        plan_id=plan.id,
        price_id=price.id,
        product=plan.product,
        status=Status.INCOMPLETE,
        version=1,
        created_at=work.now,
        deadline_at=work.now + timedelta(seconds=work.context.settings.incomplete_lifetime_s),
    )
    if not await store.insert(work.tx, created):
        raise AlreadySubscribedError(f"The subscription {created.id} exists already.")
    await store.add_step(work.tx, _first_step(work, created))
    if price.trial_days and not await store.had_trial(work.tx, user_id, plan.product):
        await work.send(state_message(SubscriptionCreated, created))
        trial = require(decisions.start_trial(created, price.trial_days, work.now))
        return Begun(await carry_out(work, created, trial) if trial else created, None)
    await store.schedule(work.tx, created)
    invoice_id = await issue_invoice(work, created, 1)
    await work.send(state_message(SubscriptionCreated, created, invoice_id))
    return Begun(created, invoice_id)


def _first_step(work: Work, created: Subscription) -> store.Step:
    return store.Step(
        subscription_id=created.id,
        version=created.version,
        event="created",
        status_before=None,
        status=created.status.value,
        at=work.now,
        actor=work.actor.name,
        cause_id=work.cause.id if work.cause else None,
        data={"price_id": str(created.price_id)},
    )


async def locked(work: Work, subscription_id: UUID, user_id: UUID | None) -> Subscription:
    """Return a subscription, locked; `user_id` is whose it must be, None for a manager."""
    subscription = await store.lock(work.tx, subscription_id)
    if subscription is None or (user_id is not None and subscription.user_id != user_id):
        raise NotFoundError("There is no such subscription.")
    return subscription


async def invoice_to_pay(work: Work, subscription: Subscription) -> UUID:
    """Return the invoice to pay now; a new one takes the place of one that is dead, dying or of another price."""
    known = await periods.open_invoice(work.tx, subscription.id)
    least_left = timedelta(seconds=work.context.settings.invoice_least_left_s)
    choice = choose_invoice(subscription, known, work.now, least_left)
    if isinstance(choice, Illegal):
        raise NotAllowedNowError(choice.detail)
    if not isinstance(choice, IssueAnother):
        return choice.invoice_id
    if choice.replaces is not None:
        await annul_invoice(work, subscription, choice.replaces, "another invoice takes its place")
    return await issue_invoice(work, subscription, choice.period_number)


async def cancel(
    work: Work, subscription: Subscription, when: Literal["now", "period_end"], reason: str
) -> Subscription:
    """Cancel at once or with what is paid; a repeat of the latter changes nothing."""
    if when == "now":
        outcome = decisions.cancel_now(subscription, work.now, reason)
    else:
        outcome = decisions.cancel_at_period_end(subscription, work.now, reason)
    applied = require(outcome)
    return await carry_out(work, subscription, applied) if applied else subscription


async def resume(work: Work, subscription: Subscription) -> Subscription:
    """Undo a scheduled cancellation, or end a pause."""
    applied = require(decisions.resume(subscription, work.now))
    return await carry_out(work, subscription, applied) if applied else subscription


async def pause(work: Work, subscription: Subscription, reason: str) -> Subscription:
    """Stop the clock of a subscription."""
    applied = require(decisions.pause(subscription, work.now, reason))
    return await carry_out(work, subscription, applied) if applied else subscription


async def create_by_command(context: Context, envelope: Envelope) -> None:
    """Consume `subscription.create`: what the admin panel asks for over the bus."""
    from copeck.contracts.commands import SubscriptionCreate
    from subscriptions.handlers.context import Actor

    command = envelope.data
    if not isinstance(command, SubscriptionCreate):
        raise DomainError(f"{envelope.type} is not a command for this service")
    async with context.database.transaction() as tx:
        if not await context.inbox.first_time(tx, envelope):
            return
        actor = Actor(command.actor or f"service:{envelope.source}", "bus")
        work = Work(context, tx, context.clock.now(), actor, envelope)
        if await store.find(tx, command.subscription_id) is not None:
            return
        price = await catalogue.find_price(tx, command.price_id)
        if price is None:
            raise NotFoundError(f"There is no price {command.price_id}.")
        begun = await begin(work, command.user_id, price, command.subscription_id)
        await work.note(
            "subscription.create",
            "subscription",
            begun.subscription.id,
            after={"user_id": str(command.user_id), "price_id": str(price.id)},
        )
    context.poke()
