"""The buyer's way: the machine's drinks, the order and its one button, and what becomes of it. Forms need no script."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response, StreamingResponse

from copeck.kernel.errors import DomainError
from copeck.kernel.ids import new_id
from copeck.web.limits import client_address, rate_limit
from copeck.web.problems import unavailable
from device_bridge.api.buyers import ordering
from device_bridge.api.buyers.choosing import Line, Menu, SignedLink, check_link, menu_of, signed_link
from device_bridge.api.dependencies import PREFIX, Ctx
from device_bridge.domain.catalogue_lines import DRINK_ID
from device_bridge.domain.contacts import CHARS_MAX, ContactInvalid, read_contact
from device_bridge.domain.errors import DeviceUnknown, DrinkUnknown, LinkReplayed, LinkStale, OrderExpired
from device_bridge.domain.machine import Status
from device_bridge.domain.model import Size
from device_bridge.handlers.context import Context
from device_bridge.pages.live import STREAM_S_MAX, Live, stream
from device_bridge.pages.refusals import BuyersPages, place_of
from device_bridge.pages.stages import Stage
from device_bridge.pages.status import STEPS, order_path, pay_path, stage_at, status_of
from device_bridge.pages.texts import TEXTS
from device_bridge.store import orders as order_store
from device_bridge.store.showing import ShownOrder

router = APIRouter(prefix="/m", dependencies=[Depends(rate_limit("coffee-pages", "300/minute"))])
pages = BuyersPages(Path(__file__).parent, prefix=PREFIX, texts=TEXTS)

COOKIE_S = 24 * 3600
TS_MAX = 4_102_444_800

DrinkQuery = Annotated[str, Query(max_length=64)]
SizeQuery = Annotated[str, Query(max_length=16)]


def cookie_of(order_id: UUID) -> str:
    """Return the name of the cookie that holds an order's token."""
    return f"copeck_order_{order_id.hex}"


def token_in(request: Request, order_id: UUID) -> str | None:
    """Return the order's token as the caller gives it: in the link, or in the cookie."""
    return request.query_params.get("k") or request.cookies.get(cookie_of(order_id))


def _remember(context: Context, response: Response, order_id: UUID, token: str) -> None:
    response.set_cookie(
        cookie_of(order_id),
        token,
        max_age=COOKIE_S,
        path="/m",
        httponly=True,
        samesite="lax",
        secure=context.settings.public_url.startswith("https:"),
    )


@router.get("/orders/{order_id}")
async def status_page(request: Request, context: Ctx, order_id: UUID) -> Response:
    """Show what becomes of an order. The page's script keeps it fresh; without one, it reloads itself."""
    order = await ordering.find(context, order_id, token_in(request, order_id))
    token = ordering.token_of(context, order_id)
    texts = pages.texts(request)
    path = f"/m/orders/{order_id}"
    values = {
        "order": order,
        "place": f"{order.device_name}, {order.location}" if order.location else order.device_name,
        "status": status_of(order, texts, token, context.clock.now()),
        "steps": STEPS,
        "moment": texts.in_zone(order.time_zone).moment,
        "own_path": order_path(order_id, token),
        "pay_path": f"{path}/pay?k={token}&lang={texts.language}",
        "cancel_path": f"{path}/cancel?k={token}&lang={texts.language}",
        "script_data": {
            "events": f"{path}/events?k={token}&lang={texts.language}",
            "status": f"{path}/status?k={token}&lang={texts.language}",
            "brand": texts("brand"),
        },
    }
    response = pages.render(request, "status.html", values)
    _remember(context, response, order_id, token)
    return response


@router.get("/orders/{order_id}/status")
async def status_json(request: Request, context: Ctx, order_id: UUID) -> Response:
    """Return what the status page shows, for its script when there are no events."""
    order = await ordering.find(context, order_id, token_in(request, order_id))
    token = ordering.token_of(context, order_id)
    return JSONResponse(status_of(order, pages.texts(request), token, context.clock.now()))


