"""Admin API: customers' subscriptions."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response

from copeck.web.etag import IfMatch, check_if_match, etag_for
from copeck.web.idempotency import IdempotencyKey, RequestHash
from copeck.web.pagination import Cursor, Page
from copeck.web.problems import not_found, problem_responses
from subscriptions.api import show
from subscriptions.api.admin.models import (
    AdminCancelRequest,
    StepModel,
    SubscriptionChangeRequest,
    SubscriptionCreateRequest,
)
from subscriptions.api.dependencies import ADMIN_PREFIX, Ctx, Manager, actor_of, after, key_of, moment, stored
from subscriptions.api.models import SubscriptionModel
from subscriptions.domain.catalogue import Price, price_on_sale
from subscriptions.domain.machine import Status
from subscriptions.domain.model import Subscription
from subscriptions.handlers import managers, subscriptions
from subscriptions.handlers.context import Work, in_transaction, once
from subscriptions.store import catalogue
from subscriptions.store import subscriptions as store

router = APIRouter(tags=["subscriptions"])

Order = Literal["created_at", "-created_at", "period_end"]


def _url(subscription_id: UUID) -> str:
    return f"{ADMIN_PREFIX}/subscriptions/{subscription_id}"


@router.get("/subscriptions", summary="List subscriptions")
async def list_subscriptions(
    _: Manager,
    context: Ctx,
    cursor: Cursor,
    search: Annotated[
        str | None,
        Query(
            max_length=100,
            pattern=r"^[^\x00]*$",
            description="The beginning of an id or of a user's id, or a plan's code.",
        ),
    ] = None,
    user_id: UUID | None = None,
    plan_id: UUID | None = None,
    status: Annotated[list[Status] | None, Query(description="Only those in these statuses.")] = None,
    order: Annotated[Order, Query(description="`-` for the newest first.")] = "-created_at",
) -> Page[SubscriptionModel]:
    """Show subscriptions that match everything that is given."""
    async with context.database.reading() as tx:
        found = await store.search(
            tx,
            user_id=user_id,
            plan_id=plan_id,
            statuses=tuple(one.value for one in status or ()),
            text=search,
            order=order,
            after=after(cursor, moment, UUID),
            limit=cursor.limit + 1,
        )
        shown = {one.id: one for one in await show.subscriptions(tx, context.settings, found[: cursor.limit])}
    return cursor.page(found, lambda one: (store.order_key(one, order), str(one.id)), lambda one: shown[one.id])


@router.post(
    "/subscriptions",
    status_code=201,
    summary="Create a subscription for a customer",
    responses={201: {"model": SubscriptionModel, "description": "Created."}, **problem_responses(404, 409)},
)
async def create_subscription(
    body: SubscriptionCreateRequest, manager: Manager, context: Ctx, key: IdempotencyKey, digest: RequestHash
) -> Response:
    """Begin a subscription as the customer would: with its trial, or with an invoice that the customer pays."""

    async def work(work: Work) -> tuple[int, dict[str, object]]:
        price = await _price(work, body)
        begun = await subscriptions.begin(work, body.user_id, price)
        await work.note(
            "subscription.create",
            "subscription",
            begun.subscription.id,
            after={"user_id": str(body.user_id), "price_id": str(price.id)},
        )
        shown = await show.subscription(work.tx, context.settings, begun.subscription)
        return 201, shown.model_dump(mode="json")

    answer = await once(context, actor_of(manager), key_of(manager, "admin:subscribe", key, digest), work)
    return stored(answer, _url(answer.body["id"]))


async def _price(work: Work, body: SubscriptionCreateRequest) -> Price:
    if body.price_id is not None:
        price = await catalogue.find_price(work.tx, body.price_id)
        if price is None:
            raise not_found("There is no such price.")
        return price
    plan = await catalogue.find_plan(work.tx, body.plan_id, work.now) if body.plan_id else None
    if plan is None:
        raise not_found("There is no such plan.")
    return price_on_sale(plan)


@router.get("/subscriptions/{subscription_id}", summary="Show a subscription")
async def get_subscription(subscription_id: UUID, _: Manager, context: Ctx, response: Response) -> SubscriptionModel:
    """Show a subscription with the `ETag` to change it with."""
    async with context.database.reading() as tx:
        found = await store.find(tx, subscription_id)
        if found is None:
            raise not_found("There is no such subscription.")
        response.headers["ETag"] = etag_for(found.version)
        return await show.subscription(tx, context.settings, found)


@router.get("/subscriptions/{subscription_id}/events", summary="Show a subscription's history")
async def get_events(subscription_id: UUID, _: Manager, context: Ctx) -> Page[StepModel]:
    """Show every step: what happened, who did it, and which message led to it."""
    async with context.database.reading() as tx:
        steps = await store.steps(tx, subscription_id)
    if not steps:
        raise not_found("There is no such subscription.")
    return Page(items=[StepModel.model_validate(step) for step in steps])


@router.patch("/subscriptions/{subscription_id}", summary="Change a subscription", responses=problem_responses(409))
async def change_subscription(
    subscription_id: UUID,
    body: SubscriptionChangeRequest,
    if_match: IfMatch,
    manager: Manager,
    context: Ctx,
    response: Response,
) -> SubscriptionModel:
    """Change the price of its next period, give it days, schedule or undo its end, pause or resume it."""
    change = managers.Change(
        price_id=body.price_id,
        extend_days=body.extend_days,
        cancel_at_period_end=body.cancel_at_period_end,
        paused=body.paused,
        reason=body.reason,
    )

    async def work(work: Work) -> SubscriptionModel:
        after = await managers.change_subscription(work, subscription_id, if_match, change)
        return await show.subscription(work.tx, context.settings, after)

    shown: SubscriptionModel = await in_transaction(context, actor_of(manager), work)
    response.headers["ETag"] = etag_for(shown.version)
    return shown


@router.post(
    "/subscriptions/{subscription_id}/cancel", summary="Cancel a subscription", responses=problem_responses(409)
)
async def cancel(
    subscription_id: UUID,
    body: AdminCancelRequest,
    if_match: IfMatch,
    manager: Manager,
    context: Ctx,
    response: Response,
) -> SubscriptionModel:
    """Cancel with what is paid, or now; refund its invoice to give the money back too."""

    async def work(work: Work) -> SubscriptionModel:
        before: Subscription = await subscriptions.locked(work, subscription_id, None)
        check_if_match(if_match, before.version)
        after = await subscriptions.cancel(work, before, body.when, body.reason)
        await work.note(
            "subscription.cancel",
            "subscription",
            subscription_id,
            reason=body.reason,
            before={"status": before.status.value},
            after={"status": after.status.value, "when": body.when},
        )
        return await show.subscription(work.tx, context.settings, after)

    shown: SubscriptionModel = await in_transaction(context, actor_of(manager), work)
    response.headers["ETag"] = etag_for(shown.version)
    return shown
