"""Payouts: asking for them, watching them, and what may be done to one."""

import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import AwareDatetime

from copeck.kernel.errors import DomainError, InvalidValueError
from copeck.kernel.money import EXPONENTS, Money, MoneyError
from copeck.web.etag import IfMatch, etag_for
from copeck.web.idempotency import IdempotencyKey, RequestHash
from copeck.web.limits import rate_limit
from copeck.web.pagination import Cursor, Page
from copeck.web.problems import problem_responses
from copeck.web.wait import PreferWait, wait_until
from payments_gateway.api.callers import Anybody, Payer, Reader, after_key, user_limit
from payments_gateway.api.pay import ContextDep
from payments_gateway.api.payout_models import (
    AcceptedPayout,
    CancelPayout,
    CommandAnswer,
    PayoutChange,
    PayoutCreate,
    PayoutHistoryModel,
    PayoutModel,
    StatusName,
    commands_of,
    failure_of,
    history_of,
    values_of,
)
from payments_gateway.domain.payouts import Caller, source_account
from payments_gateway.domain.recipients import Recipient, RecipientError, holds_card_number, parse
from payments_gateway.handlers import payout_commands
from payments_gateway.handlers.context import Context
from payments_gateway.handlers.payout_commands import SUBJECT, Sent, version_of
from payments_gateway.handlers.payouts import Payouts, Wanted, shop_for, url_of
from payments_gateway.store import audit, payouts
from payments_gateway.store.payouts import Filter, SeenPayout

router = APIRouter(tags=["payouts"])

Text = Annotated[
    str | None,
    Query(max_length=100, pattern=r"^[^\x00]*$", description="A part of the description, or of the masked recipient."),
]
Order = Literal["-requested_at", "requested_at", "-amount", "amount"]
_LAST_FOUR = re.compile(r"\+?[0-9][0-9 ()\-]{5,30}[0-9]")
_ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {"model": AcceptedPayout, "description": "Kept. `Location` tells where to see what becomes of it."},
    **problem_responses(403, 409, 503),
}
_LIMITED = [Depends(user_limit("payout-commands", "6000/minute"))]
_SENT: dict[int | str, dict[str, Any]] = {
    200: {"model": CommandAnswer, "description": "Done while we waited."},
    202: {"model": CommandAnswer, "description": "On its way. `Location` tells where to see what becomes of it."},
    **problem_responses(403, 404, 409, 503),
}


class PayoutRefusedError(DomainError):
    """The updater refused while the caller waited."""

    type = "command-refused"
    title = "The state updater refused"


def recipient_of(values: dict[str, Any]) -> Recipient:
    """Read a recipient of a body; errors name the member at fault."""
    try:
        return parse(values)
    except RecipientError as error:
        raise RecipientError(error.detail, f"recipient.{error.field}") from None


def free_text(text: str, name: str) -> str:
    """Return a free text, unless somebody put a card's number into it (I-14)."""
    if holds_card_number(text):
        raise InvalidValueError("a card's number is never taken", name)
    return text


def positive(amount: Money) -> Money:
    """Return an amount that is more than nothing."""
    if amount.minor <= 0:
        raise MoneyError("an amount is more than nothing", "amount")
    return amount


@router.post(
    "/payouts",
    status_code=202,
    summary="Ask for a payout",
    responses=_ACCEPTED,
    dependencies=[Depends(rate_limit("payouts", "6000/minute"))],
)
async def request_payout(
    request: Request,
    body: PayoutCreate,
    caller: Payer,
    context: ContextDep,
    key: IdempotencyKey,
    digest: RequestHash,
    wait_s: PreferWait,
) -> Response:
    """Ask for a payout; managers from every source, merchants from their own balance.

    Above a limit a second manager approves it. Where the source is short, also above the limit, it is accepted and
    ends as failed with `insufficient_funds`, and nothing is debited. `Prefer: wait=5` waits until the updater has taken
    it in.
    """
    recipient = recipient_of(body.recipient.model_dump(mode="json", exclude_none=True))
    wanted = Wanted(
        caller=caller,
        key=key,
        request_hash=digest,
        account=source_account(body.source, caller),
        amount=positive(body.amount.money()),
        recipient=recipient,
        shop=shop_for(context, recipient.kind, body.provider),
        recipient_user_id=body.recipient_user_id,
        description=free_text(body.description, "description"),
        draft=body.draft,
    )
    handler: Payouts = request.app.state.payouts
    answer = await handler.request(wanted)
    payout_id, document = UUID(answer.body["id"]), answer.body
    if wait_s:
        decided = await wait_until(lambda: _decided(context, caller, payout_id), wait_s)
        document = document | (_stands(decided) if decided else {})
    return JSONResponse(document, answer.status, headers={"Location": url_of(payout_id)})


def _stands(found: SeenPayout) -> dict[str, Any]:
    failure = failure_of(found)
    return {
        "status": found.status,
        "last_error": failure.code if failure else None,
        "failure": failure.model_dump() if failure else None,
    }


