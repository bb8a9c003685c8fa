"""Deposits, withdrawals and payments from the balance: asking for them, and watching what becomes of them."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse

from copeck.kernel.errors import InvalidValueError, NotFoundError
from copeck.kernel.money import Money, MoneyError
from copeck.web.auth import CurrentPrincipal, Principal
from copeck.web.idempotency import IdempotencyKey, RequestHash
from copeck.web.limits import rate_limit
from copeck.web.money import MoneyModel
from copeck.web.pagination import Cursor, Page
from copeck.web.problems import problem_responses
from copeck.web.wait import PreferWait, wait_until
from payments_gateway.api.callers import after_id, user_limit
from payments_gateway.api.pay import ContextDep, LanguageQuery
from payments_gateway.api.payment_models import (
    AcceptedPayment,
    DepositRequest,
    PaymentHistoryModel,
    PaymentModel,
    PayRequest,
    PreviewModel,
    PreviewRequest,
    WithdrawalRequest,
    payment_model,
    rule_model,
    transfer_model,
)
from payments_gateway.domain.commissions import CommissionKind, commission_minor
from payments_gateway.domain.recipients import RecipientError, holds_card_number, parse
from payments_gateway.domain.wallets import ENDED, PaymentKind, Status, WalletPayment
from payments_gateway.handlers.context import Context
from payments_gateway.handlers.payouts import shop_for
from payments_gateway.handlers.wallet_judging import Asked
from payments_gateway.handlers.wallet_requests import WalletRequests, deposit_shop, scope_of
from payments_gateway.store import commissions, wallet_payments

router = APIRouter(tags=["payments"])

# As for payouts: enough for a program that pays for a whole shop, and not for one that has gone mad.
_LIMITED = [Depends(user_limit("payments", "6000/minute"))]

_ASKED: dict[int | str, dict[str, Any]] = {
    202: {
        "model": AcceptedPayment,
        "description": "Kept; `status` tells how it stands. `Location` tells where to see what becomes of it.",
    },
    **problem_responses(409, 503),
}


@router.post(
    "/payments/deposit",
    status_code=202,
    summary="Put money into my wallet",
    responses=_ASKED,
    dependencies=_LIMITED,
)
async def deposit(
    request: Request,
    body: DepositRequest,
    principal: CurrentPrincipal,
    context: ContextDep,
    key: IdempotencyKey,
    digest: RequestHash,
    wait_s: PreferWait,
) -> Response:
    """Ask for a deposit: an invoice that is paid at `pay_url`. The wallet gains the amount less the commission.

    The wallet need not be opened before. `Prefer: wait=5` waits until it can be paid; for one that needs no page,
    until it has ended.
    """
    asked = Asked(
        kind=PaymentKind.DEPOSIT,
        user_id=principal.user_id,
        scope=scope_of(principal.user_id, PaymentKind.DEPOSIT),
        key=key,
        request_hash=digest,
        amount=_positive(body.amount),
        agreed=body.commission.money() if body.commission else None,
        description=_free(body.description),
        shop=deposit_shop(context, body.provider),
        charged=body.provider is not None,
    )
    return await _answer(request, context, asked, wait_s)


@router.post(
    "/payments/withdraw",
    status_code=202,
    summary="Pay money out of my wallet",
    responses=_ASKED,
    dependencies=_LIMITED,
)
async def withdraw(
    request: Request,
    body: WithdrawalRequest,
    principal: CurrentPrincipal,
    context: ContextDep,
    key: IdempotencyKey,
    digest: RequestHash,
    wait_s: PreferWait,
) -> Response:
    """Ask for a withdrawal: the wallet loses the amount and the commission, the recipient gets the amount.

    Where the wallet has less, the answer is 202 all the same, and the withdrawal ends as `failed` with
    `insufficient_funds`; nothing is debited. Above a limit somebody has to approve it.
    """
    try:
        recipient = parse(body.recipient.model_dump(mode="json", exclude_none=True))
    except RecipientError as error:
        raise RecipientError(error.detail, f"recipient.{error.field}") from None
    asked = Asked(
        kind=PaymentKind.WITHDRAWAL,
        user_id=principal.user_id,
        scope=scope_of(principal.user_id, PaymentKind.WITHDRAWAL),
        key=key,
        request_hash=digest,
        amount=_positive(body.amount),
        agreed=body.commission.money() if body.commission else None,
        description=_free(body.description),
        shop=shop_for(context, recipient.kind, body.provider),
        recipient=recipient,
    )
    return await _answer(request, context, asked, wait_s)


@router.post(
    "/payments/pay",
    status_code=202,
    summary="Pay an invoice from my wallet",
    responses=_ASKED | problem_responses(404),
    dependencies=_LIMITED,
)
async def pay(
    request: Request,
    body: PayRequest,
    principal: CurrentPrincipal,
    context: ContextDep,
    key: IdempotencyKey,
    digest: RequestHash,
    wait_s: PreferWait,
) -> Response:
    """Pay an invoice from the balance, whole or not at all. Whoever knows an invoice's id may pay it.

    Where the wallet has less, the answer is 202 all the same, and the payment ends as `failed` with
    `insufficient_funds`; an invoice that cannot be paid answers 409.
    """
    asked = Asked(
        kind=PaymentKind.PAYMENT,
        user_id=principal.user_id,
        scope=scope_of(principal.user_id, PaymentKind.PAYMENT),
        key=key,
        request_hash=digest,
        invoice_id=body.invoice_id,
    )
    return await _answer(request, context, asked, wait_s)


async def _answer(request: Request, context: Context, asked: Asked, wait_s: float) -> Response:
    """Have a request kept; answer with its id, and with what became of it if the caller waits."""
    handler: WalletRequests = request.app.state.wallet_requests
    answer = await handler.ask(asked)
    document = answer.body
    if wait_s:
        payment_id = UUID(document["id"])
        decided = await wait_until(lambda: _decided(context, payment_id, to_the_end=asked.charged), wait_s)
        if decided is not None:
            document = document | {"status": decided.status.value, "last_error": decided.last_error or None}
    return JSONResponse(document, answer.status, headers={"Location": document["url"]})


async def _decided(context: Context, payment_id: UUID, *, to_the_end: bool) -> WalletPayment | None:
    async with context.database.reading() as tx:
        found = await wallet_payments.find(tx, payment_id, context.clock.now())
    if found is None or found.status is Status.REQUESTED or (to_the_end and found.status not in ENDED):
        return None
    return found


def _positive(amount: MoneyModel) -> Money:
    if (found := amount.money()).minor <= 0:
        raise MoneyError("an amount is more than nothing", "amount")
    return found


def _free(text: str) -> str:
    """Return a description, unless somebody put a card's number into it (I-14)."""
    if holds_card_number(text):
        raise InvalidValueError("a card's number is never taken", "description")
    return text


