"""Admin API: invoices and their refunds. They are read from the State Storage and changed over the bus."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response

from copeck.kernel.errors import DomainError
from copeck.web.auth import Principal
from copeck.web.idempotency import IdempotencyKey, RequestHash
from copeck.web.money import MoneyModel
from copeck.web.pagination import Cursor, Page
from copeck.web.problems import not_found, problem_responses
from copeck.web.wait import PreferWait, wait_until
from subscriptions.api import show
from subscriptions.api.admin.models import (
    AdminInvoiceModel,
    AuditModel,
    CommandModel,
    InvoiceCancelRequest,
    InvoiceIssueRequest,
    InvoiceRefundRequest,
    RefundModel,
    RefundRetryRequest,
    RefundStatusName,
)
from subscriptions.api.dependencies import ADMIN_PREFIX, Ctx, Manager, actor_of, after, key_of, moment, number, stored
from subscriptions.api.models import InvoiceStatusName, TimelineModel
from subscriptions.handlers import managers
from subscriptions.handlers.context import Context, Work, once
from subscriptions.store import audit, commands, refunds, state
from subscriptions.store.commands import SentCommand

router = APIRouter(tags=["invoices"])

_ACCEPTED = {
    200: {"model": CommandModel, "description": "Applied while we waited."},
    202: {"model": CommandModel, "description": "On its way. `Location` tells where to see what becomes of it."},
    **problem_responses(404, 409),
}


class CommandRefusedError(DomainError):
    """The state updater refused the command while the caller waited."""

    type = "command-refused"
    title = "The state updater refused"


def _invoice(context: Context, found: state.Invoice) -> AdminInvoiceModel:
    shown = show.invoice(context.settings, found)
    return AdminInvoiceModel(
        **dict(shown),
        account=found.account,
        payer=found.payer,
        refunding=MoneyModel.of(found.refunding),
        late_policy=found.late_policy,  # type: ignore[arg-type]
        capture=found.capture,
    )


@router.get("/invoices", summary="List invoices")
async def list_invoices(
    _: Manager,
    context: Ctx,
    cursor: Cursor,
    search: Annotated[
        str | None,
        Query(
            max_length=100,
            pattern=r"^[^\x00]*$",
            description="The beginning of an id, a payer's id, or a part of the description.",
        ),
    ] = None,
    user_id: UUID | None = None,
    subscription_id: UUID | None = None,
    status: Annotated[list[InvoiceStatusName] | None, Query(description="Only those in these statuses.")] = None,
    kind: Literal["subscription", "coffee", "topup", "manual"] | None = None,
    order: Annotated[Literal["-issued_at", "issued_at"], Query(description="`-` for the newest first.")] = "-issued_at",
) -> Page[AdminInvoiceModel]:
    """Show invoices that match everything that is given."""
    async with context.database.reading() as tx:
        found = await state.list_invoices(
            tx,
            user_id=user_id,
            subscription_id=subscription_id,
            statuses=tuple(status or ()),
            kind=kind,
            text=search,
            order=order,
            after=after(cursor, UUID),
            limit=cursor.limit + 1,
        )
    return cursor.page(found, lambda one: (str(one.id),), lambda one: _invoice(context, one))


@router.get("/invoices/{invoice_id}", summary="Show an invoice")
async def get_invoice(invoice_id: UUID, _: Manager, context: Ctx) -> AdminInvoiceModel:
    """Show an invoice of any kind."""
    return _invoice(context, await _find(context, invoice_id))


@router.get("/invoices/{invoice_id}/timeline", summary="Show what happened to an invoice")
async def get_timeline(invoice_id: UUID, _: Manager, context: Ctx) -> TimelineModel:
    """Show every step with who took it, payments, refunds, bookings with their accounts, and the subscription."""
    async with context.database.reading() as tx:
        found = await state.find_invoice(tx, invoice_id)
        if found is None:
            raise not_found("There is no such invoice, or it is not issued yet.")
        return await show.timeline(tx, context.settings, found, internals=True)


async def _find(context: Context, invoice_id: UUID) -> state.Invoice:
    async with context.database.reading() as tx:
        found = await state.find_invoice(tx, invoice_id)
    if found is None:
        raise not_found("There is no such invoice, or it is not issued yet.")
    return found


@router.post("/invoices", status_code=202, summary="Issue an invoice", responses=_ACCEPTED)
async def issue(
    body: InvoiceIssueRequest,
    manager: Manager,
    context: Ctx,
    key: IdempotencyKey,
    digest: RequestHash,
    wait_s: PreferWait,
) -> Response:
    """Issue an invoice to a customer, who pays it at `pay_url`."""
    return await _command(
        context,
        manager,
        ("invoice.issue", key, digest, wait_s),
        lambda work: managers.issue_invoice(
            work,
            user_id=body.user_id,
            product=body.product,
            amount=body.amount.money(),
            description=body.description,
            lifetime=timedelta(hours=body.expires_in_hours),
            capture=body.capture,
        ),
    )


@router.post("/invoices/{invoice_id}/cancel", status_code=202, summary="Annul an unpaid invoice", responses=_ACCEPTED)
async def cancel(
    invoice_id: UUID,
    body: InvoiceCancelRequest,
    manager: Manager,
    context: Ctx,
    key: IdempotencyKey,
    digest: RequestHash,
    wait_s: PreferWait,
) -> Response:
    """Annul an invoice; money that is only held is released first."""
    return await _command(
        context,
        manager,
        ("invoice.cancel", key, digest, wait_s),
        lambda work: managers.cancel_invoice(work, invoice_id, body.reason),
    )


@router.post("/invoices/{invoice_id}/refund", status_code=202, summary="Refund a paid invoice", responses=_ACCEPTED)
async def refund(
    invoice_id: UUID,
    body: InvoiceRefundRequest,
    manager: Manager,
    context: Ctx,
    key: IdempotencyKey,
    digest: RequestHash,
    wait_s: PreferWait,
) -> Response:
    """Return all that is left, or a part. A full refund of the running period ends the subscription."""
    amount = body.amount.money() if body.amount else None
    return await _command(
        context,
        manager,
        ("invoice.refund", key, digest, wait_s),
        lambda work: managers.refund_invoice(work, invoice_id, amount, body.reason, body.retry_of),
    )


def _refund(found: refunds.Refund) -> RefundModel:
    return RefundModel(
        id=found.id,
        invoice_id=found.invoice_id,
        kind=found.kind,
        product=found.product,
        payer=found.payer,
        status=found.status,  # type: ignore[arg-type]
        origin=found.origin,
        amount=MoneyModel.of(found.amount),
        provider=found.provider,
        reason=found.reason,
        failure_code=found.failure_code,
        failure_reason=found.failure_reason,
        requested_at=found.created_at,
        updated_at=found.updated_at,
        retried_as=found.retried_as,
    )


@router.get("/refunds", summary="List refunds")
async def list_refunds(
    _: Manager,
    context: Ctx,
    cursor: Cursor,
    status: Annotated[
        list[RefundStatusName] | None,
        Query(description="Only those in these statuses. `failed` are those that the provider finally refused."),
    ] = None,
    invoice_id: UUID | None = None,
) -> Page[RefundModel]:
    """Show refunds of every product, the newest first. One that failed is asked for again by its `retry`."""
    async with context.database.reading() as tx:
        found = await refunds.list_refunds(
            tx,
            statuses=tuple(status or ()),
            invoice_id=invoice_id,
            after=after(cursor, moment, UUID),
            limit=cursor.limit + 1,
        )
    return cursor.page(found, lambda one: (one.created_at.isoformat(), str(one.id)), _refund)


@router.post(
    "/refunds/{refund_id}/retry", status_code=202, summary="Ask for a failed refund again", responses=_ACCEPTED
)
async def retry_refund(
    refund_id: UUID,
    body: RefundRetryRequest,
    manager: Manager,
    context: Ctx,
    key: IdempotencyKey,
    digest: RequestHash,
    wait_s: PreferWait,
) -> Response:
    """Ask the provider again for the same amount, as a new refund: once for each that failed."""
    return await _command(
        context,
        manager,
        ("refund.retry", key, digest, wait_s),
        lambda work: managers.retry_refund(work, refund_id, body.reason),
    )


@router.post("/invoices/{invoice_id}/capture", status_code=202, summary="Take held money", responses=_ACCEPTED)
async def capture(
    invoice_id: UUID, manager: Manager, context: Ctx, key: IdempotencyKey, digest: RequestHash, wait_s: PreferWait
) -> Response:
    """Take the money that is held for an invoice issued with `capture: manual`."""
    return await _command(
        context,
        manager,
        ("invoice.capture", key, digest, wait_s),
        lambda work: managers.capture_invoice(work, invoice_id),
    )


async def _command(
    context: Context,
    manager: Principal,
    request: tuple[str, str, str, float],
    send: Callable[[Work], Awaitable[SentCommand]],
) -> Response:
    """Send a command once under its key, then wait for its fate as long as the caller wants."""
    route, key, digest, wait_s = request

    async def work(work: Work) -> tuple[int, dict[str, object]]:
        sent = await send(work)
        return 202, _shown(context, sent, None, None).model_dump(mode="json")

    answer = await once(context, actor_of(manager), key_of(manager, route, key, digest), work)
    url = str(answer.body["url"])
    if not wait_s:
        return stored(answer, url)
    sent = SentCommand(
        UUID(answer.body["id"]), answer.body["type"], UUID(answer.body["invoice_id"]), "", context.clock.now()
    )

    async def probe() -> state.Fate | None:
        async with context.database.reading() as tx:
            return await state.fate_of(tx, sent.id, sent.invoice_id)

    fate = await wait_until(probe, wait_s)
    if fate is None:
        return stored(answer, url)
    if fate.outcome == "refused":
        raise CommandRefusedError(f"{fate.code}: {fate.detail}".strip(": "))
    invoice = await _find(context, sent.invoice_id)
    answer.body.update(status="applied", invoice_status=invoice.status)
    return stored(answer, url, 200)


def _shown(context: Context, sent: SentCommand, fate: state.Fate | None, invoice: state.Invoice | None) -> CommandModel:
    return CommandModel(
        id=sent.id,
        type=sent.type,
        invoice_id=sent.invoice_id,
        status=fate.outcome if fate else "pending",  # type: ignore[arg-type]
        code=fate.code if fate else "",
        detail=fate.detail if fate else "",
        actor=sent.actor,
        sent_at=sent.sent_at,
        invoice_status=invoice.status if invoice else None,  # type: ignore[arg-type]
        pay_url=context.settings.pay_url(sent.invoice_id) if sent.type == "invoice.issue" else None,
        url=f"{ADMIN_PREFIX}/commands/{sent.id}",
    )


@router.get("/commands/{command_id}", summary="Show what became of a command")
async def get_command(command_id: UUID, _: Manager, context: Ctx, wait_s: PreferWait) -> CommandModel:
    """Show whether the state updater has applied or refused a command that a manager sent."""
    async with context.database.reading() as tx:
        sent = await commands.find(tx, command_id)
    if sent is None:
        raise not_found("There is no such command.")

    async def probe() -> state.Fate | None:
        async with context.database.reading() as tx:
            return await state.fate_of(tx, sent.id, sent.invoice_id)

    fate = await wait_until(probe, wait_s)
    async with context.database.reading() as tx:
        invoice = await state.find_invoice(tx, sent.invoice_id)
    return _shown(context, sent, fate, invoice)


@router.get("/audit", summary="Who did what", tags=["audit"])
async def list_audit(
    _: Manager,
    context: Ctx,
    cursor: Cursor,
    subject_kind: Literal["product", "plan", "subscription", "invoice"] | None = None,
    subject_id: Annotated[str | None, Query(max_length=64, pattern=r"^[^\x00]*$")] = None,
    actor: Annotated[str | None, Query(max_length=64, pattern=r"^[^\x00]*$", description="`user:<id>`")] = None,
) -> Page[AuditModel]:
    """Show what people changed through this API, the newest first."""
    async with context.database.reading() as tx:
        found = await audit.entries(
            tx,
            subject_kind=subject_kind,
            subject_id=subject_id,
            actor=actor,
            after=after(cursor, number),
            limit=cursor.limit + 1,
        )
    return cursor.page(found, lambda one: (one.id,), AuditModel.model_validate)