async def _decided(context: Context, caller: Caller, payout_id: UUID) -> SeenPayout | None:
    async with context.database.reading() as tx:
        found = await payout_commands.find(tx, caller, payout_id)
    return found if found.state_version or found.refused_code else None


@router.get("/payouts", summary="List payouts", dependencies=[Depends(rate_limit("payouts-read", "1200/minute"))])
async def list_payouts(
    caller: Reader,
    context: ContextDep,
    cursor: Cursor,
    search: Text = None,
    status: Annotated[list[StatusName] | None, Query(description="Only those in these statuses.")] = None,
    currency: Annotated[str | None, Query(min_length=3, max_length=3)] = None,
    source: Annotated[str | None, Query(max_length=120, pattern=r"^[a-z]+:[A-Za-z0-9_.:\-]+$")] = None,
    batch_id: UUID | None = None,
    requested_from: Annotated[AwareDatetime | None, Query(description="From this moment on.")] = None,
    requested_to: Annotated[AwareDatetime | None, Query(description="Before this moment.")] = None,
    amount_from: Annotated[str | None, Query(max_length=13, description="Major units; needs a currency.")] = None,
    amount_to: Annotated[str | None, Query(max_length=13, description="Major units; needs a currency.")] = None,
    order: Annotated[Order, Query(description="`-` for the latest or greatest first.")] = "-requested_at",
) -> Page[PayoutModel]:
    """Show payouts that match everything that is given: managers all, merchants their own, recipients those to them.

    `status=failed` is the list of what finally failed; `last_error` says why, in our word and in the provider's.
    """
    by_amount = order.removeprefix("-") == "amount"
    mine = tuple(account for account in (caller.merchant_account, caller.wallet_account) if account)
    wanted = Filter(
        accounts=None if caller.sees_all else mine,
        recipient_user_id=caller.user_id if "recipient" in caller.roles else None,
        statuses=tuple(status or ()),
        account=source,
        batch_id=batch_id,
        currency=_currency(currency),
        since=requested_from,
        until=requested_to,
        amount_from=_minor(amount_from, currency, "amount_from"),
        amount_to=_minor(amount_to, currency, "amount_to"),
        text=_searched(search),
    )
    async with context.database.reading() as tx:
        found = await payouts.search(
            tx, wanted, order=order, after=after_key(cursor, with_number=by_amount), limit=cursor.limit + 1
        )

    def key(one: SeenPayout) -> tuple[Any, ...]:
        return (one.amount_minor, str(one.payout_id)) if by_amount else (str(one.payout_id),)

    return cursor.page(found, key, lambda one: PayoutModel(**values_of(one, caller)))


def _currency(currency: str | None) -> str | None:
    if currency is not None and currency not in EXPONENTS:
        raise InvalidValueError(f"a currency is one of {', '.join(sorted(EXPONENTS))}", "currency")
    return currency


def _minor(text: str | None, currency: str | None, name: str) -> int | None:
    if text is None:
        return None
    if currency is None:
        raise InvalidValueError("amounts can be compared in one currency only: give it", "currency")
    try:
        return Money.parse(text, currency).minor
    except MoneyError as error:
        raise MoneyError(error.detail, name) from None


def _searched(text: str | None) -> str | None:
    """Return what to look for. Of a phone or an account only the last four digits are kept in the clear anywhere."""
    if text and _LAST_FOUR.fullmatch(text.strip()):
        return re.sub(r"[^0-9]", "", text)[-4:]
    return text or None


@router.get("/payouts/{payout_id}", summary="Show a payout", responses=problem_responses(404))
async def get_payout(
    payout_id: UUID, caller: Anybody, context: ContextDep, wait_s: PreferWait, response: Response
) -> PayoutHistoryModel:
    """Show a payout with its history and the `ETag` to change it with. `Prefer: wait=5` waits until it changes.

    Wallets' owners see their own withdrawals here too.
    """
    found = await _find(context, caller, payout_id)
    if wait_s:
        found = await wait_until(lambda: _changed(context, caller, found), wait_s) or found
    return await _shown(context, caller, found, response)


async def _find(context: Context, caller: Caller, payout_id: UUID) -> SeenPayout:
    async with context.database.reading() as tx:
        return await payout_commands.find(tx, caller, payout_id)


async def _changed(context: Context, caller: Caller, before: SeenPayout) -> SeenPayout | None:
    now = await _find(context, caller, before.payout_id)
    return now if version_of(now) != version_of(before) or now.status != before.status else None


async def _shown(context: Context, caller: Caller, found: SeenPayout, response: Response) -> PayoutHistoryModel:
    async with context.database.reading() as tx:
        events = await payouts.events_of(tx, found.payout_id)
        deeds = await audit.of_subject(tx, SUBJECT, str(found.payout_id))
        refusals = await payouts.refusals_of(tx, list(commands_of(deeds)))
    response.headers["ETag"] = etag_for(version_of(found))
    return PayoutHistoryModel(**values_of(found, caller), history=history_of(found, caller, events, deeds, refusals))


