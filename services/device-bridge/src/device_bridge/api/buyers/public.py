"""The buyer's way as JSON: for pages of others, and for whoever buys without a browser."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field

from copeck.web.idempotency import IdempotencyKey, RequestHash
from copeck.web.limits import rate_limit
from copeck.web.models import AnswerModel, StrictModel
from copeck.web.money import MoneyModel
from copeck.web.problems import problem_responses
from copeck.web.translations import Texts
from copeck.web.wait import PreferWait, wait_until
from device_bridge.api.buyers import ordering
from device_bridge.api.buyers.choosing import Line, Menu, check_link, menu_of, signed_link
from device_bridge.api.dependencies import Ctx, DeviceIdPath
from device_bridge.domain.contacts import read_contact
from device_bridge.domain.machine import Status
from device_bridge.domain.model import Size
from device_bridge.handlers.context import Context
from device_bridge.pages.status import status_of
from device_bridge.pages.texts import TEXTS
from device_bridge.store.showing import ShownOrder

router = APIRouter(prefix="/public", tags=["buyers"], dependencies=[Depends(rate_limit("coffee-public", "600/minute"))])

Language = Literal["ru", "en"]
LanguageQuery = Annotated[Language, Query(alias="lang", description="Language of the words in the answer.")]
TokenQuery = Annotated[str, Query(alias="k", max_length=64, description="The order's token.")]


class MenuLineModel(AnswerModel):
    """A drink in one size; without a price it is not sold, and `refusal` says why."""

    drink: str
    name: str
    size: Size
    price: MoneyModel | None
    refusal: str | None = Field(description="A type of problem, such as `drink-sold-out`.")


class MenuModel(AnswerModel):
    """A machine and what it sells now; `refusal` says why the whole machine takes no money."""

    device: str
    name: str
    location: str
    state: Literal["ready", "busy", "error", "sold_out", "off"]
    refusal: str | None
    drinks: list[MenuLineModel]


class LinkModel(StrictModel):
    """What the link says that a machine showed."""

    order: str = Field(min_length=1, max_length=128)
    ts: int = Field(ge=0, le=4_102_444_800)
    sig: str = Field(max_length=64)


class OrderRequest(StrictModel):
    """What is ordered. `price` is the one that the buyer was shown: with another one now, the order is refused."""

    drink: str = Field(max_length=64)
    size: Size
    contact: str = Field(default="", max_length=300, description="E-mail address or phone number for the receipt.")
    language: Language = "ru"
    price: MoneyModel | None = None
    link: LinkModel | None = None


class StatusModel(AnswerModel):
    """What an order's page shows, in words and for programs."""

    order_id: UUID
    version: int
    status: Literal["created", "pending", "paid", "not_paid", "make_pending", "successful", "failed"]
    reason: str
    refund_status: str | None
    stage: str
    title: str
    text: str
    until: str
    tone: Literal["wait", "good", "bad"]
    step: int
    final: bool
    amount: MoneyModel
    expires_at: datetime
    pay_path: str | None
    can_cancel: bool
    receipt: str


class OrderedModel(AnswerModel):
    """A new order: keep the token, it is all that makes the order yours."""

    order_id: UUID
    token: str
    invoice_id: UUID
    status: StatusModel


@router.get("/devices/{device_id}", response_model=MenuModel, responses=problem_responses(404))
async def menu(context: Ctx, device_id: DeviceIdPath) -> MenuModel:
    """Show what a machine sells now."""
    return _menu(await menu_of(context, device_id))


@router.post(
    "/devices/{device_id}/orders",
    status_code=201,
    response_model=OrderedModel,
    responses=problem_responses(404, 409, 410, 422),
)
async def make_order(
    request: Request,
    context: Ctx,
    device_id: DeviceIdPath,
    key: IdempotencyKey,
    digest: RequestHash,
    body: OrderRequest,
) -> OrderedModel:
    """Order a drink; the answer waits a little for the invoice, so that `pay_path` is there."""
    await ordering.check_limits(request, device_id)
    link = signed_link(body.link.order, body.link.ts, body.link.sig) if body.link else None
    if link is not None:
        check_link(context, (await menu_of(context, device_id)).device, body.drink, body.size, link)
    choice = ordering.Choice(
        device_id,
        body.drink,
        body.size,
        read_contact(body.contact),
        body.language,
        body.price.money().minor if body.price else None,
        machine_order_id=link.order if link else None,
    )
    order_id = await ordering.make(context, choice, ordering.caller_key(request, device_id, key, digest))
    token = ordering.token_of(context, order_id)
    found = await ordering.until_invoiced(context, order_id) or await ordering.find(context, order_id, token)
    return OrderedModel(
        order_id=order_id, token=token, invoice_id=found.invoice_id, status=_status(context, found, body.language)
    )


@router.get("/orders/{order_id}", response_model=StatusModel, responses=problem_responses(404))
async def order_status(
    context: Ctx, order_id: UUID, token: TokenQuery, wait_s: PreferWait, language: LanguageQuery = "ru"
) -> StatusModel:
    """Show an order to who holds its token; `Prefer: wait=5` waits for the end of it."""

    async def ended() -> ShownOrder | None:
        found = await ordering.find(context, order_id, token)
        return found if _status(context, found, language).final else None

    found = await wait_until(ended, wait_s) if wait_s else None
    return _status(context, found or await ordering.find(context, order_id, token), language)


@router.post(
    "/orders/{order_id}/cancel", status_code=204, response_class=Response, responses=problem_responses(404, 409)
)
async def cancel(context: Ctx, order_id: UUID, token: TokenQuery) -> Response:
    """End an order that is not paid."""
    found = await ordering.find(context, order_id, token)
    if not (found.status == Status.NOT_PAID and found.reason == "canceled"):
        await ordering.cancel(context, order_id)
    return Response(status_code=204)


def _status(context: Context, order: ShownOrder, language: str) -> StatusModel:
    token = ordering.token_of(context, order.id)
    return StatusModel.model_validate(status_of(order, Texts(language, TEXTS), token, context.clock.now()))


def _menu(shown: Menu) -> MenuModel:
    device = shown.device
    return MenuModel(
        device=device.id,
        name=device.name,
        location=device.location,
        state=shown.condition,
        refusal=shown.refusal.type if shown.refusal else None,
        drinks=[_line(line) for line in shown.lines],
    )


def _line(line: Line) -> MenuLineModel:
    return MenuLineModel(
        drink=line.drink.drink_id,
        name=line.drink.name,
        size=line.drink.size,
        price=MoneyModel.of(line.price) if line.price else None,
        refusal=line.refusal.type if line.refusal else None,
    )
