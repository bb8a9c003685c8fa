"""The pay page: what is paid, the provider's widget, and what came of it."""

import re
from pathlib import Path
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse

from copeck.kernel.errors import NotFoundError
from copeck.web.csp import ContentPolicy
from copeck.web.limits import rate_limit
from copeck.web.pages import Pages
from payments_gateway.domain.identifiers import to_uuid
from payments_gateway.domain.merchant_shops import MerchantWithoutShopError
from payments_gateway.domain.provider import Shop
from payments_gateway.handlers import pay
from payments_gateway.handlers.context import Context
from payments_gateway.pages.texts import TEXTS

PREFIX = "/payments/api/v1"
router = APIRouter(dependencies=[Depends(rate_limit("pay-page", "240/minute"))])
pages = Pages(Path(__file__).parent, prefix=PREFIX, texts=TEXTS)

# Whither the payer may be led after paying: the page of a coffee order, with its token. Never to another site.
_BACK = re.compile(r"/m/orders/[0-9a-f-]{36}(?:\?k=[A-Za-z0-9_-]{1,86})?", re.ASCII)

# What the page shows first, by the invoice's status; the script goes on from there.
STATES: dict[str, str] = {
    "issued": "payable",
    "pending": "payable",
    "authorized": "held",
    "paid": "paid",
    "partially_refunded": "refunded_part",
    "refunded": "refunded",
    "canceled": "canceled",
    "expired": "expired",
    "voided": "canceled",
    "disputed": "paid",
    "charged_back": "refunded",
}


@router.get("/pay/{invoice_id}", response_class=HTMLResponse)
async def pay_page(request: Request, invoice_id: str) -> HTMLResponse:
    """Show the page on which an invoice is paid. Whoever has its id may pay it."""
    context: Context = request.app.state.context
    identifier = to_uuid(invoice_id)
    try:
        if identifier is None:
            raise NotFoundError
        seen = await pay.see_soon(context, identifier)
    except NotFoundError:
        return _not_found(request)
    policy = ContentPolicy()
    try:
        policy = policy_of(context, await pay.shop_of(context, seen.invoice))
    except MerchantWithoutShopError as error:
        # What was paid before the seller's shop was closed is still shown.
        if seen.payable:
            return _message(request, "no_shop_title", "no_shop_text", error.status)
    return pages.render(request, "pay.html", _values(request, identifier, seen), policy=policy)


def policy_of(context: Context, shop: Shop) -> ContentPolicy:
    """Let the page load the widget of its shop, and nothing else that is not ours."""
    origins = context.providers[shop.provider].widget_origins(shop)
    # A widget brings its own styles along; scripts stay limited to its origins.
    return ContentPolicy(
        script=origins, style=(*origins, "'unsafe-inline'"), frame=origins, connect=origins, img=origins
    )


def back_of(asked: str | None) -> str | None:
    """Return the page of ours to which the payer goes back, if the address names one that may be gone back to."""
    return asked if asked and _BACK.fullmatch(asked) else None


def _values(request: Request, invoice_id: UUID, seen: pay.Seen) -> dict[str, Any]:
    texts = pages.texts(request)
    back = back_of(request.query_params.get("back"))
    failure = None
    if seen.failure and seen.payable:
        failure = texts(
            f"failure_{seen.failure[0]}" if texts.known(f"failure_{seen.failure[0]}") else "failure_declined"
        )
    return {
        "invoice": seen.invoice,
        "state": STATES.get(seen.status, "unknown"),
        "failure": failure,
        "back": back,
        "script_data": {
            "back": back,
            "invoiceId": str(invoice_id),
            "api": PREFIX,
            "language": texts.language,
            "states": STATES,
            "texts": {
                name: text for name, text in texts.as_dict().items() if name.startswith(("state_", "failure_", "js_"))
            },
        },
    }


def _not_found(request: Request) -> HTMLResponse:
    return _message(request, "unknown_title", "unknown_text", 404)


def _message(request: Request, heading: str, text: str, status: int) -> HTMLResponse:
    texts = pages.texts(request)
    values = {"heading": texts(heading), "text": texts(text), "trace_id": None}
    return pages.render(request, "message.html", values, status=status)
