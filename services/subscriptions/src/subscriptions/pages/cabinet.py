"""The cabinet: plans, subscriptions and invoices of the customer. Only signing in needs JavaScript; forms do not."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.datastructures import URL

from copeck.kernel.errors import DomainError, NotFoundError
from copeck.kernel.ids import new_id
from copeck.web.auth import OptionalPrincipal, Principal
from copeck.web.limits import check_limit
from copeck.web.pages import Pages
from copeck.web.problems import Problem
from subscriptions.api import show
from subscriptions.api.dependencies import CLIENT_PREFIX, Ctx, actor_of, wait_for_invoice
from subscriptions.domain.catalogue import Plan, price_on_sale
from subscriptions.domain.invoicing import RENEWAL_WINDOW
from subscriptions.domain.machine import ENDED, LIVE, Status
from subscriptions.domain.model import Subscription
from subscriptions.domain.periods import Period
from subscriptions.handlers import subscriptions as handlers
from subscriptions.handlers.context import Context, Key, Work, in_transaction, once
from subscriptions.pages.texts import TEXTS
from subscriptions.store import catalogue, periods, state
from subscriptions.store import subscriptions as store

router = APIRouter()
pages = Pages(Path(__file__).parent, prefix=CLIENT_PREFIX, texts=TEXTS)

ACTIONS = "/subscriptions/actions"
_LIST_MAX = 20
_LIVE_MAX = 100
_LIVE = tuple(status.value for status in LIVE)
_ENDED = tuple(status.value for status in ENDED)
_WAIT_FOR_ISSUE_S = 3.0
_BADGES = {
    "active": "good",
    "trialing": "good",
    "paid": "good",
    "past_due": "bad",
    "charged_back": "bad",
    "incomplete": "warn",
    "paused": "warn",
    "issued": "warn",
    "pending": "warn",
}
# Problems of signing in that the page explains in the reader's language.
_ENTER_PROBLEMS = (
    "invalid-credentials",
    "email-taken",
    "weak-password",
    "invalid-value",
    "rate-limited",
    "busy",
    "other",
)


def per(period: Period) -> tuple[str, int]:
    """Return the name of the text for a period, and its count."""
    return (f"per_{period.unit}" if period.count == 1 else f"per_{period.unit}s"), period.count


@dataclass(frozen=True)
class Card:
    """A subscription as its card shows it, with what can be done about it."""

    subscription: Subscription
    plan: Any
    invoice: state.Invoice | None
    waits: bool
    can_pay: bool
    can_cancel: bool
    can_undo: bool
    can_pause: bool
    can_resume: bool


def card_of(
    one: Subscription, plan: Any, waiting: UUID | None, invoice: state.Invoice | None, context: Context
) -> Card:
    """Work out what a customer can do with a subscription now."""
    now, end = context.clock.now(), one.period_end
    renewable = (
        one.status in (Status.ACTIVE, Status.TRIALING)
        and not one.cancel_at_period_end
        and end is not None
        and (now >= end - RENEWAL_WINDOW or waiting is not None)
    )
    return Card(
        subscription=one,
        plan=plan,
        invoice=invoice,
        waits=one.status in (Status.INCOMPLETE, Status.PAST_DUE) or waiting is not None,
        can_pay=one.status in (Status.INCOMPLETE, Status.PAST_DUE) or renewable,
        can_cancel=one.status not in ENDED and not one.cancel_at_period_end,
        can_undo=one.cancel_at_period_end,
        can_pause=one.status is Status.ACTIVE and not one.cancel_at_period_end,
        can_resume=one.status is Status.PAUSED,
    )


async def _panel(context: Context, principal: Principal | None) -> dict[str, Any]:
    """Read what the live part of the page shows: subscriptions and invoices."""
    if principal is None:
        return {"signed_in": False, "cards": [], "over": [], "invoices": [], "busy": False}
    async with context.database.reading() as tx:
        # What is over is cut off at the newest; what is not, however old, is what the customer came for.
        found = await store.search(tx, user_id=principal.user_id, statuses=_LIVE, limit=_LIVE_MAX)
        found += await store.search(tx, user_id=principal.user_id, statuses=_ENDED, limit=_LIST_MAX)
        titles = await catalogue.titles(tx, {one.plan_id for one in found})
        open_ones = await periods.open_invoices(tx, {one.id for one in found})
        invoices = await state.list_invoices(tx, user_id=principal.user_id, limit=_LIST_MAX)
        known = await state.statuses_of(tx, {one.invoice_id for one in open_ones.values()})
    cards = []
    for one in found:
        waiting = open_ones[one.id].invoice_id if one.id in open_ones else None
        invoice = known.get(waiting) if waiting else None
        cards.append(card_of(one, titles[one.plan_id], waiting, invoice, context))
    return {
        "signed_in": True,
        "cards": [card for card in cards if card.subscription.status not in ENDED],
        "over": [card for card in cards if card.subscription.status in ENDED],
        "invoices": invoices,
        "busy": any(card.waits for card in cards if card.subscription.status not in ENDED),
    }


def _common(context: Context) -> dict[str, Any]:
    return {
        "actions": ACTIONS,
        "badge": lambda status: _BADGES.get(str(status), ""),
        "per": per,
        "pay_url": context.settings.pay_url,
        "terms_url": context.settings.terms_url,
        "titled": lambda row, lang: row.title_en if lang == "en" else row.title_ru,
        "invoice_title": invoice_title,
    }


def invoice_title(invoice: state.Invoice, language: str) -> str:
    """Return what an invoice is for, in the reader's language if it says so."""
    return invoice.references.get(f"title_{language}") or invoice.description