@router.get("/orders/{order_id}/events", dependencies=[Depends(rate_limit("coffee-live", "120/minute"))])
async def events(request: Request, context: Ctx, order_id: UUID) -> Response:
    """Stream what the status page shows, as it changes."""
    live: Live = request.app.state.live
    await ordering.find(context, order_id, token_in(request, order_id))
    token, texts = ordering.token_of(context, order_id), pages.texts(request)
    limit_s = min(STREAM_S_MAX, context.settings.request_timeout_s / 2)

    def render(order: ShownOrder) -> dict[str, Any]:
        return status_of(order, texts, token, context.clock.now())

    def is_stopping() -> bool:
        return live.stopping or getattr(request.app.state, "stopping", False)

    address = client_address(request)
    if not live.has_room(address):
        raise unavailable("Too many pages listen at the moment; ask for the status instead", 5)

    async def told() -> AsyncIterator[str]:
        with live.watch(order_id, address) as watch:
            # Read only now that changes are heard: nothing can be missed in between.
            order = await ordering.find(context, order_id, token)
            async for event in stream(watch, order, render, is_stopping, limit_s):
                yield event

    # Proxies that buffer would hold the news back until the stream ends.
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(told(), media_type="text/event-stream", headers=headers)


@router.get("/orders/{order_id}/pay")
async def go_to_payment(request: Request, context: Ctx, order_id: UUID) -> Response:
    """Lead to the pay page, unless it is too late: a page that was left open may ask for what is over.

    The machine is looked at once more: one that went off or sold out meanwhile takes no money.
    """
    order = await ordering.find(context, order_id, token_in(request, order_id))
    token, language = ordering.token_of(context, order_id), pages.texts(request).language
    stage = stage_at(order, context.clock.now())
    if stage is Stage.EXPIRED:
        return pages.refuse(request, OrderExpired(), machine_path=f"/m/{order.device_id}")
    if stage is Stage.TO_PAY:
        menu = await menu_of(context, order.device_id)
        refusal = menu.why_not(order.drink_id, order.size)
        if refusal is not None:
            return pages.refuse(request, refusal, menu.device, machine_path=f"/m/{order.device_id}")
        return RedirectResponse(pay_path(order, token, language), status_code=303)
    return RedirectResponse(order_path(order_id, token, language), status_code=303)


@router.post("/orders/{order_id}/cancel")
async def cancel(request: Request, context: Ctx, order_id: UUID) -> Response:
    """End an order that is not paid, and show it."""
    await ordering.find(context, order_id, token_in(request, order_id))
    await ordering.cancel(context, order_id)
    token = ordering.token_of(context, order_id)
    return RedirectResponse(order_path(order_id, token, pages.texts(request).language), status_code=303)


@router.get("/{device}")
async def machine_page(request: Request, context: Ctx, device: str) -> Response:
    """Show a machine's drinks: where the printed QR code leads."""
    menu = await menu_of(context, device)
    if menu.refusal is not None:
        return pages.refuse(request, menu.refusal, menu.device)
    note = pages.own_text(request, menu.device, menu.condition)
    if not note and menu.condition == "busy":
        note = pages.texts(request)("busy")
    values = {"menu": menu, "place": place_of(menu.device), "note": note}
    return pages.render(request, "machine.html", values)


