"""Client API: subscribing, paying, canceling, and what is active."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response

from copeck.kernel.errors import DomainError
from copeck.web.auth import CurrentPrincipal, Principal
from copeck.web.idempotency import IdempotencyKey, RequestHash
from copeck.web.limits import rate_limit
from copeck.web.pagination import Cursor, Page
from copeck.web.problems import not_found, problem_responses
from copeck.web.wait import PreferWait
from subscriptions.api import show
from subscriptions.api.dependencies import (
    Ctx,
    actor_of,
    after,
    key_of,
    moment,
    stored,
    subscription_url,
    wait_for_invoice,
)
from subscriptions.api.models import (
    AccessModel,
    CancelRequest,
    PauseRequest,
    PaymentModel,
    SubscribeRequest,
    SubscriptionModel,
)
from subscriptions.domain.catalogue import price_on_sale
from subscriptions.domain.machine import LIVE, Status
from subscriptions.domain.model import Subscription
from subscriptions.handlers import subscriptions as handlers
from subscriptions.handlers.context import Context, Work, in_transaction, once
from subscriptions.store import catalogue, periods
from subscriptions.store import subscriptions as store

router = APIRouter(tags=["subscriptions"])


class PriceChangedError(DomainError):
    """The plan has another price than the customer saw."""

    type = "price-changed"
    title = "The price has changed"


@router.post(
    "/subscriptions",
    status_code=202,
    summary="Subscribe",
    dependencies=[Depends(rate_limit("subscribe", "30/minute"))],
    responses={
        201: {"description": "Its invoice was issued while we waited, or its trial began.", "model": SubscriptionModel},
        202: {
            "description": "Begun; the invoice is being issued. `Location` tells where to look.",
            "model": SubscriptionModel,
        },
        **problem_responses(404, 409),
    },
)
async def subscribe(
    body: SubscribeRequest,
    principal: CurrentPrincipal,
    context: Ctx,
    key: IdempotencyKey,
    digest: RequestHash,
    wait_s: PreferWait,
) -> Response:
    """Begin a subscription: with its trial, or with an invoice to pay at `invoice.pay_url`.

    One that still waits for its first payment gives way to the new choice. With `Prefer: wait=5` the answer is 201 as
    soon as the invoice can be paid.
    """

    async def work(work: Work) -> tuple[int, dict[str, object]]:
        plan = await catalogue.find_plan(work.tx, body.plan_id, work.now)
        if plan is None:
            raise not_found("There is no such plan.")
        price = price_on_sale(plan)
        if body.price_id is not None and body.price_id != price.id:
            raise PriceChangedError("Look at the plan again: its price is another one now.", "price_id")
        begun = await handlers.begin(work, principal.user_id, price)
        shown = await show.subscription(work.tx, context.settings, begun.subscription)
        return 202 if begun.invoice_id else 201, shown.model_dump(mode="json")

    answer = await once(context, actor_of(principal), key_of(principal, "subscribe", key, digest), work)
    status = answer.status
    invoice = answer.body["invoice"]
    if invoice and wait_s:
        issued = await wait_for_invoice(context, UUID(invoice["id"]), wait_s)
        if issued is not None:
            answer.body["invoice"]["status"] = issued.status
            status = 201
    return stored(answer, subscription_url(UUID(answer.body["id"])), status)


@router.get("/subscriptions", summary="List my subscriptions")
async def list_subscriptions(
    principal: CurrentPrincipal,
    context: Ctx,
    cursor: Cursor,
    active: Annotated[
        bool | None, Query(description="True: only those that give access now. False: only those that do not.")
    ] = None,
) -> Page[SubscriptionModel]:
    """Show the caller's own subscriptions, the newest first."""
    access = None if active is None else (active, context.clock.now())
    async with context.database.reading() as tx:
        found = await store.search(
            tx, user_id=principal.user_id, access=access, after=after(cursor, moment, UUID), limit=cursor.limit + 1
        )
        shown = {one.id: one for one in await show.subscriptions(tx, context.settings, found[: cursor.limit])}
    return cursor.page(found, lambda one: (one.created_at.isoformat(), str(one.id)), lambda one: shown[one.id])


@router.get("/access", summary="What I may use now")
async def access(principal: CurrentPrincipal, context: Ctx) -> list[AccessModel]:
    """Show each product that the caller may use at this moment, and until when: what a player asks before it plays."""
    async with context.database.reading() as tx:
        found = await periods.access_of(tx, principal.user_id, context.clock.now())
    return [AccessModel(product=one.product, subscription_id=one.subscription_id, until=one.ends_at) for one in found]


