"""`pay`: widget parameters as JSON, the start of an attempt, and the status that the pay page polls."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field

from copeck.kernel.errors import NotFoundError
from copeck.web.idempotency import IdempotencyKey, RequestHash
from copeck.web.limits import rate_limit
from copeck.web.models import AnswerModel, StrictModel
from copeck.web.money import MoneyModel
from copeck.web.problems import problem_responses
from copeck.web.wait import PreferWait, wait_until
from payments_gateway.exact_json import exact_json
from payments_gateway.handlers import pay
from payments_gateway.handlers.context import Context

router = APIRouter(tags=["pay"])

Language = Literal["ru", "en"]
LanguageQuery = Annotated[Language, Query(alias="lang", description="Language of the widget.")]
_SETTLED = frozenset({"issued", "pending"})


class FailureModel(AnswerModel):
    """Why the last attempt failed; the payer may try again while the invoice is payable."""

    code: str = Field(description="A word of ours, such as `insufficient_funds`.")
    reason: str = Field(description="What the provider said.")


class AttemptModel(AnswerModel):
    """The last attempt, as far as the gateway knows it."""

    payment_id: UUID
    status: Literal["created", "pending", "authorized", "succeeded", "failed", "canceled", "unknown"]
    method: str
    failure: FailureModel | None = None


class InvoiceStatusModel(AnswerModel):
    """An invoice as its payer sees it."""

    invoice_id: UUID
    status: str
    payable: bool
    amount: MoneyModel
    description: str
    expires_at: datetime
    attempt: AttemptModel | None


class PayModel(AnswerModel):
    """Everything that a page needs to take the payment. `widget` is null when the invoice cannot be paid."""

    invoice_id: UUID
    status: str
    payable: bool
    amount: MoneyModel
    description: str
    expires_at: datetime
    provider: str
    shop: str
    script: str
    widget: dict[str, Any] | None


class StartModel(StrictModel):
    """How to start a payment."""

    language: Language = "ru"


class StartedModel(AnswerModel):
    """A started payment: open the widget with these parameters."""

    invoice_id: UUID
    payment_id: UUID
    status: Literal["pending"]
    provider: str
    shop: str
    script: str
    widget: dict[str, Any]


async def context_of(request: Request) -> Context:
    """Return the gateway's parts. A coroutine although it waits for nothing: a plain function would get a thread."""
    context: Context = request.app.state.context
    return context


ContextDep = Annotated[Context, Depends(context_of)]


@router.get(
    "/pay/{invoice_id}",
    response_model=PayModel,
    responses=problem_responses(404, 409, 503),
    dependencies=[Depends(rate_limit("pay", "240/minute"))],
)
async def parameters(context: ContextDep, invoice_id: UUID, language: LanguageQuery = "ru") -> Response:
    """Return the widget's parameters as JSON. Whoever has the invoice's id may pay it."""
    seen = await pay.see_soon(context, invoice_id)
    shop = await pay.shop_of(context, seen.invoice)
    widget = pay.widget_of(context, shop, seen.invoice, None, language) if seen.payable else None
    return _exact(
        _invoice(seen) | {"provider": shop.provider, "shop": shop.shop, "script": shop.widget_url, "widget": widget}
    )


@router.post(
    "/pay/{invoice_id}",
    status_code=201,
    response_model=StartedModel,
    responses=problem_responses(404, 409, 422, 503),
    dependencies=[Depends(rate_limit("pay-start", "60/minute"))],
)
async def start(
    context: ContextDep,
    invoice_id: UUID,
    key: IdempotencyKey,
    digest: RequestHash,
    body: StartModel | None = None,
) -> Response:
    """Start an attempt; the same Idempotency-Key gives the same attempt."""
    language = body.language if body else "ru"
    try:
        started = await pay.start(context, invoice_id, key, digest, language)
    except NotFoundError:
        await pay.see_soon(context, invoice_id)
        started = await pay.start(context, invoice_id, key, digest, language)
    return _exact(
        {
            "invoice_id": str(started.invoice_id),
            "payment_id": str(started.payment_id),
            "status": "pending",
            "provider": started.provider,
            "shop": started.shop,
            "script": started.script,
            "widget": started.widget,
        },
        201,
    )


@router.get(
    "/invoices/{invoice_id}",
    response_model=InvoiceStatusModel,
    responses=problem_responses(404),
    dependencies=[Depends(rate_limit("pay-status", "600/minute"))],
)
async def status(context: ContextDep, invoice_id: UUID, wait_s: PreferWait) -> InvoiceStatusModel:
    """Return what the payer may know of an invoice; `Prefer: wait=5` waits until it is no longer to be paid."""

    async def settled() -> pay.Seen | None:
        seen = await pay.see(context, invoice_id)
        return seen if seen.status not in _SETTLED or seen.failure else None

    seen = await wait_until(settled, wait_s) if wait_s else None
    seen = seen or await pay.refreshed(context, await pay.see(context, invoice_id))
    attempt = None
    if seen.attempt is not None:
        failure = seen.failure
        attempt = AttemptModel(
            payment_id=seen.attempt.payment_id,
            status=seen.attempt.status.value,
            method=seen.attempt.method,
            failure=FailureModel(code=failure[0], reason=failure[1]) if failure else None,
        )
    return InvoiceStatusModel.model_validate(_invoice(seen) | {"attempt": attempt})


def _invoice(seen: pay.Seen) -> dict[str, Any]:
    invoice = seen.invoice
    return {
        "invoice_id": str(invoice.invoice_id),
        "status": seen.status,
        "payable": seen.payable,
        "amount": {"value": invoice.amount.value, "currency": invoice.amount.currency},
        "description": invoice.description,
        "expires_at": invoice.expires_at.isoformat().replace("+00:00", "Z"),
    }


def _exact(document: dict[str, Any], status_code: int = 200) -> Response:
    return Response(exact_json(document), status_code, media_type="application/json")