@router.get("/{device}/order")
async def order_page(
    request: Request,
    context: Ctx,
    device: str,
    drink: DrinkQuery,
    size: SizeQuery,
    order: Annotated[str | None, Query(max_length=128)] = None,
    ts: Annotated[int | None, Query(ge=0, le=TS_MAX)] = None,
    sig: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    """Show a chosen drink and the button to pay: where the machine's signed link leads, and the page of its drinks."""
    link = signed_link(order, ts, sig)
    menu = await menu_of(context, device)
    if link is not None:
        known = await _linked(request, context, menu, (drink, size), link)
        if known is not None:
            return known
    if menu.refusal is not None:
        return pages.refuse(request, menu.refusal, menu.device)
    line = menu.line(drink, size)
    if line.refusal is not None:
        return pages.refuse(request, line.refusal, menu.device)
    return _form(request, menu, line, link)


async def _linked(
    request: Request, context: Context, menu: Menu, chosen: tuple[str, str], link: SignedLink, *, is_form: bool = False
) -> Response | None:
    """Look at a machine's link: to its order if the caller made that, refused if somebody else did; None if it is new.

    Who comes back to his own order may do so when the link is old. A form is looked at again when its order is made:
    the same form, sent twice at once, is not a replay.
    """
    stale: LinkStale | None = None
    try:
        check_link(context, menu.device, *chosen, link, is_form=is_form)
    except LinkStale as error:
        stale = error
    if is_form and stale is None:
        return None
    async with context.database.reading() as tx:
        known = await order_store.by_machine_order(tx, menu.device.id, link.order)
    own = _own(request, context, known.id) if known else None
    if own is not None:
        return own
    if stale is not None:
        raise stale
    if known is not None:
        raise LinkReplayed(known.id)
    return None


def _own(request: Request, context: Context, order_id: UUID) -> Response | None:
    """Lead to an order if the caller holds its token."""
    if not ordering.holds(context, order_id, request.cookies.get(cookie_of(order_id))):
        return None
    token = ordering.token_of(context, order_id)
    return RedirectResponse(order_path(order_id, token, pages.texts(request).language), status_code=303)


def _form(
    request: Request, menu: Menu, line: Line, link: SignedLink | None, *, wrong: bool = False, contact: str = ""
) -> Response:
    texts = pages.texts(request)
    values = {
        "menu": menu,
        "place": place_of(menu.device),
        "line": line,
        "link": link,
        "wrong": wrong,
        "contact": contact,
        "contact_chars_max": CHARS_MAX,
        "form_key": str(new_id()),
        "form_path": f"/m/{menu.device.id}/orders?lang={texts.language}",
        "note": texts("busy") if menu.condition == "busy" else "",
    }
    return pages.render(request, "order.html", values, status=422 if wrong else 200)


@router.post("/{device}/orders")
async def make_order(
    request: Request,
    context: Ctx,
    device: str,
    drink: Annotated[str, Form(pattern=DRINK_ID, max_length=64)],
    size: Annotated[Size, Form()],
    form_key: Annotated[str, Form(pattern=r"^[0-9a-f-]{36}$")],
    contact: Annotated[str, Form(max_length=300)] = "",
    price_minor: Annotated[int | None, Form(ge=1, le=10**12)] = None,
    order: Annotated[str | None, Form(max_length=128)] = None,
    ts: Annotated[int | None, Form(ge=0, le=TS_MAX)] = None,
    sig: Annotated[str | None, Form(max_length=64)] = None,
) -> Response:
    """Make the order and lead on to the pay page once its invoice is there, which is waited for with a limit."""
    await ordering.check_limits(request, device)
    link = signed_link(order, ts, sig)
    menu = await menu_of(context, device)
    if link is not None:
        known = await _linked(request, context, menu, (drink, size), link, is_form=True)
        if known is not None:
            return known
    try:
        address = read_contact(contact)
    except ContactInvalid:
        line = menu.line(drink, size)
        if menu.refusal is None and line.refusal is None:
            return _form(request, menu, line, link, wrong=True, contact=contact)
        address = None
    language = pages.texts(request).language
    choice = ordering.Choice(
        device, drink, size, address, language, price_minor, machine_order_id=link.order if link else None
    )
    try:
        order_id = await ordering.make(context, choice, ordering.form_key(choice, form_key))
    except LinkReplayed as replayed:
        if (own := _own(request, context, replayed.order_id)) is not None:
            return own
        raise
    except (DeviceUnknown, DrinkUnknown):
        raise
    except DomainError as refusal:
        return pages.refuse(request, refusal, menu.device)
    return await _to_payment(request, context, order_id)


async def _to_payment(request: Request, context: Context, order_id: UUID) -> Response:
    """Lead to the pay page, or to the order's page if the invoice is late or the order has gone on already."""
    token, language = ordering.token_of(context, order_id), pages.texts(request).language
    found = await ordering.until_invoiced(context, order_id)
    target = order_path(order_id, token, language)
    if found is not None and found.status == Status.PENDING:
        target = pay_path(found, token, language)
    response = RedirectResponse(target, status_code=303)
    _remember(context, response, order_id, token)
    return response
