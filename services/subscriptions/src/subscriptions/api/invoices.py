"""Client API: my invoices, and why I was charged."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from copeck.web.auth import CurrentPrincipal
from copeck.web.pagination import Cursor, Page
from copeck.web.problems import not_found
from subscriptions.api import show
from subscriptions.api.dependencies import Ctx, after
from subscriptions.api.models import InvoiceModel, InvoiceStatusName, TimelineModel
from subscriptions.store import state

router = APIRouter(tags=["invoices"])


@router.get("/invoices", summary="List my invoices")
async def list_invoices(
    principal: CurrentPrincipal,
    context: Ctx,
    cursor: Cursor,
    subscription_id: Annotated[UUID | None, Query(description="Only those of this subscription.")] = None,
    status: Annotated[list[InvoiceStatusName] | None, Query(description="Only those in these statuses.")] = None,
) -> Page[InvoiceModel]:
    """Show the caller's own invoices, the newest first."""
    async with context.database.reading() as tx:
        found = await state.list_invoices(
            tx,
            user_id=principal.user_id,
            subscription_id=subscription_id,
            statuses=tuple(status or ()),
            after=after(cursor, UUID),
            limit=cursor.limit + 1,
        )
    return cursor.page(found, lambda one: (str(one.id),), lambda one: show.invoice(context.settings, one))


@router.get("/invoices/{invoice_id}", summary="Show one of my invoices")
async def get_invoice(invoice_id: UUID, principal: CurrentPrincipal, context: Ctx) -> InvoiceModel:
    """Show an invoice. One that was just asked for appears a moment later."""
    async with context.database.reading() as tx:
        found = await state.find_invoice(tx, invoice_id, principal.user_id)
    if found is None:
        raise not_found("There is no such invoice, or it is not issued yet.")
    return show.invoice(context.settings, found)


@router.get("/invoices/{invoice_id}/timeline", summary="Show what happened to one of my invoices")
async def get_timeline(invoice_id: UUID, principal: CurrentPrincipal, context: Ctx) -> TimelineModel:
    """Show every step, payment, refund and booking of an invoice, and what it did to the subscription."""
    async with context.database.reading() as tx:
        found = await state.find_invoice(tx, invoice_id, principal.user_id)
        if found is None:
            raise not_found("There is no such invoice, or it is not issued yet.")
        return await show.timeline(tx, context.settings, found)