@router.post(
    "/payments/preview",
    summary="See what it would cost",
    dependencies=[Depends(rate_limit("payments-preview", "600/minute"))],
)
async def preview(body: PreviewRequest, _: CurrentPrincipal, context: ContextDep) -> PreviewModel:
    """Show the commission of a deposit or a withdrawal, before anything is agreed; nothing is kept.

    The share is rounded half-even to the minor unit, then held within the minimum and the maximum. An amount that does
    not exceed its commission is refused with `amount-too-small`, which names the least amount.
    """
    amount = _positive(body.amount)
    async with context.database.reading() as tx:
        rate = context.settings.transaction_fee_basis_points
        rule = await commissions.rule_of(tx, amount.currency, body.kind, rate)
    commission = Money(commission_minor(rule, amount.minor), amount.currency)
    is_deposit = body.kind is CommissionKind.DEPOSIT
    return PreviewModel(
        kind=body.kind,
        amount=MoneyModel.of(amount),
        commission=MoneyModel.of(commission),
        total_credited=MoneyModel.of(amount - commission) if is_deposit else None,
        total_debited=None if is_deposit else MoneyModel.of(amount + commission),
        rule=rule_model(rule),
    )


@router.get("/payments", summary="List my payments", dependencies=[Depends(rate_limit("payments-read", "1200/minute"))])
async def list_payments(
    principal: CurrentPrincipal,
    context: ContextDep,
    cursor: Cursor,
    kind: Annotated[list[PaymentKind] | None, Query(description="Only those of these kinds.")] = None,
    status: Annotated[list[Status] | None, Query(description="Only those in these statuses.")] = None,
    currency: Annotated[str | None, Query(pattern="^[A-Z]{3}$")] = None,
) -> Page[PaymentModel]:
    """Show the caller's own deposits, withdrawals and payments from the balance, the newest first."""
    async with context.database.reading() as tx:
        found = await wallet_payments.search(
            tx,
            context.clock.now(),
            user_id=principal.user_id,
            kinds=[one.value for one in kind or ()],
            statuses=[one.value for one in status or ()],
            currency=currency,
            after=after_id(cursor),
            limit=cursor.limit + 1,
        )
    return cursor.page(
        found, lambda one: (str(one.payment_id),), lambda one: payment_model(one, _pay_url(context, one.payment_id))
    )


@router.get("/payments/{payment_id}", summary="Show a payment", responses=problem_responses(404))
async def get_payment(
    payment_id: UUID,
    principal: CurrentPrincipal,
    context: ContextDep,
    wait_s: PreferWait,
    language: LanguageQuery = "ru",
) -> PaymentHistoryModel:
    """Show a payment with its transfers: the caller's own, and to managers and operators everybody's.

    `Prefer: wait=10` waits until its status is another one.
    """
    found = await _find(context, principal, payment_id)
    if wait_s and found.status not in ENDED:
        first = found.status

        async def changed() -> WalletPayment | None:
            now = await _find(context, principal, payment_id)
            return now if now.status is not first else None

        found = await wait_until(changed, wait_s) or found
    async with context.database.reading() as tx:
        booked = await wallet_payments.transfers(tx, found)
    shown = payment_model(found, _pay_url(context, payment_id))
    timeline = [transfer_model(one, found.account, language) for one in booked]
    return PaymentHistoryModel(**dict(shown), timeline=timeline)


async def _find(context: Context, principal: Principal, payment_id: UUID) -> WalletPayment:
    async with context.database.reading() as tx:
        found = await wallet_payments.find(tx, payment_id, context.clock.now())
    if found is None or not (found.user_id == principal.user_id or principal.has("manager", "operator")):
        raise NotFoundError("there is no such payment")
    return found


def _pay_url(context: Context, payment_id: UUID) -> str:
    return f"{context.settings.public_url.rstrip('/')}/pay/{payment_id}"
