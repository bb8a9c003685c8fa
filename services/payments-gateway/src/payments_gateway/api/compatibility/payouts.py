"""Payouts as both services had them: REST resources with pages, search, ordering and `retry`."""

from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import AliasChoices, Field

from copeck.kernel.errors import NotFoundError
from copeck.kernel.money import Money
from copeck.web.idempotency import RequestHash
from copeck.web.limits import rate_limit
from copeck.web.models import AnswerModel
from copeck.web.problems import problem_responses
from payments_gateway.api.callers import BackOffice, Manager
from payments_gateway.api.compatibility.exact import Currency, ExactRoute, Major, OldBody
from payments_gateway.api.compatibility.routes import OptionalKey, PayoutId, served
from payments_gateway.api.compatibility.schema import PREFIX
from payments_gateway.api.pay import ContextDep
from payments_gateway.api.payout_models import Description
from payments_gateway.api.payouts import free_text
from payments_gateway.domain.compatibility import (
    CURRENCY,
    ORDER_FIELDS,
    OldPayout,
    amount_of,
    ordering_of,
    recipient_of,
    search_terms,
)
from payments_gateway.handlers import compatibility_payouts as handlers
from payments_gateway.handlers.compatibility_payouts import Order
from payments_gateway.handlers.payouts import Payouts
from payments_gateway.store import compatibility as store

router = APIRouter(tags=["payouts"], route_class=ExactRoute)

PAGE_ROWS, PAGE_ROWS_MAX, PAGES_MAX = 20, 100, 100_000
StatusWord = Literal["draft", "awaiting_approval", "pending", "processing", "completed", "failed", "canceled"]
_WRITES = [Depends(rate_limit("compatibility-payouts", "6000/minute"))]
_READS = [Depends(rate_limit("compatibility-payouts-read", "1200/minute"))]
_RECIPIENT: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "minLength": 1, "maxLength": 500},
        {"type": "object", "additionalProperties": True, "maxProperties": 10},
    ],
    "examples": [{"phone": "+79001234567", "bank_id": "100000000004"}],
}


class PayoutCreate(OldBody):
    """A payout to be made from `house:payouts`. A status other than `draft` is left alone: it begins as `pending`."""

    amount: Major
    currency: Currency = CURRENCY
    recipient: str | dict[str, Any] = Field(
        validation_alias=AliasChoices("recipient", "recipient_details", "requisites"),
        max_length=500,
        description=(
            "The token of a saved card as text, or an object: `{token}`, `{phone, bank_id}` or `{account, bic, name}`. "
            "`recipient_details` does as well. A card's number is refused."
        ),
        json_schema_extra=_RECIPIENT,
    )
    description: Description = ""
    status: str | None = Field(default=None, max_length=30, examples=["draft"])
    provider: str | None = Field(default=None, pattern="^[a-z0-9_]{1,32}$", description="Sandbox only.")


class PayoutPatch(OldBody):
    """What may be changed: the status by the machine's rules, and the description."""

    status: str | None = Field(default=None, max_length=30, examples=["canceled"])
    description: Description | None = None


class PayoutModel(AnswerModel):
    """A payout. The amount is text with all its digits, as it was."""

    id: int
    amount: str = Field(examples=["200.50"])
    currency: str
    recipient: str = Field(description="Masked.")
    status: StatusWord
    description: str
    attempts: int
    last_error: str | None
    next_retry_at: datetime | None
    created_at: datetime
    updated_at: datetime


class PayoutPageModel(AnswerModel):
    """A page of a list, with the addresses of its neighbours."""

    count: int
    next: str | None
    previous: str | None
    results: list[PayoutModel]


async def _payouts(request: Request) -> Payouts:
    payouts: Payouts = request.app.state.payouts
    return payouts


PayoutsDep = Annotated[Payouts, Depends(_payouts)]


@served(
    router, "POST", "/payouts/", status_code=201, response_model=PayoutModel, summary="Create a payout",
    responses=problem_responses(403, 409, 503), dependencies=_WRITES,
)  # fmt: skip
async def create_payout(
    body: PayoutCreate, caller: Manager, context: ContextDep, payouts: PayoutsDep, key: OptionalKey, digest: RequestHash
) -> PayoutModel:
    """Ask for a payout, and answer once it has been taken in; `"status": "draft"` leaves it to be submitted later."""
    order = Order(
        amount=amount_of(body.amount, "amount", body.currency),
        recipient=recipient_of(body.recipient),
        description=free_text(body.description, "description"),
        draft=body.status == "draft",
        provider=body.provider,
    )
    return _model(await handlers.create(context, payouts, caller, order, key, digest))