@router.get("/")
async def cabinet(request: Request, context: Ctx, principal: OptionalPrincipal) -> HTMLResponse:
    """Show the cabinet."""
    async with context.database.reading() as tx:
        plans = await catalogue.list_plans(tx, context.clock.now(), on_sale=True, priced=True, limit=_LIST_MAX)
        tried = await store.trials_had(tx, principal.user_id) if principal else set()
    panel = await _panel(context, principal)
    live = {card.subscription.product: card for card in panel["cards"]}
    query = request.query_params
    return pages.render(
        request,
        "cabinet.html",
        {
            **_common(context),
            **panel,
            "plans": sorted(plans, key=_by_price),
            "live": live,
            "tried": tried,
            "chosen": query.get("plan", ""),
            "done": query.get("done", ""),
            "problem": query.get("problem", ""),
            "form_key": str(new_id()),
            "enter_problems": {name: pages.texts(request)(f"enter_{name}") for name in _ENTER_PROBLEMS},
        },
    )


def _by_price(plan: Plan) -> int:
    return plan.price.amount.minor if plan.price else 0


@router.get("/subscriptions/panel")
async def panel(request: Request, context: Ctx, principal: OptionalPrincipal) -> HTMLResponse:
    """Return the live part of the page: the page's script asks for it again and again."""
    return pages.render(request, "panel.html", {**_common(context), **await _panel(context, principal)})


@router.get("/subscriptions/invoices/{invoice_id}")
async def why(invoice_id: UUID, request: Request, context: Ctx, principal: OptionalPrincipal) -> Response:
    """Show what happened to an invoice, and so why the customer was charged."""
    if principal is None:
        return _back(request, problem="unauthorized")
    async with context.database.reading() as tx:
        found = await state.find_invoice(tx, invoice_id, principal.user_id)
        timeline = await show.timeline(tx, context.settings, found) if found else None
    if found is None or timeline is None:
        texts = pages.texts(request)
        context_values = {"heading": texts("not_found_title"), "text": texts("problem_other"), "trace_id": None}
        return pages.render(request, "message.html", context_values, status=404)
    return pages.render(
        request,
        "invoice.html",
        {**_common(context), "invoice": found, "timeline": timeline, "payable": found.status in show.PAYABLE},
    )


def _back(request: Request, **query: str) -> RedirectResponse:
    """Go back to the cabinet, in the language in which it was read."""
    url = URL("/")
    if request.query_params.get("lang"):
        query["lang"] = request.query_params["lang"]
    return RedirectResponse(f"{url}?{urlencode(query)}" if query else str(url), status_code=303)


async def _act(
    request: Request, principal: Principal | None, action: Callable[[Principal], Awaitable[str | Response]]
) -> Response:
    """Run a form's action: to where it says afterwards, or back to the page with what went wrong."""
    if principal is None:
        return _back(request, problem="unauthorized")
    try:
        await check_limit(request, "cabinet", "60/minute", f"user:{principal.user_id}")
        answer = await action(principal)
    except (DomainError, Problem) as error:
        return _back(request, problem=error.type)
    return answer if isinstance(answer, Response) else _back(request, done=answer)