@router.patch(
    "/payouts/{payout_id}",
    summary="Change a description",
    responses=problem_responses(403, 404, 412, 428),
    dependencies=_LIMITED,
)
async def change_payout(
    payout_id: UUID, body: PayoutChange, if_match: IfMatch, caller: Anybody, context: ContextDep, response: Response
) -> PayoutHistoryModel:
    """Change the description of a payout. What it was stays in the history; the provider was told the first one."""
    text = free_text(body.description, "description")
    found = await payout_commands.describe(context, caller, payout_id, if_match, text)
    return await _shown(context, caller, found, response)


@router.delete(
    "/payouts/{payout_id}",
    status_code=204,
    summary="Delete a draft",
    responses=problem_responses(403, 404, 409),
    dependencies=_LIMITED,
)
async def delete_payout(payout_id: UUID, caller: Anybody, context: ContextDep) -> None:
    """Delete a draft or a canceled payout. It is shown no more, and what was done to it is kept."""
    await payout_commands.delete(context, caller, payout_id)


@router.post(
    "/payouts/{payout_id}/submit",
    status_code=202,
    summary="Submit a draft",
    responses=_SENT,
    dependencies=_LIMITED,
)
async def submit_payout(
    payout_id: UUID,
    caller: Anybody,
    context: ContextDep,
    key: IdempotencyKey,
    digest: RequestHash,
    wait_s: PreferWait,
) -> Response:
    """Send a draft on its way, or to a second manager where it needs one."""
    return await _command(context, caller, payout_commands.submit(context, caller, payout_id, key, digest), wait_s)


@router.post(
    "/payouts/{payout_id}/approve",
    status_code=202,
    summary="Approve a payout",
    responses=_SENT,
    dependencies=_LIMITED,
)
async def approve_payout(
    payout_id: UUID,
    caller: Anybody,
    context: ContextDep,
    key: IdempotencyKey,
    digest: RequestHash,
    wait_s: PreferWait,
) -> Response:
    """Agree to a payout that another manager asked for. The provider's balance is looked at first."""
    return await _command(context, caller, payout_commands.approve(context, caller, payout_id, key, digest), wait_s)


@router.post(
    "/payouts/{payout_id}/cancel",
    status_code=202,
    summary="Cancel a payout",
    responses=_SENT,
    dependencies=_LIMITED,
)
async def cancel_payout(
    payout_id: UUID,
    caller: Anybody,
    context: ContextDep,
    key: IdempotencyKey,
    digest: RequestHash,
    wait_s: PreferWait,
    body: CancelPayout | None = None,
) -> Response:
    """Call a payout off before it has started; what was debited goes back to its source.

    A manager also stops one that is `processing` while nothing of it was sent to the provider: it ends as failed with
    `canceled_before_sending`, and can be tried again. 409 once it may have been sent.
    """
    reason = free_text(body.reason, "reason") if body else ""
    sent = payout_commands.cancel(context, caller, payout_id, key, digest, reason)
    return await _command(context, caller, sent, wait_s)


@router.post(
    "/payouts/{payout_id}/retry",
    status_code=202,
    summary="Try a failed payout again",
    responses=_SENT,
    dependencies=_LIMITED,
)
async def retry_payout(
    payout_id: UUID,
    caller: Anybody,
    context: ContextDep,
    key: IdempotencyKey,
    digest: RequestHash,
    wait_s: PreferWait,
) -> Response:
    """Debit the source again and send it anew; refused while nobody knows whether the last try was paid.

    One that needs approval and failed before anybody gave it becomes `awaiting_approval`, and nothing is debited yet.
    """
    return await _command(context, caller, payout_commands.retry(context, caller, payout_id, key, digest), wait_s)


async def _command(context: Context, caller: Caller, sending: Awaitable[Sent], wait_s: float) -> Response:
    """Answer with how the payout stands; while the caller waits, a refusal is told as one."""
    sent = await sending
    payout_id = UUID(sent.answer.body["id"])
    probe: Callable[[], Awaitable[SeenPayout | None]] = lambda: _applied(context, caller, payout_id, sent)  # noqa: E731
    applied = await wait_until(probe, wait_s) if wait_s else None
    found = applied or await _find(context, caller, payout_id)
    answer = CommandAnswer(id=payout_id, command_id=sent.command_id, url=url_of(payout_id), **_stands(found))
    headers = {"Location": url_of(payout_id)}
    return JSONResponse(answer.model_dump(mode="json"), 202 if applied is None else 200, headers=headers)


async def _applied(context: Context, caller: Caller, payout_id: UUID, sent: Sent) -> SeenPayout | None:
    async with context.database.reading() as tx:
        refusal = await payouts.refusal_of(tx, sent.command_id)
        if refusal is not None:
            raise PayoutRefusedError(f"{refusal.code}: {refusal.detail}")
        found = await payout_commands.find(tx, caller, payout_id)
    return found if found.state_version > sent.version else None