@router.get("/subscriptions/{subscription_id}", summary="Show one of my subscriptions")
async def get_subscription(
    subscription_id: UUID, principal: CurrentPrincipal, context: Ctx, wait_s: PreferWait, response: Response
) -> SubscriptionModel:
    """Show how a subscription stands. With `Prefer: wait=10` an unpaid one is answered once it changes."""
    from copeck.web.wait import wait_until

    first = await _mine(context, principal, subscription_id)

    async def probe() -> Subscription | None:
        now = await _mine(context, principal, subscription_id)
        return now if now.version != first.version else None

    if wait_s and first.status in LIVE and first.status is not Status.ACTIVE:
        first = await wait_until(probe, wait_s) or first
    async with context.database.reading() as tx:
        shown = await show.subscription(tx, context.settings, first)
    response.headers["ETag"] = f'"{shown.version}"'
    return shown


async def _mine(context: Context, principal: Principal, subscription_id: UUID) -> Subscription:
    async with context.database.reading() as tx:
        found = await store.find(tx, subscription_id)
    if found is None or found.user_id != principal.user_id:
        raise not_found("There is no such subscription.")
    return found


@router.post(
    "/subscriptions/{subscription_id}/pay",
    summary="Pay: get the URL of the pay page",
    dependencies=[Depends(rate_limit("pay", "60/minute"))],
    responses={
        200: {"description": "The invoice can be paid.", "model": PaymentModel},
        202: {"description": "The invoice is being issued; the pay page waits for it.", "model": PaymentModel},
        **problem_responses(409),
    },
)
async def pay(
    subscription_id: UUID, principal: CurrentPrincipal, context: Ctx, wait_s: PreferWait, response: Response
) -> PaymentModel:
    """Return the invoice to pay now: the open one, or a new one when that expired, was canceled or is of an old price.

    Asking again gives the same invoice, so no idempotency key is needed.
    """

    async def work(work: Work) -> UUID:
        mine = await handlers.locked(work, subscription_id, principal.user_id)
        return await handlers.invoice_to_pay(work, mine)

    invoice_id: UUID = await in_transaction(context, actor_of(principal), work)
    issued = await wait_for_invoice(context, invoice_id, wait_s)
    response.status_code = 200 if issued else 202
    url = f"/subscriptions/api/v1/invoices/{invoice_id}"
    response.headers["Location"] = url
    return PaymentModel(
        subscription_id=subscription_id,
        invoice_id=invoice_id,
        status=issued.status if issued else None,  # type: ignore[arg-type]
        pay_url=context.settings.pay_url(invoice_id),
        url=url,
    )


@router.post("/subscriptions/{subscription_id}/cancel", summary="Cancel", responses=problem_responses(409))
async def cancel(
    subscription_id: UUID, principal: CurrentPrincipal, context: Ctx, body: CancelRequest | None = None
) -> SubscriptionModel:
    """Cancel with what is paid, or now. Nothing is refunded by itself; access lasts as the answer says."""
    wish = body or CancelRequest()

    async def work(work: Work) -> SubscriptionModel:
        mine = await handlers.locked(work, subscription_id, principal.user_id)
        after = await handlers.cancel(work, mine, wish.when, wish.reason)
        return await show.subscription(work.tx, context.settings, after)

    shown: SubscriptionModel = await in_transaction(context, actor_of(principal), work)
    return shown


@router.post(
    "/subscriptions/{subscription_id}/resume",
    summary="Undo a scheduled cancellation, or end a pause",
    responses=problem_responses(409),
)
async def resume(subscription_id: UUID, principal: CurrentPrincipal, context: Ctx) -> SubscriptionModel:
    """Let the subscription go on."""

    async def work(work: Work) -> SubscriptionModel:
        mine = await handlers.locked(work, subscription_id, principal.user_id)
        return await show.subscription(work.tx, context.settings, await handlers.resume(work, mine))

    shown: SubscriptionModel = await in_transaction(context, actor_of(principal), work)
    return shown


@router.post("/subscriptions/{subscription_id}/pause", summary="Pause", responses=problem_responses(409))
async def pause(
    subscription_id: UUID, principal: CurrentPrincipal, context: Ctx, body: PauseRequest | None = None
) -> SubscriptionModel:
    """Stop the clock of an active subscription: no access, and what is left of the period is kept."""
    reason = body.reason if body else ""

    async def work(work: Work) -> SubscriptionModel:
        mine = await handlers.locked(work, subscription_id, principal.user_id)
        return await show.subscription(work.tx, context.settings, await handlers.pause(work, mine, reason))

    shown: SubscriptionModel = await in_transaction(context, actor_of(principal), work)
    return shown