@served(
    router, "GET", "/payouts/", response_model=PayoutPageModel, summary="List payouts",
    responses=problem_responses(404), dependencies=_READS,
)  # fmt: skip
async def list_payouts(
    _caller: BackOffice,
    context: ContextDep,
    search: Annotated[
        str,
        Query(max_length=100, description="Words of recipient, description, status or currency; all must be found."),
    ] = "",
    ordering: Annotated[
        str, Query(max_length=200, description=f"Of {', '.join(ORDER_FIELDS)}; `-` before a name turns it around.")
    ] = "-created_at",
    page: Annotated[int, Query(ge=1, le=PAGES_MAX)] = 1,
    page_size: Annotated[int, Query(ge=1, le=PAGE_ROWS_MAX)] = PAGE_ROWS,
) -> PayoutPageModel:
    """List the payouts that were made here. A page that does not exist is 404, as it was."""
    offset = (page - 1) * page_size
    async with context.database.reading() as tx:
        count, rows = await store.payout_page(
            tx, search_terms(search), ordering_of(ordering), offset=offset, limit=page_size
        )
    if not rows and page > 1:
        raise NotFoundError("there is no such page", "page")

    def address(number: int) -> str:
        asked = {"search": search, "ordering": ordering, "page": number, "page_size": page_size}
        known = {"search": "", "ordering": "-created_at", "page": 1, "page_size": PAGE_ROWS}
        query = urlencode({name: value for name, value in asked.items() if value != known[name]})
        base = f"{context.settings.public_url.rstrip('/')}{PREFIX}/payouts/"
        return f"{base}?{query}" if query else base

    return PayoutPageModel(
        count=count,
        next=address(page + 1) if offset + len(rows) < count and page < PAGES_MAX else None,
        previous=address(page - 1) if page > 1 else None,
        results=[_model(row) for row in rows],
    )


@served(router, "GET", "/payouts/{id}/", response_model=PayoutModel, summary="Show a payout", dependencies=_READS)
async def get_payout(payout_id: PayoutId, _caller: BackOffice, context: ContextDep) -> PayoutModel:
    """Show a payout that was made here, by its number or its UUID."""
    return _model(await handlers.see(context, payout_id))


@served(
    router, "PATCH", "/payouts/{id}/", response_model=PayoutModel, summary="Change a payout",
    responses=problem_responses(403, 409, 503), dependencies=_WRITES,
)  # fmt: skip
async def change_payout(
    payout_id: PayoutId, body: PayoutPatch, caller: Manager, context: ContextDep, key: OptionalKey, digest: RequestHash
) -> PayoutModel:
    """Change the description, or the status as far as the machine allows; 409 names what is allowed.

    `pending` submits a draft, approves one that waits for approval, and tries a failed one again; `canceled` calls one
    off that has not started. `processing`, `completed` and `failed` are the provider's to say.
    """
    changed = await handlers.change(
        context,
        caller,
        payout_id,
        status=body.status,
        description=None if body.description is None else free_text(body.description, "description"),
        key=key,
        request_hash=digest,
    )
    return _model(changed)


@served(
    router, "DELETE", "/payouts/{id}/", status_code=204, summary="Delete a payout", dependencies=_WRITES,
    responses=problem_responses(403, 409), response_class=Response,
)  # fmt: skip
async def delete_payout(payout_id: PayoutId, caller: Manager, context: ContextDep) -> None:
    """Delete a draft or a canceled payout; it is shown no more, and what was done to it is kept."""
    await handlers.delete(context, caller, payout_id)


@served(
    router, "POST", "/payouts/{id}/retry/", response_model=PayoutModel, summary="Try a failed payout again",
    responses=problem_responses(403, 409, 503), dependencies=_WRITES,
)  # fmt: skip
async def retry_payout(
    payout_id: PayoutId, caller: Manager, context: ContextDep, key: OptionalKey, digest: RequestHash
) -> PayoutModel:
    """Try a failed payout again, and answer once that has been taken in.

    One that nobody has approved yet, and that needs it, is `awaiting_approval` then.
    """
    return _model(await handlers.retry(context, caller, payout_id, key, digest))


def _model(payout: OldPayout) -> PayoutModel:
    return PayoutModel(
        id=payout.number,
        amount=Money(payout.amount_minor, payout.currency).value,
        currency=payout.currency,
        recipient=payout.recipient_masked,
        status=payout.shown_status,  # type: ignore[arg-type]
        description=payout.description,
        attempts=payout.attempts,
        last_error=payout.last_error or None,
        next_retry_at=payout.next_retry_at,
        created_at=payout.created_at,
        updated_at=payout.updated_at,
    )