@router.post(f"{ACTIONS}/subscribe")
async def subscribe(
    request: Request,
    context: Ctx,
    principal: OptionalPrincipal,
    plan_id: Annotated[UUID, Form()],
    price_id: Annotated[UUID, Form()],
    form_key: Annotated[str, Form(pattern=r"^[0-9a-f-]{36}$")],
) -> Response:
    """Begin a subscription and lead on to the pay page; sent twice, the form does it once."""

    async def action(principal: Principal) -> str | Response:
        async def work(work: Work) -> tuple[int, dict[str, Any]]:
            plan = await catalogue.find_plan(work.tx, plan_id, work.now)
            if plan is None:
                raise NotFoundError("There is no such plan.")
            price = price_on_sale(plan)
            if price.id != price_id:
                raise Problem(409, "price-changed", "The price has changed")
            begun = await handlers.begin(work, principal.user_id, price)
            return 202, {"invoice_id": str(begun.invoice_id) if begun.invoice_id else None}

        key = Key(f"{principal.user_id}:cabinet:subscribe", form_key, f"{plan_id}:{price_id}")
        answer = await once(context, actor_of(principal), key, work)
        if not answer.body["invoice_id"]:
            return "trial"
        return await _to_pay_page(context, UUID(answer.body["invoice_id"]))

    return await _act(request, principal, action)


async def _to_pay_page(context: Context, invoice_id: UUID) -> Response:
    """Lead to the pay page once the invoice is issued; the page can wait too, should that take long."""
    await wait_for_invoice(context, invoice_id, _WAIT_FOR_ISSUE_S)
    return RedirectResponse(context.settings.pay_url(invoice_id), status_code=303)


@router.post(f"{ACTIONS}/{{subscription_id}}/pay")
async def pay(subscription_id: UUID, request: Request, context: Ctx, principal: OptionalPrincipal) -> Response:
    """Lead to the pay page of the invoice that is to be paid now."""

    async def action(principal: Principal) -> Response:
        async def work(work: Work) -> UUID:
            return await handlers.invoice_to_pay(work, await handlers.locked(work, subscription_id, principal.user_id))

        return await _to_pay_page(context, await in_transaction(context, actor_of(principal), work))

    return await _act(request, principal, action)


@router.post(f"{ACTIONS}/{{subscription_id}}/cancel")
async def cancel(
    subscription_id: UUID,
    request: Request,
    context: Ctx,
    principal: OptionalPrincipal,
    when: Annotated[Literal["now", "period_end"], Form()] = "period_end",
) -> Response:
    """Cancel with what is paid, or now."""

    async def action(principal: Principal) -> str:
        async def work(work: Work) -> Subscription:
            mine = await handlers.locked(work, subscription_id, principal.user_id)
            return await handlers.cancel(work, mine, when, "asked for in the cabinet")

        after: Subscription = await in_transaction(context, actor_of(principal), work)
        return "canceled" if after.status is Status.CANCELED else "scheduled"

    return await _act(request, principal, action)


@router.post(f"{ACTIONS}/{{subscription_id}}/resume")
async def resume(subscription_id: UUID, request: Request, context: Ctx, principal: OptionalPrincipal) -> Response:
    """Undo a scheduled cancellation, or end a pause."""

    async def action(principal: Principal) -> str:
        async def work(work: Work) -> Subscription:
            return await handlers.resume(work, await handlers.locked(work, subscription_id, principal.user_id))

        await in_transaction(context, actor_of(principal), work)
        return "resumed"

    return await _act(request, principal, action)


@router.post(f"{ACTIONS}/{{subscription_id}}/pause")
async def pause(subscription_id: UUID, request: Request, context: Ctx, principal: OptionalPrincipal) -> Response:
    """Stop the clock of a subscription."""

    async def action(principal: Principal) -> str:
        async def work(work: Work) -> Subscription:
            mine = await handlers.locked(work, subscription_id, principal.user_id)
            return await handlers.pause(work, mine, "asked for in the cabinet")

        await in_transaction(context, actor_of(principal), work)
        return "paused"

    return await _act(request, principal, action)
